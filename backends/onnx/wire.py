"""An ONNX file's bytes. Protobuf would copy every weight several times on the way from an array into the file; here the
arrays are put between the records that it has written, and copied once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

Piece = bytes | memoryview

_LENGTH_DELIMITED = 2
"""The wire type of messages and bytes (protobuf's encoding, https://protobuf.dev/programming-guides/encoding/)."""


def serialized(model: ModelProto, initializers: Mapping[str, NDArray[Any]]) -> bytes:
    """The model with the arrays as its graph's initializers. The model itself must have none, and loses its graph."""
    from onnx import GraphProto, ModelProto

    arrays = [list(_tensor(name, array)) for name, array in initializers.items()]
    graph: list[Piece] = [model.graph.SerializeToString()]
    for pieces in arrays:
        graph += [_header(GraphProto.INITIALIZER_FIELD_NUMBER, _length(pieces)), *pieces]
    model.ClearField("graph")
    header = _header(ModelProto.GRAPH_FIELD_NUMBER, _length(graph))
    return b"".join([model.SerializeToString(), header, *graph])


def _tensor(name: str, array: NDArray[Any]) -> Iterator[Piece]:
    """A TensorProto; raw data is little-endian."""
    from onnx import TensorProto

    kind = TensorProto.INT64 if array.dtype == np.int64 else TensorProto.FLOAT
    little = np.ascontiguousarray(array, "<i8" if kind == TensorProto.INT64 else "<f4")
    yield TensorProto(name=name, data_type=kind, dims=array.shape).SerializeToString()
    yield _header(TensorProto.RAW_DATA_FIELD_NUMBER, little.nbytes)
    yield little.reshape(-1).view(np.uint8).data


def _length(pieces: list[Piece]) -> int:
    return sum(piece.nbytes if isinstance(piece, memoryview) else len(piece) for piece in pieces)


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
