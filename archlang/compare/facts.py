"""What is in a model file: operators, tensors, numbers, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path

from archlang.errors import fail
from archlang.memory import most_alive


@dataclass(frozen=True)
class Facts:
    """bytes: of the file, and of those beside it that hold its weights. operators: name -> count, delegates aside.
    computed: type of number -> how many operators make such. constants: bytes of weights and other constants, counted
    once where several tensors share them. peak_bytes: the most that activations need at once for batch 1; None where
    shapes are unknown. inputs, outputs: as text, `image int8 1x224x224x3`. placeholders: whether nobody has measured
    its scales, so that its outputs mean nothing.
    """

    format: str
    bytes: int
    operators: Mapping[str, int]
    computed: Mapping[str, int]
    tensors: int
    constants: int
    peak_bytes: int | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    placeholders: bool = False


@dataclass(frozen=True)
class Value:
    """A tensor that is computed or fed. shape: None where it is unknown."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    itemsize: int

    @property
    def nbytes(self) -> int | None:
        return None if self.shape is None else self.itemsize * prod(self.shape)

    def __str__(self) -> str:
        shape = "of unknown shape" if self.shape is None else "x".join(map(str, self.shape)) or "scalar"
        return f"{self.name} {self.kind} {shape}"


Step = tuple[Sequence[str], Sequence[Value]]
"""An operator: the names of the values that it reads, and what it makes."""


def peak(inputs: Sequence[Value], steps: Sequence[Step], outputs: Sequence[str]) -> int | None:
    """The most bytes alive at once (`memory.most_alive`): an operator's inputs and outputs are alive together."""
    values = [*inputs, *(value for _, made in steps for value in made)]
    sizes = [value.nbytes for value in values]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    place = {value.name: i for i, value in enumerate(values)}
    reads: list[tuple[int, ...]] = [()] * len(inputs)
    reads += (tuple(place[name] for name in read if name in place) for read, made in steps for _ in made)
    return most_alive(known, reads, [place[name] for name in outputs if name in place])


_READERS = {".tflite": "archlang.compare.tflite", ".onnx": "archlang.compare.onnx"}


def facts(path: Path) -> Facts:
    """Of a .tflite or .onnx file. Raises ArchError where it is missing or damaged, OutsideError without the package
    that reads it."""
    if path.suffix not in _READERS:
        raise fail("E0606", f"{path}: models are .tflite or .onnx files", help="`archlang compile` makes them")
    if not path.is_file():
        raise fail("E1005", f"there is no file {path}")
    found: Facts = import_module(_READERS[path.suffix]).facts(path)
    return found
