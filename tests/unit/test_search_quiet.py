"""While something is measured nobody works, and whoever wants to measure gets a turn."""

from __future__ import annotations

import multiprocessing
import time
from itertools import pairwise
from pathlib import Path

import pytest

from archlang.search.quiet import Quiet, only_one

pytest.importorskip("fcntl")


def work(folder: Path) -> None:
    """Works for ever, in pieces."""
    quiet = Quiet(folder)
    with quiet.working():
        while True:
            time.sleep(0.01)
            quiet.pause()


def measure(folder: Path, times: int) -> None:
    """Writes when each measurement began and ended."""
    quiet = Quiet(folder)
    for _ in range(times):
        with quiet.measuring():
            start = time.monotonic()
            time.sleep(0.02)
            with open(folder / "log", "a") as file:
                file.write(f"{start} {time.monotonic()}\n")


def test_measurements_are_alone_and_not_put_off_for_ever(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(tmp_path,), daemon=True) for _ in range(2)]
    measurers = [context.Process(target=measure, args=(tmp_path, 5), daemon=True) for _ in range(2)]
    for process in (*workers, *measurers):
        process.start()
    for process in measurers:
        process.join(60)
        assert process.exitcode == 0
    for process in workers:
        assert process.is_alive()
        process.kill()
        process.join()
    spans = sorted(tuple(map(float, line.split())) for line in (tmp_path / "log").read_text().splitlines())
    assert len(spans) == 10
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_works_wait_for_a_measurement_and_measurements_for_works(tmp_path: Path) -> None:
    first, second = Quiet(tmp_path), Quiet(tmp_path)
    with first.working(), second.working():
        assert not free(tmp_path)
    assert free(tmp_path)
    with first.measuring():
        assert not free(tmp_path)
    assert free(tmp_path)


def free(folder: Path) -> bool:
    with only_one(folder / ".busy") as alone:
        return alone


def test_only_one(tmp_path: Path) -> None:
    with only_one(tmp_path / "lock") as first, only_one(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    with only_one(tmp_path / "lock") as third:
        assert third
