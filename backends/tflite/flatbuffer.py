"""Writes a flatbuffer: tables, vectors and strings in one run of bytes, each pointing forward to its parts.

The file grows from its end to its beginning, so that whatever a table points to is there already. A place is written
down as its distance from the end. The format: https://flatbuffers.dev/internals. The `flatbuffers` package does the
same field by field; packing a table at once takes a tenth of its time, and large vectors are not copied before the end.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.schema import Slot, Table

_CODES = {"offset": "I", "int32": "i", "uint32": "I", "float32": "f", "int8": "b", "bool": "?"}
"""Kind of a field -> its code in `struct`."""

_FILE_ALIGNMENT = 16
_HEADER = 8
"""Bytes: the offset of the root table, and the file identifier."""


@dataclass(frozen=True)
class _Shape:
    """Where the fields of a table lie. places: (name, distance from the table's start, whether it is an offset)."""

    packed: struct.Struct
    places: tuple[tuple[str, int, bool], ...]
    vtable: bytes


def _shape(layout: Table, names: tuple[str, ...]) -> _Shape:
    """The shape of a table with these fields: those of four bytes first, so that nothing but the end needs padding."""
    slots: list[tuple[str, Slot]] = sorted(((name, layout[name]) for name in names), key=_size, reverse=True)
    code, position, places, where = "<i", 4, [], {}
    for name, slot in slots:
        where[slot.number] = position
        places.append((name, position, slot.kind == "offset"))
        code += _CODES[slot.kind]
        position += struct.calcsize(f"<{_CODES[slot.kind]}")
    padding = -position % 4
    count = max(where, default=-1) + 1
    entries = [4 + 2 * count, position + padding, *(where.get(i, 0) for i in range(count))]
    return _Shape(struct.Struct(f"{code}{padding}x"), tuple(places), struct.pack(f"<{len(entries)}H", *entries))


def _size(field: tuple[str, Slot]) -> int:
    return struct.calcsize(f"<{_CODES[field[1].kind]}")


class Flatbuffer:
    """A flatbuffer that grows. Methods return the place of what they wrote, for tables to point to."""

    def __init__(self) -> None:
        self._chunks: list[bytes | memoryview] = []
        self._length = 0
        self._shapes: dict[tuple[int, tuple[str, ...]], _Shape] = {}
        self._written: dict[tuple[str, bytes], int] = {}

    def table(self, layout: Table, **values: float | None) -> int:
        """A table. Fields at their default, and those that are None, are left out; offsets are places."""
        given = {
            name: value
            for name, value in values.items()
            if value is not None and (layout[name].kind == "offset" or value != layout[name].default)
        }
        key = (id(layout), tuple(given))
        shape = self._shapes.get(key) or self._shapes.setdefault(key, _shape(layout, key[1]))
        vtable = self._once("vtable", shape.vtable, 2)
        start = _aligned(self._length + shape.packed.size, 4)
        fields = [start - at - int(given[name]) if is_offset else given[name] for name, at, is_offset in shape.places]
        return self._put(shape.packed.pack(vtable - start, *fields), 4)

    def string(self, text: str) -> int:
        content = text.encode()
        return self._once("string", content + b"\0", 4, len(content))

    def integers(self, values: Sequence[int]) -> int:
        """A vector of int32."""
        return self._once("int32", struct.pack(f"<{len(values)}i", *values), 4, len(values))

    def vector(self, values: NDArray[Any]) -> int:
        """A vector of numbers. Equal ones are written once."""
        return self._once(values.dtype.str, values.tobytes(), max(4, values.itemsize), len(values))

    def blob(self, content: NDArray[Any], alignment: int) -> int:
        """The bytes of an array as a vector of bytes, aligned. It must not change before `finish`."""
        data = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
        self._put(data.data, alignment)
        return self._put(struct.pack("<I", data.size), 4)

    def offsets(self, places: Sequence[int]) -> int:
        """A vector of tables."""
        first = _aligned(self._length + 4 * len(places), 4)
        self._put(struct.pack(f"<{len(places)}I", *(first - 4 * i - place for i, place in enumerate(places))), 4)
        return self._put(struct.pack("<I", len(places)), 4)

    def finish(self, root: int, identifier: bytes) -> bytes:
        """The whole file."""
        total = _aligned(self._length + _HEADER, _FILE_ALIGNMENT)
        header = struct.pack("<I4s", total - root, identifier)
        return b"".join([header, bytes(total - self._length - _HEADER), *reversed(self._chunks)])

    def _once(self, kind: str, content: bytes, alignment: int, count: int | None = None) -> int:
        """A piece that is written once however often it is asked for, with its count before it if it has one."""
        place = self._written.get((kind, content))
        if place is None:
            place = self._put(content, alignment)
            if count is not None:
                place = self._put(struct.pack("<I", count), 4)
            self._written[kind, content] = place
        return place

    def _put(self, chunk: bytes | memoryview, alignment: int) -> int:
        """Put a piece before all others, its first byte aligned."""
        place = _aligned(self._length + len(chunk), alignment)
        padding = place - self._length - len(chunk)
        if padding:
            self._chunks.append(bytes(padding))
        self._chunks.append(chunk)
        self._length = place
        return place


def _aligned(length: int, alignment: int) -> int:
    return length + -length % alignment
