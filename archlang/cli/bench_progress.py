"""How far a measurement is, on stderr and only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from archlang.cli.common import console


@contextmanager
def bench_progress(device: str) -> Iterator[Callable[[int], None]]:
    """What to call with the number of processes that have ended."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda done: None
        return
    with screen.status(f"measuring on {device}") as status:
        yield lambda done: status.update(f"measuring on {device}: {done} processes, the reference's too")
