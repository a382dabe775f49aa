"""The transport to this machine: the runner as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from archlang.device import agent, scripts
from archlang.device.transport import Description, Sampled, Settings
from archlang.errors import OutsideError


class Host:
    """LiteRT (or an installed tflite-runtime or TensorFlow) for .tflite, ONNX Runtime for .onnx,
    PyTorch for generated modules, on the CPU."""

    interleaves = True

    def run(self, model: Path, settings: Settings) -> Sampled:
        before = scripts.conditions(agent.conditions())

        def ask(script: Path, request: dict[str, Any]) -> dict[str, Any]:
            return _answer(script, model, request)

        reference = str(settings.reference.resolve()) if settings.reference else ""
        sampled = scripts.sampled(ask, model, str(model.resolve()), settings, reference)
        return replace(sampled, before=before, after=scripts.conditions(agent.conditions()))

    def describe(self) -> Description:
        return scripts.description(agent.describe({}, tempfile.gettempdir()))

    def close(self) -> None:
        """Each process has ended with its run."""


TRANSPORT = Host()


def _answer(script: Path, model: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What the script answers. `-P`: its folder must not hide modules of the same names."""
    command = [sys.executable, "-P", str(script)]
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "ARCHLANG_PARENT": str(os.getpid())}
    timeout, text = request["timeout_secs"], json.dumps(request)
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout, env=environment)
    except subprocess.TimeoutExpired as error:
        raise OutsideError(
            f"{model.name} was not measured within {timeout:g} s: ask for fewer runs, or look whether the machine hangs"
        ) from error
    if done.returncode != 0:
        raise scripts.crash(model, done.returncode, done.stderr)
    return scripts.checked(model, json.loads(done.stdout))
