"""A TFLite model in memory: what the lowering makes, quantization rewrites and the writer writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.schema import Builtin
from archlang.ir.graph import Node

FLOAT = np.dtype(np.float32)
INT8 = np.dtype(np.int8)
INT16 = np.dtype(np.int16)


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale * (stored - zero_point). One scale, or one for each index along `axis`: then zero points are 0."""

    scale: NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0

    @property
    def parameters(self) -> tuple[float, int]:
        """Scale and zero point of a per-tensor quantization."""
        assert len(self.scale) == 1
        return float(self.scale[0]), self.zero_point


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value. shape: with the batch, channels last. data: of a constant."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] = FLOAT
    data: NDArray[Any] | None = None
    quantization: Quantization | None = None

    @property
    def values(self) -> NDArray[Any]:
        """Of a constant."""
        assert self.data is not None, f"{self.name} is not a constant"
        return self.data


@dataclass(frozen=True, slots=True)
class Operator:
    """kind applied to the tensors `inputs`, making `output`.

    node: the part of the network that it was lowered from. precise: keeps floats where the rest is quantized.
    """

    kind: Builtin
    inputs: tuple[int, ...]
    output: int
    options: Mapping[str, float]
    node: Node
    precise: bool = False


@dataclass(frozen=True)
class Model:
    """inputs, outputs: the names in the .arch file and their tensors. metadata: name -> content."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    description: str = ""
    metadata: Mapping[str, bytes] = field(default_factory=dict)
