"""`archlang devices`: the devices that latency is measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete
from archlang.cli.common import devices_option, emit_json, json_option, stdout_colours
from archlang.cli.failures import OUTSIDE
from archlang.cli.table import Table, show

if TYPE_CHECKING:
    from archlang.device.check import Report


@click.group(invoke_without_command=True)
@devices_option
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """The devices that `bench` and `search` know by name, besides `host`. Without a command: list them.

    They stand in devices.toml in your configuration folder, or in the file that --devices or ARCHLANG_DEVICES names.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)


@command.command("list")
@devices_option
@json_option
def list_command(as_json: bool) -> None:
    """Every device, how it is reached, and whether it is left alone since it kept failing."""
    _list(as_json)


@command.command("check")
@click.argument("names", nargs=-1, shell_complete=complete.devices)
@devices_option
@json_option
@click.pass_context
def check_command(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Contact the devices NAMES, or all, and say what is missing and what to do about it.

    A device that is well is used again at once if it was left alone. The exit code is 3 where something is missing.
    """
    from archlang.device import check

    reports = check.reports(names)
    if as_json:
        emit_json([report.as_json() for report in reports])
    else:
        for report in reports:
            _show(report)
    if not all(report.ok for report in reports):
        ctx.exit(OUTSIDE)


@command.command("init")
@devices_option
@json_option
def init_command(as_json: bool) -> None:
    """Write a devices.toml with an example of every kind, to be edited."""
    from archlang.device import devices, places

    file = places.devices_file()
    devices.init(file)
    _say(as_json, f"wrote {file}", {"file": str(file)})


@command.command("add")
@click.argument("name")
@click.argument("kind", shell_complete=complete.device_kinds)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@devices_option
@json_option
def add_command(name: str, kind: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Add a device: archlang devices add pi4 ssh host=raspberrypi.local user=pi"""
    from archlang.device import devices, places

    given = dict(_pair(text) for text in settings)
    file = places.devices_file()
    devices.add(file, name, kind, given)
    _say(as_json, f"added {name} to {file}; now  archlang devices check {name}", {"name": name, "file": str(file)})


@command.command("remove")
@click.argument("name", shell_complete=complete.devices)
@devices_option
@json_option
def remove_command(name: str, as_json: bool) -> None:
    """Take a device out of devices.toml."""
    from archlang.device import devices, places

    file = places.devices_file()
    devices.remove(file, name)
    _say(as_json, f"removed {name} from {file}", {"name": name, "file": str(file)})


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"`{text}` is not of the form KEY=VALUE")
    return key.strip(), value.strip()


def _say(as_json: bool, text: str, document: dict[str, Any]) -> None:
    if as_json:
        emit_json(document)
    else:
        click.echo(text)


def _list(as_json: bool) -> None:
    from archlang.device import check, devices, places
    from archlang.device.quarantine import Quarantine

    entries = devices.load().values()
    held = {entry.name: Quarantine.of(entry.name).holds() for entry in entries}
    if as_json:
        rows = [
            {
                "name": entry.name,
                "kind": entry.kind,
                "settings": entry.settings,
                "quarantined_until": record and record.until,
            }
            for entry in entries
            for record in [held[entry.name]]
        ]
        emit_json([{"name": "host", "kind": "host", "settings": {}, "quarantined_until": None}, *rows])
        return
    lines = [("host", "host", "this machine")]
    lines += [(entry.name, entry.kind, _where(entry.settings)) for entry in entries]
    show(Table(("name", "kind", "where"), lines, whole=("name", "kind")))
    click.echo(f"\nnamed in {places.devices_file()}" if entries else f"\n{places.devices_file()} may name others")
    for name, record in held.items():
        if record is not None:
            click.echo(f"{name} is {check.resting(record)}")


def _where(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _show(report: Report) -> None:
    from archlang.device import check

    head = click.style(report.name, bold=True)
    click.echo(f"{head} ({report.kind}): {'well' if report.ok else 'not yet'}", color=stdout_colours())
    for finding in report.findings:
        mark = click.style("ok" if finding.ok else "missing", fg="green" if finding.ok else "red")
        click.echo(f"  {mark}  {finding.what}: {finding.message}", color=stdout_colours())
        if finding.remedy:
            click.echo(f"      {finding.remedy}")
    if report.quarantine is not None:
        lifted = "; it is used again now" if report.ok else ""
        click.echo(f"  it was {check.resting(report.quarantine)}{lifted}")
