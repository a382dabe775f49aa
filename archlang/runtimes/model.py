"""What a model file that runs looks like from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from archlang.errors import OutsideError, fail

Array = NDArray[Any]


class Lacking(OutsideError):
    """The runtime is missing, or is too old for an operator of the file. The file itself may be right."""


@dataclass(frozen=True)
class Port:
    """An input or output. shape: with the batch, as the file has it; a free size is 1.

    scale, zero_point: of integers, real = scale * (stored - zero_point); 0 and 0 where it is not quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero_point: int = 0

    def stored(self, x: Array) -> Array:
        """Floats as the file wants them: rounded and saturated where it wants integers."""
        if self.dtype.kind == "f" or not self.scale:
            return np.ascontiguousarray(x, self.dtype)
        limits = np.iinfo(self.dtype)
        steps = np.rint(x.astype(np.float64) / self.scale) + self.zero_point
        return np.asarray(np.clip(steps, limits.min, limits.max), self.dtype)

    def real(self, y: Array) -> NDArray[np.float32]:
        """What stored values stand for."""
        values = np.asarray(y, np.float32)
        return (values - np.float32(self.zero_point)) * np.float32(self.scale) if self.scale else values


class ModelFile(Protocol):
    """A file that has been loaded by its runtime. runtime: its name and version."""

    runtime: str
    channels_last: bool
    """Whether images are (N, H, W, C), as the format wants, and not (N, C, H, W)."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, inputs: Sequence[Array]) -> list[NDArray[np.float32]]:
        """The outputs, as floats. inputs: one for each of `inputs`, in its shape, as floats."""
        ...

    def layers(self, inputs: Sequence[Array], names: Collection[str]) -> Mapping[str, tuple[Array, float]]:
        """The tensors of these names, of those that are computed on the way: as floats, and the size of their steps (0
        for floats)."""
        ...


SUFFIXES = {".tflite": "archlang.runtimes.tflite", ".onnx": "archlang.runtimes.onnx"}


def opened(path: Path, suffix: str = "") -> ModelFile:
    """The model in a .tflite or .onnx file. suffix: the format, where the file's name does not tell it.

    Raises ArchError where the file is missing or damaged, Lacking where the runtime is.
    """
    kind = suffix or path.suffix
    if kind not in SUFFIXES:
        raise fail("E0606", f"{path}: models are .tflite or .onnx files", help="`archlang compile` makes them")
    if not path.is_file():
        raise fail("E1005", f"there is no file {path}")
    model: ModelFile = import_module(SUFFIXES[kind]).opened(path)
    return model
