"""`archlang check SPEC...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete, failures
from archlang.cli.common import console, emit_json, import_path_option, json_option
from archlang.errors import ArchError, Diagnostic

if TYPE_CHECKING:
    from archlang.check import Report


@click.command
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", shell_complete=complete.spec)
@import_path_option
@json_option
@click.option("--sarif", is_flag=True, help="SARIF 2.1.0 on stdout, for code scanning.")
@click.option("--github", is_flag=True, help="GitHub workflow commands on stdout, which annotate a pull request.")
@click.pass_context
def command(ctx: click.Context, specs: tuple[str, ...], as_json: bool, sarif: bool, github: bool) -> None:
    """Check SPEC: syntax, names, shapes, `expect` lines; for a space also its size, and that every choice fits."""
    if as_json + sarif + github > 1:
        raise click.UsageError("--json, --sarif and --github exclude each other")
    reports = _checked(specs)
    errors = [error for report in reports for error in report.errors]
    if as_json:
        emit_json(document(reports))
    elif sarif:
        emit_json(sarif_log(errors))
    elif github:
        click.echo("\n".join(github_command(error) for error in errors), nl=bool(errors))
    else:
        _print_reports(reports, errors)
    ctx.exit(failures.WRONG_INPUT if errors else 0)


def _checked(specs: Sequence[str]) -> list[Report]:
    """Checked one after the other; where many files wait, a terminal shows whose turn it is."""
    from archlang.check import check

    if not (sys.stderr.isatty() and any(Path(spec).is_dir() for spec in specs)):
        return [check(spec) for spec in specs]
    from rich.markup import escape

    with console(stderr=True).status("checking") as status:
        return [check(spec, lambda name: status.update(f"checking {escape(name)}")) for spec in specs]


def document(reports: Sequence[Report]) -> dict[str, Any]:
    """The document of `--json`; `decisions` and `log10_size` are those of the first space."""
    nets = [pair for report in reports for pair in report.nets]
    spaces = [
        {
            "name": space.name,
            "decisions": space.decisions,
            "log10_size": space.log10_size,
            "proved": space.proved,
        }
        for report in reports
        for space in report.spaces
    ]
    errors = [error.as_json() for report in reports for error in report.errors]
    found: dict[str, Any] = {"ok": not errors, "errors": errors}
    found["nets"] = [{"name": name, "params": total.params, "macs": total.macs} for name, total in nets]
    if spaces:
        found |= {"spaces": spaces, "decisions": spaces[0]["decisions"], "log10_size": spaces[0]["log10_size"]}
    return found


def _print_reports(reports: Sequence[Report], errors: Sequence[Diagnostic]) -> None:
    for report in (report for report in reports if report.ok):
        for name, total in report.nets:
            click.echo(f"ok  {name}: {total.params:,} parameters, {total.macs:,} MACs")
        for space in report.spaces:
            size = "too large to be counted" if space.log10_size is None else f"10^{space.log10_size:.1f} networks"
            fits = "every combination fits" if space.proved else "not proved that every combination fits"
            click.echo(f"ok  {space.name}: a space of {space.decisions} decisions, {size}, {fits}")
    if errors:
        failures.print_diagnostics(ArchError(list(errors)))


def github_command(error: Diagnostic) -> str:
    """A workflow command (docs.github.com, "Workflow commands for GitHub Actions", setting an error message)."""
    where = (
        f"file={_escaped(error.span.source.name)},line={error.span.line},col={error.span.column}," if error.span else ""
    )
    text = f"{error.message}\n{error.help}" if error.help else error.message
    return f"::error {where}title={error.code}::{_escaped(text, property=False)}"


def _escaped(text: str, property: bool = True) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property else text


def sarif_log(errors: Sequence[Diagnostic]) -> dict[str, Any]:
    """The errors as a SARIF 2.1.0 log (OASIS)."""
    rules = [{"id": code} for code in sorted({error.code for error in errors})]
    driver = {"name": "archlang", "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_sarif_result(error) for error in errors]}],
    }


def _sarif_result(error: Diagnostic) -> dict[str, Any]:
    text = f"{error.message}\n{error.help}" if error.help else error.message
    result: dict[str, Any] = {"ruleId": error.code, "level": "error", "message": {"text": text}}
    if error.span is not None:
        region = {"startLine": error.span.line, "startColumn": error.span.column}
        location = {"artifactLocation": {"uri": error.span.source.name}, "region": region}
        result["locations"] = [{"physicalLocation": location}]
    return result
