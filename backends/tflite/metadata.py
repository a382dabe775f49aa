"""TFLite Metadata: what the file says of its inputs and outputs to the programs that use it.

A flatbuffer of its own (metadata_schema.fbs, version 1.5.0) in the model's buffer `TFLITE_METADATA`, and files beside
it, here the labels, as a zip archive behind the model. MediaPipe, Android Studio and tflite-support read both.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import archlang
from archlang.about import About, labelled_output, pixels_input
from archlang.backend import Request
from archlang.backends.tflite.flatbuffer import Flatbuffer
from archlang.backends.tflite.schema import Slot, Table
from archlang.ir.graph import Graph, Node, Output
from archlang.ir.types import TensorType
from archlang.ops.activation import Sigmoid, Softmax

Values = Sequence[float] | NDArray[np.floating]

NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
PARSER = "1.0.0"
"""The oldest parser that understands all that is written here."""

LABELS = "labels.txt"
_AXIS_LABELS = 2
"""AssociatedFileType: one label for each place along an axis of the tensor."""

_FEATURE, _IMAGE = 1, 2
"""ContentProperties: numbers of any meaning; an image."""

_COLOURS = {3: 1, 1: 2}
"""Channels -> ColorSpaceType: RGB, grayscale."""

_NORMALIZATION = 1
"""ProcessUnitOptions: (x - mean) / std."""

_OFFSET = "offset"


def _table(*fields: str) -> Table:
    """Fields in the schema's order, `name` for an offset and `name:kind` for a number; `-` for one that stays unset."""
    slots = {}
    for number, text in enumerate(fields):
        name, _, kind = text.partition(":")
        if name != "-":
            slots[name] = Slot(number, kind or _OFFSET)
    return slots


MODEL = _table("name", "description", "version", "subgraph_metadata", "-", "-", "-", "min_parser_version")
SUBGRAPH = _table("name", "description", "input_tensor_metadata", "output_tensor_metadata")
TENSOR = _table("name", "description", "-", "content", "process_units", "stats", "associated_files")
ASSOCIATED_FILE = _table("name", "description", "type:int8")
CONTENT = _table("content_properties_type:int8", "content_properties")
FEATURE_PROPERTIES = _table()
IMAGE_PROPERTIES = _table("color_space:int8", "default_size")
IMAGE_SIZE = _table("width:uint32", "height:uint32")
PROCESS_UNIT = _table("options_type:int8", "options")
NORMALIZATION_OPTIONS = _table("mean", "std")
STATS = _table("max", "min")


def entries(graph: Graph, request: Request) -> dict[str, bytes]:
    """Name -> content of the model's metadata: TFLite's own, and `archlang`, where the file comes from, as JSON.

    Raises ArchError where the labels or the normalisation do not fit the network.
    """
    facts = {
        "net": graph.name,
        "origin": request.origin,
        "digest": graph.digest,
        "quantize": request.quantize,
        "version": archlang.__version__,
    }
    if request.latency_only:
        facts["scales"] = "placeholders"
    return {NAME: described(graph, request.about), "archlang": json.dumps(facts).encode()}


def described(graph: Graph, about: About) -> bytes:
    """The metadata flatbuffer. Inputs and outputs are described in the order of the model's."""
    return _Description(graph, about).write()


def archive(about: About, start: int) -> bytes:
    """What follows a model of `start` bytes: a zip archive with the labels, stored as they are; nothing without any."""
    if not about.labels:
        return b""
    tail = _Tail(start)
    with zipfile.ZipFile(tail, "w") as files:
        entry = zipfile.ZipInfo(LABELS, (1980, 1, 1, 0, 0, 0))  # no date: equal input gives equal bytes
        files.writestr(entry, "\n".join(about.labels) + "\n")
    return tail.getvalue()


class _Tail(io.BytesIO):
    """The end of a file that begins `start` bytes earlier: the archive's offsets count from there."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start

    def tell(self) -> int:
        return super().tell() + self.start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(offset - self.start if whence == io.SEEK_SET else offset, whence) + self.start


class _Description:
    """Each method writes one part and returns its place."""

    def __init__(self, graph: Graph, about: About) -> None:
        self.graph, self.about, self.file = graph, about, Flatbuffer()
        self.pixels, self.labelled = pixels_input(graph, about), labelled_output(graph, about)

    def write(self) -> bytes:
        inputs = [self.input(self.graph.nodes[i]) for i in self.graph.inputs]
        outputs = [self.output(output) for output in self.graph.outputs if not output.aux]
        subgraph = self.file.table(
            SUBGRAPH,
            name=self.file.string(self.graph.name),
            input_tensor_metadata=self.file.offsets(inputs),
            output_tensor_metadata=self.file.offsets(outputs),
        )
        root = self.file.table(
            MODEL,
            name=self.file.string(self.graph.name),
            description=self.file.string(self.graph.doc),
            version=self.file.string(self.graph.digest[:16]),
            subgraph_metadata=self.file.offsets([subgraph]),
            min_parser_version=self.file.string(PARSER),
        )
        return self.file.finish(root, IDENTIFIER)

    def input(self, node: Node) -> int:
        given = self.about if node is self.pixels else About()
        units = [self.normalization(given)] if node is self.pixels else []
        mean, std = np.asarray(given.mean or (0.0,)), np.asarray(given.std or (255.0,))
        return self.tensor(
            node.name,
            _input_text(node.type),
            node.type,
            process_units=self.file.offsets(units) if units else None,
            stats=self.stats(-mean / std, (255 - mean) / std) if units else None,
        )

    def output(self, output: Output) -> int:
        node = self.graph.nodes[output.value]
        shares = isinstance((node, *node.fused)[-1].op, Softmax | Sigmoid)
        labels = [self.labels()] if output is self.labelled else []
        return self.tensor(
            output.name,
            _output_text(node.type, shares),
            TensorType((node.type.size,)),
            stats=self.stats((0.0,), (1.0,)) if shares else None,
            associated_files=self.file.offsets(labels) if labels else None,
        )

    def tensor(self, name: str, text: str, type_: TensorType, **parts: int | None) -> int:
        return self.file.table(
            TENSOR,
            name=self.file.string(name),
            description=self.file.string(text),
            content=self.content(type_),
            **parts,
        )

    def content(self, type_: TensorType) -> int:
        if not type_.is_image:
            properties = self.file.table(FEATURE_PROPERTIES)
            return self.file.table(CONTENT, content_properties_type=_FEATURE, content_properties=properties)
        size = self.file.table(IMAGE_SIZE, width=type_.width, height=type_.height)
        colours = _COLOURS.get(type_.channels, 0)
        properties = self.file.table(IMAGE_PROPERTIES, color_space=colours, default_size=size)
        return self.file.table(CONTENT, content_properties_type=_IMAGE, content_properties=properties)

    def normalization(self, about: About) -> int:
        mean, std = self.floats(about.mean or (0.0,)), self.floats(about.std or (255.0,))
        options = self.file.table(NORMALIZATION_OPTIONS, mean=mean, std=std)
        return self.file.table(PROCESS_UNIT, options_type=_NORMALIZATION, options=options)

    def stats(self, low: Values, high: Values) -> int:
        """The smallest and the largest value that there can be."""
        return self.file.table(STATS, max=self.floats(high), min=self.floats(low))

    def floats(self, values: Values) -> int:
        return self.file.vector(np.asarray(values, np.float32))

    def labels(self) -> int:
        text = "the class that each value of the output stands for"
        name, description = self.file.string(LABELS), self.file.string(text)
        return self.file.table(ASSOCIATED_FILE, name=name, description=description, type=_AXIS_LABELS)


def _input_text(type_: TensorType) -> str:
    if not type_.is_image:
        return f"{type_} numbers"
    kind = {3: "RGB image", 1: "grayscale image"}.get(type_.channels, f"image of {type_.channels} channels")
    return f"{kind}, {type_.width} wide and {type_.height} high"


def _output_text(type_: TensorType, shares: bool) -> str:
    return f"{type_} {'values from 0 to 1' if shares else 'numbers'}"
