"""A Model run by the TFLite runtime, with any of its tensors shown: what calibration and the report look at.

It is the very operators of the file that run, those inside a lowered op included. Nothing is computed in Python, and
no torch is needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.model import FLOAT, Model, Tensor
from archlang.backends.tflite.writer import fits, size, write
from archlang.device import runner
from archlang.errors import fail, missing_extra
from archlang.quantize.options import Samples, See


class Run:
    """An `Executor` of a model. shown: name -> tensor, the inputs and what operators make; integers are shown as the
    numbers that they stand for."""

    def __init__(self, model: Model, shown: Mapping[str, int]) -> None:
        """Raises ArchError where the runtime cannot hold the model."""
        if not fits(model):
            held = f"{size(model) / 2**30:.1f} GiB of constants"
            message = f"calibration runs {model.name} as it is, with {held}, and the runtime takes less than 2"
            raise fail("E0813", message, help="quantize it without calibration inputs: `fp16` or `dynamic`")
        self.model, self.names = model, tuple(shown)
        given = {x: name for name, x in model.inputs}
        self.fed = {name: given[x] for name, x in shown.items() if x in given}
        self.made = {name: x for name, x in shown.items() if x not in given}
        outputs = tuple((str(x), x) for x in dict.fromkeys(self.made.values())) or model.outputs
        self.interpreter = interpreter(write(replace(model, outputs=outputs)))
        self.interpreter.allocate_tensors()
        self.places = dict(zip((x for _, x in outputs), self.interpreter.get_output_details(), strict=True))

    def run(self, sample: Samples, see: See) -> None:
        for (name, x), detail in zip(self.model.inputs, self.interpreter.get_input_details(), strict=True):
            self.interpreter.set_tensor(detail["index"], stored(channels_last(sample[name]), self.model.tensors[x]))
        self.interpreter.invoke()
        for name, given in self.fed.items():
            see(name, channels_last(sample[given]))
        for name, x in self.made.items():
            see(name, real(self.interpreter.tensor(self.places[x]["index"])(), self.model.tensors[x]))


def interpreter(content: bytes) -> Any:
    """Of the runtime that is installed. Raises OutsideError where there is none, or one that cannot run here."""
    try:
        make, _ = runner.interpreter_class()
    except runner.Failure as failure:
        raise missing_extra(f"int8 with calibration inputs ({failure})", "tflite") from failure
    return make(model_content=content, num_threads=min(4, os.cpu_count() or 1))


def channels_last(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(samples.transpose(0, 2, 3, 1)) if samples.ndim == 4 else samples


def stored(values: NDArray[np.float32], tensor: Tensor) -> NDArray[Any]:
    """Floats as the tensor holds them."""
    if tensor.dtype == FLOAT:
        return values
    assert tensor.quantization is not None
    scale, zero_point = tensor.quantization.parameters
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(values.astype(np.float64) / scale) + zero_point
    return np.asarray(np.clip(steps, limits.min, limits.max), tensor.dtype)


def real(values: NDArray[Any], tensor: Tensor) -> NDArray[np.float32]:
    """What the tensor holds as floats: itself, where it holds them."""
    if tensor.dtype == FLOAT:
        return values
    assert tensor.quantization is not None
    scale, zero_point = tensor.quantization.parameters
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
