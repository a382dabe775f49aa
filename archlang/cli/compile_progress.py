"""How far a calibration, a report or a check is, on stderr and only on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from archlang.cli.common import console
from archlang.quantize.options import Told, silent


@contextmanager
def compile_progress(via: str | None) -> Iterator[Told]:
    """What to tell how far it is. via: another program that makes the file, and tells nothing."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield silent
        return
    first = "TensorFlow's converter is at work, for half a minute or so" if via else "compiling"
    with screen.status(first) as status:
        yield lambda what, done, total: status.update(_line(what, done, total))


def _line(what: str, done: int, total: int) -> str:
    return f"{what}: {done + 1} of {total}" if total else f"{what}, {done + 1}" if done else what
