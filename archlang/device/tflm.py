"""Whether a model runs on a microcontroller, and in which arena: tflite-micro's interpreter, on this machine.

It says yes or no and counts bytes; it tells no time. Pointers have 8 bytes here and 4 on a microcontroller, so that the
persistent part of the arena is smaller there: the figure is safe, not exact.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from archlang.device.estimate import Estimate
from archlang.device.transport import Finding
from archlang.errors import OutsideError, fail, missing_extra

SCRIPT = Path(__file__).with_name("tflm_interpreter.py")
LARGEST_ARENA = 64_000_000
SECONDS = 300.0


@dataclass(frozen=True)
class TflmDevice:
    """A microcontroller. arena: the bytes that it has for tensors; 0 where that is not known."""

    arena: int = 0

    def estimate(self, model: Path) -> Estimate:
        if model.suffix != ".tflite":
            raise fail("E1003", f"{model}: a microcontroller runs .tflite files only")
        answer = _answer(model)
        return Estimate(
            tool=f"tflite-micro {answer['version']}",
            ram_bytes=answer["arena_bytes"],
            flash_bytes=model.stat().st_size,
            ram_limit=self.arena,
            parts=tuple(answer["parts"].items()),
        )

    def check(self, name: str) -> tuple[Finding, ...]:
        try:
            return (Finding("tflite-micro", True, version("tflite-micro")),)
        except PackageNotFoundError:
            remedy = "run  pip install 'archlang[tflm]'  (Linux on x86-64 and arm64)"
            return (Finding("tflite-micro", False, "tflite-micro is not installed", remedy),)


def _answer(model: Path) -> dict[str, Any]:
    """In a process of its own: the interpreter aborts on some models."""
    request = json.dumps({"model": str(model.resolve()), "arena_limit": LARGEST_ARENA})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", str(SCRIPT)]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=SECONDS, env=environment, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise OutsideError(f"tflite-micro did not end within {SECONDS:g} s on {model.name}") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no words"]
        raise fail("E1002", f"tflite-micro died on {model}", help=f"its last words: {said[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer.get("error") == "missing":
        raise missing_extra("what a microcontroller needs", "tflm")
    if "error" in answer:
        raise fail("E1001", f"{model} does not run on a microcontroller: {answer['message']}")
    return answer
