"""What a bundle tells of its model: read from the file itself, by the runtime that will run it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archlang.about import About
from archlang.device import runner
from archlang.errors import fail, missing_extra


@dataclass(frozen=True)
class Tensor:
    """An input or output. shape: batch first. layout: a letter a dimension. scale, zero_point: value = scale * (q -
    zero_point) for integers q; 0 and 0 where the values stand for themselves."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Facts:
    """operators: TFLite's name of each kind -> how many there are. mean, std: (pixel - mean) / std of pixels 0..255."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: dict[str, int]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


_LAYOUTS = {2: "NC", 3: "NTC", 4: "NHWC"}


def facts(name: str, content: bytes, about: About) -> Facts:
    """The facts of a .tflite file. Raises ArchError where the runtime refuses it, or the labels are of another number;
    OutsideError without a runtime."""
    try:
        make, runtime = runner.interpreter_class()
    except runner.Failure as failure:
        raise missing_extra(f"looking into a .tflite file ({failure})", "tflite") from failure
    try:
        interpreter = make(model_content=content)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise fail("E1001", f"the model cannot be run: {runtime} does not accept it: {error}") from error
    inputs = tuple(_tensor(detail) for detail in interpreter.get_input_details())
    outputs = tuple(_tensor(detail) for detail in interpreter.get_output_details())
    if about.labels and len(about.labels) != outputs[0].shape[-1]:
        raise fail("E0609", f"there are {len(about.labels)} labels for {outputs[0].shape[-1]} classes")
    return Facts(name, inputs, outputs, operators(interpreter), about.mean, about.std, about.labels)


def operators(interpreter: Any) -> dict[str, int]:
    """The kinds of operators of the file. What a delegate has made of them stands beside them and does not count."""
    found = Counter(detail["op_name"] for detail in interpreter._get_ops_details())
    return {name: count for name, count in found.items() if name != "DELEGATE"}


def _tensor(detail: dict[str, Any]) -> Tensor:
    import numpy as np

    shape = tuple(int(size) for size in detail["shape"])
    scale, zero_point = detail["quantization"]
    kind = np.dtype(detail["dtype"]).name
    return Tensor(detail["name"], shape, kind, _LAYOUTS.get(len(shape), ""), float(scale), int(zero_point))


def content_of(path: Path) -> bytes:
    """A .tflite file. Raises ArchError where it is missing."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise fail("E1005", f"cannot read {path}: {error.strerror}") from error
