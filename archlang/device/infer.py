"""Runs a .tflite model on this machine for its outputs, not its time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.device import runner
from archlang.errors import fail, missing_extra


def predict(model: bytes, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
    """The first output, as floats, for each of the images x (N, C, H, W); the model takes one at a time, NHWC.

    Integer inputs and outputs are quantized and dequantized by the scales that the model states. Raises ArchError
    where the runtime refuses the model, OutsideError where there is none.
    """
    interpreter = _interpreter(model, threads)
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for image in quantized(np.moveaxis(x, 1, -1), source):
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result["index"])[0])
    return dequantized(np.stack(outputs), result)


def input_shape(model: bytes) -> tuple[int, ...]:
    """The shape of the model's first input, batch first, channels last. Raises as `predict` does."""
    return tuple(int(size) for size in _interpreter(model, 1).get_input_details()[0]["shape"])


def _interpreter(model: bytes, threads: int) -> Any:
    try:
        make, runtime = runner.interpreter_class()
    except runner.Failure as failure:
        raise missing_extra(f"running a .tflite file ({failure})", "tflite") from failure
    try:
        interpreter = make(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise fail("E1001", f"the model cannot be run: {runtime} does not accept it: {error}") from error
    return interpreter


def quantized(x: NDArray[np.float32], tensor: dict[str, Any]) -> NDArray[Any]:
    """round(x / scale) + zero_point, saturated, where the tensor is of integers; else x."""
    kind, (scale, zero_point) = np.dtype(tensor["dtype"]), tensor["quantization"]
    if kind.kind == "f":
        return x.astype(kind)
    limits = np.iinfo(kind)
    steps: NDArray[Any] = np.clip(np.round(x / scale) + zero_point, limits.min, limits.max)
    return steps.astype(kind)


def dequantized(y: NDArray[Any], tensor: dict[str, Any]) -> NDArray[np.float32]:
    """(y - zero_point) * scale where the tensor is of integers; else y."""
    scale, zero_point = tensor["quantization"]
    if y.dtype.kind == "f":
        return y.astype(np.float32)
    values: NDArray[Any] = (y.astype(np.int32) - zero_point) * scale
    return values.astype(np.float32)
