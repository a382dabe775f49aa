"""A compiled file that classifies images: its input's shape, and its first output for some inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.device import infer
from archlang.errors import fail, missing_extra

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ImageModel:
    """shape: of one input, (C, H, W). run: inputs (N, C, H, W) -> the first output of each, as floats."""

    shape: tuple[int, ...]
    run: Callable[[Floats], Floats]


def opened(path: Path) -> ImageModel:
    """The model in a .tflite or .onnx file. Raises ArchError where it is damaged, OutsideError without a runtime."""
    if path.suffix not in _OPENERS:
        raise fail("E0606", f"{path}: models are .tflite or .onnx files", help="`archlang compile` makes them")
    if not path.is_file():
        raise fail("E0605", f"there is no file {path}")
    return _OPENERS[path.suffix](path)


def _tflite(path: Path) -> ImageModel:
    content = path.read_bytes()
    shape = infer.input_shape(content)
    return ImageModel((shape[-1], *shape[1:-1]), lambda x: infer.predict(content, x))


def _onnx(path: Path) -> ImageModel:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("running an .onnx file", "onnx") from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own kinds share no base class
        raise fail("E1001", f"the model cannot be run: ONNX Runtime does not accept it: {error}") from error
    source = session.get_inputs()[0]
    sizes: list[Any] = source.shape[1:]
    return ImageModel(tuple(sizes), lambda x: np.asarray(session.run(None, {source.name: x})[0], np.float32))


_OPENERS = {".tflite": _tflite, ".onnx": _onnx}
