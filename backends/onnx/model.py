"""The Graph as an ONNX model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import archlang
from archlang.about import About, labelled_output, pixels_input
from archlang.backends.onnx.lowering import LOWERINGS
from archlang.backends.onnx.wire import External, Initializer, external, serialized
from archlang.backends.onnx.writer import Place, Writer
from archlang.cost import cost
from archlang.errors import fail, missing_extra
from archlang.files import Buffer
from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.ops.shape import Upsample
from archlang.passes import fuse_norms, inference, run
from archlang.weights import Weights

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

PIPELINE = (inference, fuse_norms)

KEEPING_NORMS = (inference,)
"""The pipeline where BatchNorms are to stay nodes of their own."""

OPSET = 17

_NOTHING = About()

MAX_BYTES = 2**31 - 2**20
"""A protobuf message holds 2 GB; some are kept for what is not weights."""


@dataclass(frozen=True)
class Model:
    """A model about to be written. proto: without its initializers. outside: those that a second file holds."""

    proto: ModelProto
    initializers: Mapping[str, Initializer]
    ops: Counter[str]
    outside: External | None

    def pieces(self) -> Iterator[Buffer]:
        """The content of the .onnx file."""
        return serialized(self.proto, self.initializers, self.outside)


def build_model(
    graph: Graph,
    weights: Weights,
    origin: str = "",
    opset: int = OPSET,
    batch: int | None = None,
    keep_bn: bool = False,
    file: str = "",
    about: About = _NOTHING,
) -> Model:
    """The network in evaluation mode, with BatchNorm folded if not `keep_bn`.

    weights: every array of `weights.specs(graph)`. batch: the size of the batch dimension; None: any. file: the
    model's file name; weights of more than 2 GB go to a file beside it. about: goes into the metadata.
    Raises OutsideError without the package onnx, ArchError for an opset that it does not know, and where what `about`
    says does not fit the network.
    """
    try:
        from onnx import helper
    except ImportError as error:
        raise missing_extra("writing an ONNX model", "onnx") from error
    _check_opset(opset)
    plain = run(graph, KEEPING_NORMS if keep_bn else PIPELINE)
    writer, names = _written(plain, weights, opset)
    size = batch or "N"
    proto = helper.make_graph(
        writer.nodes,
        graph.name,
        [_value_info(names[i], plain.nodes[i].type, size) for i in plain.inputs],
        [_value_info(output.name, plain.nodes[output.value].type, size) for output in plain.outputs],
        doc_string=graph.doc,
        value_info=_resized(plain, names, size),
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        proto,
        opset_imports=imports,
        ir_version=helper.find_min_ir_version_for(imports),
        producer_name="archlang",
        producer_version=archlang.__version__,
    )
    helper.set_model_props(model, {**_properties(graph, origin), **_described(graph, about)})
    return Model(model, writer.initializers, writer.ops, _outside(writer.initializers, file))


def _check_opset(opset: int) -> None:
    from onnx.defs import onnx_opset_version

    latest = onnx_opset_version()
    if not OPSET <= opset <= latest:
        known = f"the installed onnx checks models of {OPSET} to {latest}"
        raise fail("E0805", f"there is no writing for opset {opset}", help=known)


def _outside(initializers: Mapping[str, Initializer], file: str) -> External | None:
    """The second file, where one has no room for all."""
    size = sum(initializer.nbytes for initializer in initializers.values())
    return external(f"{Path(file).name or 'model.onnx'}.data", initializers) if size > MAX_BYTES else None


def _written(graph: Graph, weights: Weights, opset: int) -> tuple[Writer, list[str]]:
    """All nodes, and the name of each value. An output's value bears the output's name; a further output of the same
    value, and an output that is an input, are copies."""
    outputs = {output.name for output in graph.outputs}
    writer = Writer(weights, opset, set(outputs))
    produced: dict[int, str] = {}
    for output in graph.outputs:
        if output.value not in graph.inputs:
            produced.setdefault(output.value, output.name)
    names: list[str] = []
    for i, node in enumerate(graph.nodes):
        names.append(produced.get(i) or writer.fresh(node.name))
        if node.op.name != "input":
            inputs = [names[j] for j in node.inputs]
            LOWERINGS[type(node.op)](node.op, Place(writer, node, graph.input_types(node), inputs, names[i]))
    for output in graph.outputs:
        if names[output.value] != output.name:
            writer.node("Identity", [names[output.value]], output.name)
    return writer, names


def _value_info(name: str, type_: TensorType, batch: int | str) -> ValueInfoProto:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *type_.shape])


def _resized(graph: Graph, names: Sequence[str], batch: int | str) -> list[ValueInfoProto]:
    """What Resize makes: shape inference multiplies the batch by a scale of 1, and loses its name."""
    made = {output.name for output in graph.outputs}
    values = [(names[i], node.type) for i, node in enumerate(graph.nodes) if isinstance(node.op, Upsample)]
    return [_value_info(name, type_, batch) for name, type_ in values if name not in made]


def _properties(graph: Graph, origin: str) -> dict[str, str]:
    total = cost(graph).total
    return {
        "digest": graph.digest,
        "source": origin,
        "parameters": str(total.params),
        "macs": str(total.macs),
        "archlang": archlang.__version__,
    }


def _described(graph: Graph, about: About) -> dict[str, str]:
    """`mean` and `std` as numbers with commas between, `labels` one a line; what is unknown is left out."""
    texts = {"labels": "\n".join(about.labels)} if labelled_output(graph, about) else {}
    if pixels_input(graph, about):
        texts |= {name: ",".join(f"{value:g}" for value in values) for name, values in _numbers(about).items()}
    return texts


def _numbers(about: About) -> dict[str, tuple[float, ...]]:
    return {"mean": about.mean or (0.0,), "std": about.std or (255.0,)}
