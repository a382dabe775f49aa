"""What `compile` shows of a calibration, a report and a check while they last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from archlang.cli import compile_progress
from tests.e2e.program import archlang


@dataclass
class Screen:
    """Of a terminal, or not; the lines that it was to show."""

    is_terminal: bool
    lines: list[str] = field(default_factory=list)

    @contextmanager
    def status(self, line: str) -> Iterator[Screen]:
        self.lines.append(line)
        yield self

    def update(self, line: str) -> None:
        self.lines.append(line)


def compiled(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, is_terminal: bool = True) -> list[str]:
    screen = Screen(is_terminal)
    monkeypatch.setattr(compile_progress, "console", lambda stderr: screen)
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((6, 1, 32, 32)).astype(np.float32))
    done = archlang("compile", "zoo:lenet", "--to", "tflite", "-o", "m.tflite", *arguments)
    assert done.status == 0, done.err
    return screen.lines


INT8 = ("--quantize", "int8", "--calibration", "x.npy")


def test_each_calibration_input_and_each_that_checks_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = compiled(folder, monkeypatch, *INT8)
    assert [line for line in lines if line.startswith("calibrating")] == [f"calibrating: {i} of 6" for i in range(1, 7)]
    assert "checking the file: 4 of 4" in lines
    assert lines[-1] == "checking the layers"


def test_each_step_of_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = compiled(folder, monkeypatch, *INT8, "--report", "r.md")
    assert {"measuring layers: 6 of 6", "measuring with layers in floats, 2"} <= {*lines}


def test_nothing_where_there_is_no_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not compiled(folder, monkeypatch, *INT8, is_terminal=False)
