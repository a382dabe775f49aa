"""The transport to this machine: the runner as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archlang.device import runner
from archlang.device.transport import OpTime, Sampled, Settings
from archlang.errors import ArchError, OutsideError, fail, missing_extra

_EXTRAS = {".tflite": ("running a .tflite file", "tflite"), ".onnx": ("running an .onnx file", "onnx")}


class Host:
    """LiteRT (or an installed tflite-runtime or TensorFlow) for .tflite, ONNX Runtime for .onnx, on the CPU."""

    def run(self, model: Path, settings: Settings) -> Sampled:
        request = {"model": str(model.resolve()), **asdict(settings)}
        answer = _answer(runner.__file__, model, request)
        ops = answer["ops"]
        if settings.profile and model.suffix == ".tflite":
            ops = _answer(str(_LITERT_PROFILE), model, request)["ops"]
        times = None if ops is None else _with_shares(ops)
        return Sampled(answer["runtime"], tuple(answer["samples_ms"]), answer["warmup_runs"], times)


TRANSPORT = Host()

_LITERT_PROFILE = Path(__file__).with_name("litert_profile.py")


def _answer(script: str, model: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What the script answers. `-P`: its folder must not hide modules of the same names."""
    command = [sys.executable, "-P", script]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    timeout, text = request["timeout_secs"], json.dumps(request)
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout, env=environment)
    except subprocess.TimeoutExpired as error:
        raise OutsideError(
            f"{model.name} was not measured within {timeout:g} s: ask for fewer runs, or look whether the machine hangs"
        ) from error
    if done.returncode != 0:
        raise _crash(model, done)
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise _failure(model, answer["error"], answer["message"])
    return answer


def _crash(model: Path, done: subprocess.CompletedProcess[str]) -> ArchError:
    """The runtime took its process with it: a corrupt model, or too little memory."""
    said = done.stderr.strip().splitlines()
    how = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
    help = f"its last words: {said[-1]}" if said else "is the file whole, and is there memory enough?"
    return fail("E1002", f"the runtime died on {model} ({how})", help=help)


def _failure(model: Path, kind: str, message: str) -> Exception:
    if kind == "missing":
        what, extra = _EXTRAS[model.suffix]
        return missing_extra(f"{what} ({message})", extra)
    if kind == "profile":
        return OutsideError(f"{message}; the .onnx file of the same network can be profiled too")
    return fail("E1001", f"{model} cannot be run: {message}")


def _with_shares(ops: list[dict[str, Any]]) -> tuple[OpTime, ...]:
    total = sum(op["ms"] for op in ops) or 1.0
    return tuple(OpTime(op["name"], op["op"], op["ms"], op["ms"] / total) for op in ops)
