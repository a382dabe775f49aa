"""An ONNX file's bytes. Protobuf would copy every weight several times on the way from an array into the file; here
each is made when its place in the file is reached, and copied once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archlang.files import Buffer

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

_LENGTH_DELIMITED = 2
"""The wire type of messages and bytes (protobuf's encoding, https://protobuf.dev/programming-guides/encoding/)."""


@dataclass(frozen=True)
class Initializer:
    """A constant of the file, float32 or int64; `pieces` makes its numbers, in arrays that follow each other."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pieces: Callable[[], Iterable[NDArray[Any]]]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def buffers(self) -> Iterator[Buffer]:
        """The bytes, as both the file and external data hold them: little-endian, rows first."""
        size = 0
        for piece in self.pieces():
            array = np.ascontiguousarray(piece, self.dtype.newbyteorder("<"))
            size += array.nbytes
            yield array.reshape(-1).view(np.uint8).data
        assert size == self.nbytes


@dataclass(frozen=True)
class External:
    """Initializers that stand in a file of their own beside the model. name: the file's; offsets: where each begins."""

    name: str
    initializers: Mapping[str, Initializer]
    offsets: Mapping[str, int]

    def pieces(self) -> Iterator[Buffer]:
        """The file's content."""
        written = 0
        for name, initializer in self.initializers.items():
            yield bytes(self.offsets[name] - written)
            yield from initializer.buffers()
            written = self.offsets[name] + initializer.nbytes


_PAGE = 4096
"""What external data are aligned to, so that they can be mapped into memory (onnx.proto, `external_data`)."""

_KEPT = 1024
"""Smaller constants stay in the model: shape inference reads them."""


def external(name: str, initializers: Mapping[str, Initializer]) -> External:
    """All initializers but the small ones, in a file called `name`."""
    moved = {key: value for key, value in initializers.items() if value.nbytes >= _KEPT}
    offsets: dict[str, int] = {}
    end = 0
    for key, initializer in moved.items():
        offsets[key] = -(-end // _PAGE) * _PAGE
        end = offsets[key] + initializer.nbytes
    return External(name, moved, offsets)


def serialized(
    model: ModelProto, initializers: Mapping[str, Initializer], outside: External | None = None
) -> Iterator[Buffer]:
    """The file of the model with the initializers in its graph; the model itself must have none.

    outside: those of which the file holds the place alone.
    """
    from onnx import GraphProto, ModelProto

    inside = {name: value for name, value in initializers.items() if not outside or name not in outside.offsets}
    heads = {name: _tensor_head(name, value) for name, value in inside.items()}
    sizes = {name: len(head) + inside[name].nbytes for name, head in heads.items()}
    starts = {name: _header(GraphProto.INITIALIZER_FIELD_NUMBER, size) for name, size in sizes.items()}
    nodes: bytes = model.graph.SerializeToString()
    nodes += b"".join(_placed(outside)) if outside else b""
    rest = ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    yield rest.SerializeToString()
    yield _header(ModelProto.GRAPH_FIELD_NUMBER, len(nodes) + sum(sizes.values()) + sum(map(len, starts.values())))
    yield nodes
    for name, initializer in inside.items():
        yield starts[name] + heads[name]
        yield from initializer.buffers()


def _placed(outside: External) -> Iterator[bytes]:
    """The initializers of the other file as fields of the graph: where their data are."""
    from onnx import GraphProto, TensorProto

    for name, initializer in outside.initializers.items():
        tensor = _tensor(name, initializer)
        tensor.data_location = TensorProto.EXTERNAL
        facts = {"location": outside.name, "offset": outside.offsets[name], "length": initializer.nbytes}
        for key, value in facts.items():
            tensor.external_data.add(key=key, value=str(value))
        body: bytes = tensor.SerializeToString()
        yield _header(GraphProto.INITIALIZER_FIELD_NUMBER, len(body)) + body


def _tensor(name: str, initializer: Initializer) -> TensorProto:
    from onnx import TensorProto

    kind = TensorProto.INT64 if initializer.dtype == np.int64 else TensorProto.FLOAT
    return TensorProto(name=name, data_type=kind, dims=initializer.shape)


def _tensor_head(name: str, initializer: Initializer) -> bytes:
    """A TensorProto up to where its raw data begin."""
    from onnx import TensorProto

    head: bytes = _tensor(name, initializer).SerializeToString()
    return head + _header(TensorProto.RAW_DATA_FIELD_NUMBER, initializer.nbytes)


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
