"""Quiet while something is timed: trainings of other workers wait at the end of an epoch.

Two files are locked. A training holds `busy` together with other trainings, a measurement alone; whoever waits holds
`gate`, so that a measurement is not put off for ever by trainings that come and go. The operating system gives the
locks of a killed process back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: measure with one worker
    fcntl = None  # type: ignore[assignment]


class Quiet:
    """The locks in one folder. One object a process."""

    def __init__(self, folder: Path) -> None:
        self._gate = open(folder / ".gate", "w")  # noqa: SIM115
        self._busy = open(folder / ".busy", "w")  # noqa: SIM115

    @contextmanager
    def working(self) -> Iterator[None]:
        """While this process does something that disturbs."""
        self._enter(shared=True)
        try:
            yield
        finally:
            _unlock(self._busy)

    def pause(self) -> None:
        """Within `working`: let those go first who wait to measure."""
        _unlock(self._busy)
        self._enter(shared=True)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """While this process measures."""
        self._enter(shared=False)
        try:
            yield
        finally:
            _unlock(self._busy)

    def _enter(self, shared: bool) -> None:
        _lock(self._gate)
        try:
            _lock(self._busy, shared)
        finally:
            _unlock(self._gate)


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Whether this process got the lock of that name; given back at the end."""
    with open(path, "w") as file:
        if fcntl is None:
            yield True
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def _lock(file: IO[str], shared: bool = False) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def _unlock(file: IO[str]) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_UN)
