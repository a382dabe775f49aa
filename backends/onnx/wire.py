"""An ONNX file's bytes. Protobuf would copy every weight several times on the way from an array into the file; here
each is made when its place in the file is reached, and copied once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

_LENGTH_DELIMITED = 2
"""The wire type of messages and bytes (protobuf's encoding, https://protobuf.dev/programming-guides/encoding/)."""


@dataclass(frozen=True)
class Initializer:
    """A constant of the file, float32 or int64; `make` gives the array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[], NDArray[Any]]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def serialized(model: ModelProto, initializers: Mapping[str, Initializer]) -> bytes:
    """The model with the initializers in its graph. The model itself must have none, and loses its graph."""
    from onnx import GraphProto, ModelProto

    heads = [_tensor_head(name, initializer) for name, initializer in initializers.items()]
    sizes = [len(head) + made.nbytes for head, made in zip(heads, initializers.values(), strict=True)]
    starts = [_header(GraphProto.INITIALIZER_FIELD_NUMBER, size) for size in sizes]
    nodes: bytes = model.graph.SerializeToString()
    model.ClearField("graph")
    rest: bytes = model.SerializeToString()
    file = BytesIO()
    file.write(rest)
    file.write(_header(ModelProto.GRAPH_FIELD_NUMBER, len(nodes) + sum(sizes) + sum(map(len, starts))))
    file.write(nodes)
    for start, head, initializer in zip(starts, heads, initializers.values(), strict=True):
        file.write(start + head)
        file.write(_little_endian(initializer))
    return file.getvalue()


def _tensor_head(name: str, initializer: Initializer) -> bytes:
    """A TensorProto up to where its raw data begin."""
    from onnx import TensorProto

    kind = TensorProto.INT64 if initializer.dtype == np.int64 else TensorProto.FLOAT
    tensor = TensorProto(name=name, data_type=kind, dims=initializer.shape)
    head: bytes = tensor.SerializeToString()
    return head + _header(TensorProto.RAW_DATA_FIELD_NUMBER, initializer.nbytes)


def _little_endian(initializer: Initializer) -> memoryview:
    array = np.ascontiguousarray(initializer.make(), initializer.dtype.newbyteorder("<"))
    assert array.shape == (initializer.shape or (1,))
    return array.reshape(-1).view(np.uint8).data


def _header(field: int, length: int) -> bytes:
    """What stands before a length-delimited field."""
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
