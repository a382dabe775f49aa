"""How the program ends when a command does not: what is printed, and the exit code."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import click

from archlang.errors import ArchError, OutsideError, render

WRONG_INPUT = 1
OUTSIDE = 3
INTERRUPTED = 130

CLICKS_OWN = (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError, SystemExit, GeneratorExit)
"""What click handles: usage errors (exit code 2), ended programs, a reader of our output that went away."""


def traceback_wanted() -> bool:
    return bool(os.environ.get("ARCHLANG_TRACEBACK"))


def report(error: BaseException, as_json: bool) -> int:
    """Print the error as text on stderr, or as a JSON document on stdout. The exit code."""
    status, text, errors = _ending(error)
    if as_json:
        from archlang.cli.common import emit_json

        emit_json({"ok": False, "errors": errors})
    else:
        click.echo(_coloured(text), err=True, color=_stderr_colours())
    return status


def print_diagnostics(error: ArchError) -> None:
    """Every diagnostic on stderr, a blank line between two."""
    click.echo(_coloured(_rendered(error)), err=True, color=_stderr_colours())


def _ending(error: BaseException) -> tuple[int, str, list[dict[str, Any]]]:
    """The exit code, the text, and the entries of `errors` in JSON."""
    if isinstance(error, ArchError):
        return WRONG_INPUT, _rendered(error), [diagnostic.as_json() for diagnostic in error.diagnostics]
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted", [_entry("interrupted")]
    if isinstance(error, OutsideError):
        return OUTSIDE, f"error: {error}", [_entry(str(error))]
    if isinstance(error, OSError) and error.strerror:
        sentence = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        return OUTSIDE, f"error: {sentence}", [_entry(sentence)]
    if isinstance(error, MemoryError):
        return OUTSIDE, "error: this machine has not enough memory for that", [_entry("not enough memory")]
    sentence = f"this is a bug in archlang: {type(error).__name__}: {_first_line(str(error))}"
    hint = "please report it; with ARCHLANG_TRACEBACK=1 in the environment the trace is shown"
    return WRONG_INPUT, f"error: {sentence}\n  = help: {hint}", [_entry(sentence)]


def _rendered(error: ArchError) -> str:
    return "\n\n".join(render(diagnostic) for diagnostic in error.diagnostics)


def _entry(message: str) -> dict[str, Any]:
    """An entry of `errors` for what has no place in a source and no code."""
    return {"code": "", "message": message, "file": "", "line": 0, "column": 0, "help": "", "trace": []}


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "no message"


_COLOURS: Sequence[tuple[re.Pattern[str], dict[str, Any]]] = (
    (re.compile(r"^error(\[E\d+\])?:"), {"fg": "red", "bold": True}),
    (re.compile(r"^ *(-->|:::|\.\.\.)"), {"fg": "blue", "bold": True}),
    (re.compile(r"^ *\d* \|"), {"fg": "blue", "bold": True}),
    (re.compile(r"^ *= (help|expanded from):"), {"fg": "cyan", "bold": True}),
)
"""How the beginning of a rendered line is coloured."""


def _coloured(text: str) -> str:
    return "\n".join(_coloured_line(line) for line in text.split("\n"))


def _coloured_line(line: str) -> str:
    for pattern, style in _COLOURS:
        if match := pattern.match(line):
            return click.style(match[0], **style) + line[match.end() :]
    return line


def _stderr_colours() -> bool | None:
    """None: click finds out whether stderr is a terminal. See https://no-color.org."""
    return False if os.environ.get("NO_COLOR") else None
