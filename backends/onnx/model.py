"""The Graph as an ONNX model."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import archlang
from archlang.backends.onnx.lowering import LOWERINGS
from archlang.backends.onnx.wire import serialized
from archlang.backends.onnx.writer import Place, Writer
from archlang.cost import cost
from archlang.errors import fail, missing_extra
from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.passes import fuse_norms, inference, run
from archlang.weights import Weights

if TYPE_CHECKING:
    from onnx import ValueInfoProto

PIPELINE = (inference, fuse_norms)

OPSET = 17

MAX_BYTES = 2**31 - 2**20
"""A protobuf message holds 2 GB; some are kept for what is not weights."""


def build_model(
    graph: Graph, weights: Weights, origin: str = "", opset: int = OPSET, batch: int | str = "N"
) -> tuple[bytes, Counter[str]]:
    """The network in evaluation mode with BatchNorm folded, as a file, and how many nodes of each type it has.

    weights: every array of `weights.specs(graph)`. batch: the size of the batch dimension, or its name if it is free.
    Raises OutsideError without the package onnx, ArchError where the weights do not fit a file.
    """
    try:
        from onnx import helper
    except ImportError as error:
        raise missing_extra("writing an ONNX model", "onnx") from error
    plain = run(graph, PIPELINE)
    _check_size(plain, weights)
    writer, names = _written(plain, weights, opset)
    proto = helper.make_graph(
        writer.nodes,
        graph.name,
        [_value_info(names[i], plain.nodes[i].type, batch) for i in plain.inputs],
        [_value_info(output.name, plain.nodes[output.value].type, batch) for output in plain.outputs],
        doc_string=graph.doc,
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        proto,
        opset_imports=imports,
        ir_version=helper.find_min_ir_version_for(imports),
        producer_name="archlang",
        producer_version=archlang.__version__,
    )
    helper.set_model_props(model, _properties(graph, origin))
    return serialized(model, writer.initializers), writer.ops


def _check_size(graph: Graph, weights: Weights) -> None:
    size = sum(array.nbytes for array in weights.values())
    if size > MAX_BYTES:
        raise fail("E0813", f"the weights of {graph.name} take {size:,} bytes, more than an ONNX file can hold (2 GB)")


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


def _properties(graph: Graph, origin: str) -> dict[str, str]:
    total = cost(graph).total
    return {
        "digest": graph.digest,
        "source": origin,
        "parameters": str(total.params),
        "macs": str(total.macs),
        "archlang": archlang.__version__,
    }
