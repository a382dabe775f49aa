"""`archlang explain CODE`."""

from __future__ import annotations

from dataclasses import asdict
from textwrap import fill

import click

from archlang.cli import complete
from archlang.cli.common import coloured_source, emit_json, json_option
from archlang.codes import CODES, Code
from archlang.errors import nearest


@click.command
@click.argument("code", required=False, shell_complete=complete.codes)
@json_option
def command(code: str | None, as_json: bool) -> None:
    """What the error CODE means, with a wrong and a right example. Without CODE: all codes."""
    if code is None:
        _list_all(as_json)
        return
    key = code.upper()
    if key not in CODES:
        raise click.BadParameter(f"there is no error `{code}`; {nearest(key, CODES)}", param_hint="CODE")
    if as_json:
        emit_json({"code": key, **asdict(CODES[key])})
    else:
        click.echo(text(key, CODES[key]))


def text(key: str, code: Code) -> str:
    """The page of one code."""
    parts = [f"{key}: {code.title}", fill(code.explanation, 88)]
    if code.wrong:
        parts += ["Wrong:\n\n" + _example(code.wrong), "Right:\n\n" + _example(code.right)]
    return "\n\n".join(parts)


def _example(program: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in coloured_source(program.strip("\n")).split("\n"))


def _list_all(as_json: bool) -> None:
    if as_json:
        emit_json([{"code": key, **asdict(code)} for key, code in CODES.items()])
    else:
        click.echo("\n".join(f"{key}  {code.title}" for key, code in CODES.items()))
