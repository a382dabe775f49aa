"""`archlang fmt FILE...`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

import click

from archlang.cli import complete, failures
from archlang.cli.common import emit_json, json_option
from archlang.errors import ArchError
from archlang.files import write_whole
from archlang.source import Source


@dataclass(frozen=True)
class Formatted:
    """A file before and after."""

    source: Source
    text: str

    @property
    def changed(self) -> bool:
        return self.text != self.source.text

    def diff(self) -> str:
        before, after = self.source.text.splitlines(keepends=True), self.text.splitlines(keepends=True)
        return "".join(unified_diff(before, after, self.source.name, f"{self.source.name} (formatted)"))


@click.command
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=complete.files)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 where a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
@json_option
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], check: bool, diff: bool, as_json: bool) -> None:
    """Format FILE in place. `-` reads from stdin and prints."""
    results, errors = _format_all(files)
    changed = [result for result in results if result.changed]
    for result in results:
        if result.source.name == STDIN and not (check or diff or as_json):
            click.echo(result.text, nl=False)
        elif result.changed and not (check or diff):
            write_whole(Path(result.source.name), result.text)
    names = [result.source.name for result in changed]
    if as_json:
        entries = [diagnostic.as_json() for error in errors for diagnostic in error.diagnostics]
        emit_json({"ok": not errors and not (check and names), "errors": entries, "changed": names})
    else:
        _print(changed, check, diff)
        for error in errors:
            failures.print_diagnostics(error)
    ctx.exit(failures.WRONG_INPUT if errors or (check and changed) else 0)


STDIN = "-"


def _format_all(files: tuple[str, ...]) -> tuple[list[Formatted], list[ArchError]]:
    """Every file formatted, before any is written: an error in one does not hide those of the next."""
    from archlang.syntax import format_text

    results, errors = [], []
    for file in files:
        try:
            source = _read(file)
            results.append(Formatted(source, format_text(source)))
        except ArchError as error:
            errors.append(error)
    return results, errors


def _read(file: str) -> Source:
    from archlang.lower.module import read_source

    return Source(STDIN, sys.stdin.read()) if file == STDIN else read_source(Path(file))


def _print(changed: list[Formatted], check: bool, diff: bool) -> None:
    for result in changed:
        if diff:
            click.echo(result.diff(), nl=False)
        elif check:
            click.echo(f"would format {result.source.name}", err=True)
        elif result.source.name != STDIN:
            click.echo(f"formatted {result.source.name}", err=True)
