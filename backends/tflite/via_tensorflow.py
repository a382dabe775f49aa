"""TFLite by the other road: generated Keras source, and TensorFlow's own converter. An independent check of our writer.

The converter runs in a process of its own, on the TensorFlow backend of Keras; this one may be on another, or have
loaded PyTorch, with which TensorFlow does not always live well.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from archlang import calibration, weights
from archlang.backend import INTEGER_MODES, Artifact, Claim, Request
from archlang.backends.keras import generate
from archlang.backends.tflite.execution import channels_last
from archlang.errors import OutsideError, fail, missing_extra
from archlang.ir.graph import Graph
from archlang.passes import inference

WORKER = "archlang.backends.tflite.tensorflow_worker"

_EXCEPTION = re.compile(r"[A-Za-z_.]+(Error|Exception)\b")


def compile_via_tensorflow(graph: Graph, request: Request) -> Artifact:
    """The file that TensorFlow's converter makes, for batch 1, of the network in evaluation mode.

    Raises ArchError where int8 or int16x8 has no calibration inputs, or where something is asked for that only our own
    writer does, and OutsideError with the converter's words where it fails.
    """
    _check(request)
    arrays = request.weights if request.weights is not None else weights.initial(graph, request.seed)
    with TemporaryDirectory(prefix="archlang-") as folder:
        _write_job(Path(folder), graph, request, arrays)
        _convert(Path(folder))
        operators = json.loads((Path(folder) / "operators.json").read_text())
        content = (Path(folder) / "model.tflite").read_bytes()
        return Artifact(content, operators, claim=Claim(arrays, layered=False))


def _check(request: Request) -> None:
    if find_spec("tensorflow") is None:
        raise missing_extra("converting with TensorFlow", "tensorflow")
    if request.quantize in INTEGER_MODES and request.calibration is None:
        message = f"TensorFlow's converter needs inputs to measure for {request.quantize}"
        raise fail("E0811", message, help="pass --calibration")
    if request.quantization.ranges:
        message = "the weights hold ranges from training, which TensorFlow's converter does not take"
        raise fail("E0804", message, help="our own writer does: leave out --via; or pass weights without ranges")
    if request.about.labels:
        message = "TensorFlow's converter writes no labels into the file"
        raise fail("E0804", message, help="our own writer does: leave out --via")


def _write_job(folder: Path, graph: Graph, request: Request, arrays: weights.Weights) -> None:
    """What the worker reads: the source, the arrays, and how what goes in and out is called."""
    plain = inference(graph)
    source = generate(plain, request.origin)
    (folder / "network.py").write_text(source.text)
    weights.save(arrays, folder / "weights.safetensors")
    if request.calibration is not None:
        samples = calibration.checked(graph, request.calibration)
        inputs: dict[str, Any] = {name: channels_last(array) for name, array in samples.items()}
        np.savez(folder / "calibration.npz", **inputs)
    job = {
        "build": source.build,
        "mode": request.quantize,
        "io": request.io,
        "inputs": [plain.nodes[i].name for i in plain.inputs],
        "outputs": [output.name for output in plain.outputs if not output.aux],
    }
    (folder / "job.json").write_text(json.dumps(job))


def _convert(folder: Path) -> None:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    environment = {**os.environ, **quiet, "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-m", WORKER, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OutsideError(f"TensorFlow's converter failed: {_last_words(done.stderr)}")


def _last_words(text: str) -> str:
    """The exception's first line, which a traceback puts behind the last indented one."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if _EXCEPTION.match(line)]
    return (named or lines or ["without a word"])[-1].strip()
