"""The whole Python file of a Graph."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from archlang.backends.pytorch.constructor import ClassText, class_text
from archlang.backends.pytorch.initialisation import OWN, initialised, zeroing
from archlang.backends.pytorch.lowering import LOWERINGS, UNSUPPORTED, as_module, pads_by_hand
from archlang.backends.pytorch.rounding import ROUNDING, Lowering
from archlang.backends.source.body import open_circles
from archlang.backends.source.classes import plan_classes
from archlang.backends.source.docstrings import block_doc, docstring, network_doc
from archlang.backends.source.initialisation import scheme
from archlang.backends.source.layer import Layer
from archlang.backends.source.names import check_names, variable
from archlang.backends.source.nesting import Results
from archlang.backends.source.plan import ClassPlan
from archlang.backends.source.regions import enclosing_block, region_tree
from archlang.backends.source.rendering import facts, render
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.ops.base import Op
from archlang.ops.join import Mean
from archlang.passes import dead_code
from archlang.quantize.qat import prepared

HELPERS = (
    *("unpadded_avg_pool2d", "centre_crop", "LayerNorm2d", "Scale", "Scale2d", "RadialBasis"),
    *("DropPath", "DropPathMean", "draw_column", "Attention", "ClassToken", "PosEmbed"),
    *("rounding", "scale_of", "FakeQuantize", "rounded_weight", "QuantConv2d", "QuantConvTranspose2d", "QuantLinear"),
    "silu_as_int8",
)
"""What a file may need beside its blocks, each a template, in the order in which they stand."""


@dataclass(frozen=True)
class PythonSource:
    """A file's text and the name of the network's class in it."""

    text: str
    class_name: str


def generate(
    graph: Graph, origin: str = "", init: str = "paper", zero_init: bool = False, qat: str | None = None
) -> PythonSource:
    """The file for `graph`; origin: where it came from, for the header; init, zero_init, qat: see `backend.Request`.

    Several outputs are returned as a tuple in their order; auxiliary ones follow them, in training mode only.
    Raises ArchError for a name that PyTorch cannot take.
    """
    graph = dead_code(graph)
    described = facts(graph, origin, docstring)
    graph = prepared(graph) if qat else graph
    check_names(graph)
    layers = _layers(graph, {**LOWERINGS, **ROUNDING} if qat else LOWERINGS)
    members = {i: as_module(graph.nodes[i].op, layer) for i, layer in layers.items()}
    root = region_tree(graph, members)
    open_circles(root, graph)
    plans = plan_classes(root, graph, layers, members)
    network = plans[-1].name
    classes = [class_text(plan, _block_inputs(plan), _block_results(plan), block_doc(plan)) for plan in plans[:-1]]
    initialise = initialised(graph, init)
    tail = ["self.apply(initialise)"] if initialise else []
    tail += zeroing(plans) if zero_init else []
    classes.append(_network_text(plans[-1], graph, tail))
    helpers = _helpers(plans, init=scheme(graph, init, OWN), single_column=_draws_column(graph), ranges=qat)
    body = _render("body.py.j2", classes=classes, helpers=helpers, initialise=initialise)
    header = _render("header.py.j2", imports=_imports(body), **described)
    text = f"{header}\n\n{body}"
    ast.parse(text)
    return PythonSource(text, network)


def _layers(graph: Graph, lowerings: Mapping[type[Op], Lowering]) -> dict[int, Layer]:
    by_hand = _padded_by_hand(graph)
    layers = {}
    for i, node in enumerate(graph.nodes):
        assert not node.fused, f"{node.name} is fused; source is generated from the graph as it was lowered"
        if type(node.op) in UNSUPPORTED:
            raise fail("E0803", f"PyTorch cannot do `{node.op.name}`: {UNSUPPORTED[type(node.op)]}", node.span)
        if node.op.name != "input":
            layers[i] = lowerings[type(node.op)](
                node.op, graph.input_types(node), enclosing_block(graph, node.name) in by_hand
            )
    return layers


def _padded_by_hand(graph: Graph) -> set[tuple[str, str]]:
    """The places in blocks where an instance needs F.pad; the others pad so too, and can share the class."""
    return {enclosing_block(graph, node.name) for node in graph.nodes if pads_by_hand(node.op)}


# ---- texts -----------------------------------------------------------------------------------------------------------


def _block_inputs(plan: ClassPlan) -> list[str]:
    count = plan.body.inputs
    if count == 1:
        return ["x"]
    return _variables(plan.region.input_names or [f"x{i + 1}" for i in range(count)])


def _variables(wanted: Sequence[str]) -> list[str]:
    names: list[str] = []
    for name in wanted:
        names.append(variable(name, names))
    return names


def _block_results(plan: ClassPlan) -> Results:
    return Results(plan.body.outputs)


def _network_text(plan: ClassPlan, graph: Graph, tail: Sequence[str]) -> ClassText:
    inputs = _variables([graph.nodes[value].name for value in graph.inputs])
    values = list(zip(graph.outputs, plan.body.outputs, strict=True))
    always = tuple(value for output, value in values if not output.aux)
    training = {value: output.name for output, value in values if output.aux}
    results = Results(always, tuple(training), training)
    hooks = ["self.register_forward_pre_hook(draw_column)"] if _draws_column(graph) else []
    return class_text(
        plan, inputs, results, network_doc(graph, inputs, partial(_batched, graph), "in training"), [*tail, *hooks]
    )


def _batched(graph: Graph, value: int) -> str:
    return f"(N, {', '.join(map(str, graph.nodes[value].type.shape))})"


def _helpers(plans: list[ClassPlan], **values: object) -> list[str]:
    """Those that the classes use. values: for their templates."""
    used = {helper for plan in plans for item in plan.body.items for helper in _layer_helpers(item.layer)}
    used |= {
        helper for plan in plans for attribute in plan.body.attributes for helper in _layer_helpers(attribute.layer)
    }
    return [_render(f"{name}.py.j2", **values) for name in HELPERS if name in used]


def _layer_helpers(layer: Layer) -> set[str]:
    inner = (a for a in layer.arguments if isinstance(a, Layer))
    return set(layer.helpers).union(*(_layer_helpers(a) for a in inner))


def _draws_column(graph: Graph) -> bool:
    return any(isinstance(node.op, Mean) and node.op.single_column and len(node.inputs) > 1 for node in graph.nodes)


def _imports(body: str) -> list[str]:
    """The import lines for the names that the text uses."""
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    lines = ["from collections.abc import Callable", ""] if "Callable" in used else []
    lines += ["import torch"] if "torch" in used else []
    lines += ["import torch.nn.functional as F"] if "F" in used else []
    names = [name for name in ("Tensor", "nn") if name in used]
    return [*lines, f"from torch import {', '.join(names)}"]


_render = partial(render, "archlang.backends.pytorch")
