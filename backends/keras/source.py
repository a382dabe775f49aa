"""The whole Keras file of a Graph."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from archlang.backends.keras.initialisation import OWN, initialised, layouts
from archlang.backends.keras.layer import KerasLayer
from archlang.backends.keras.lowering import LOWERINGS, UNSUPPORTED
from archlang.backends.keras.names import RESERVED, check_layer_names, function_names, safe
from archlang.backends.keras.place import places
from archlang.backends.keras.writer import Results, Writer
from archlang.backends.source.body import open_circles
from archlang.backends.source.classes import plan_classes
from archlang.backends.source.docstrings import block_doc, docstring, network_doc
from archlang.backends.source.formulas import literal_text
from archlang.backends.source.initialisation import scheme
from archlang.backends.source.layer import IDENTITY, REQUIRED, Layer
from archlang.backends.source.layout import INDENT, Call, Expression, definition, flat, laid_out
from archlang.backends.source.names import check_names, variable
from archlang.backends.source.parameters import Parameter
from archlang.backends.source.plan import ClassPlan
from archlang.backends.source.regions import region_tree
from archlang.backends.source.rendering import facts, render
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.ir.types import TensorType
from archlang.passes import dead_code

HELPERS = (
    *("local_response_norm", "pad_with_lowest", "unpadded_average_pool", "channel_shuffle"),
    *("Scale", "RadialBasis", "DropPathMean", "Attention", "ClassToken", "PosEmbed"),
)
"""What a file may need beside its blocks, each a template, in the order in which they stand."""

_DERIVED = frozenset({"in"})
"""Numbers of channels that a function reads off its inputs."""


@dataclass(frozen=True)
class KerasSource:
    """A file's text and the name of the function in it that builds the network."""

    text: str
    build: str


@dataclass(frozen=True)
class FunctionText:
    """What the function template shows."""

    head: Sequence[str]
    doc: Sequence[str]
    body: Sequence[str]


def generate(graph: Graph, origin: str = "", init: str = "paper", zero_init: bool = False) -> KerasSource:
    """The file for `graph`; origin: where it came from, for the header; init, zero_init: see `backend.Request`.

    Several outputs are a list in their order; auxiliary ones follow them where `auxiliary=True` asks for them. Raises
    ArchError for a name that Keras cannot take.
    """
    graph = dead_code(graph)
    check_names(graph)
    check_layer_names(graph)
    plans = _plans(graph)
    functions, chosen = _functions(plans, graph), scheme(graph, init, OWN)
    initialise = initialised(graph, chosen)
    texts = [_block_text(plan, functions, zero_init) for plan in plans[:-1]]
    texts.append(_network_text(plans[-1], graph, functions, zero_init, bool(initialise)))
    needed = _needed(plans)
    helpers = [_render(f"{name}.py.j2", init=chosen) for name in HELPERS if name in needed]
    body = _render("body.py.j2", functions=texts, helpers=helpers, initialise=initialise, loads=layouts(graph))
    text = (
        f"{_render('header.py.j2', imports=_imports(body), **facts(graph, origin, docstring))}\n\n{body}".rstrip("\n")
        + "\n"
    )
    ast.parse(text)
    return KerasSource(text, functions[plans[-1].name])


def conversions() -> str:
    """The functions `load_weights` and `state_dict` of a file, for networks of any layers."""
    body = _render("load_weights.py.j2", loads=dict.fromkeys(("images", "depthwise", "dense"), True))
    return "\n".join([*_imports(body), body])


def _plans(graph: Graph) -> list[ClassPlan]:
    layers = _layers(graph)
    members = {i: _member(layer) for i, layer in layers.items()}
    root = region_tree(graph, members)
    open_circles(root, graph)
    return plan_classes(root, graph, layers, members, _DERIVED)


def _layers(graph: Graph) -> dict[int, Layer]:
    found, layers = places(graph), dict[int, Layer]()
    for i, node in enumerate(graph.nodes):
        assert not node.fused, f"{node.name} is fused; source is generated from the graph as it was lowered"
        if type(node.op) in UNSUPPORTED:
            raise fail("E0803", f"Keras cannot do `{node.op.name}`: {UNSUPPORTED[type(node.op)]}", node.span)
        if node.op.name != "input":
            layers[i] = LOWERINGS[type(node.op)](node.op, graph.input_types(node), found[i])
    return layers


def _member(layer: Layer) -> Layer | None:
    """The layer as a step of a plain sequence, None where it takes several values."""
    if layer is IDENTITY:
        return KerasLayer("nothing", "nothing")
    return layer if layer.module else None


def _functions(plans: Sequence[ClassPlan], graph: Graph) -> dict[str, str]:
    """Class name -> name of its function."""
    known = {name for plan in plans for name in (*(p.name for p in plan.parameters), *plan.locals)}
    known |= {
        *HELPERS,
        "initialise",
        "named_weights",
        "load_weights",
        "state_dict",
        "signs",
        "model",
        "auxiliary",
        "x",
        "y",
        "z",
        "u",
        "v",
        "w",
    }
    network = f"build_{_plain(graph.name).lower()}"
    blocks = [(plan.name, plan.region.block or _last_part(plan)) for plan in plans[:-1]]
    return {**function_names(blocks, {*known, network}), plans[-1].name: network}


def _plain(name: str) -> str:
    """Letters, digits and underscores alone."""
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "network"


def _last_part(plan: ClassPlan) -> str:
    last = plan.region.path.rpartition(".")[2]
    return "" if last.isdigit() else last


# ---- functions -------------------------------------------------------------------------------------------------------


def _block_text(plan: ClassPlan, functions: Mapping[str, str], zero_init: bool) -> FunctionText:
    inputs = _inputs(plan)
    writer = Writer(plan, inputs, Results(plan.body.outputs), functions, "{name}-", zero_init)
    body = [*_locals(plan, inputs, writer), *writer.lines()]
    if not writer.returned:
        body.append(f"{' ' * INDENT}return {', '.join(writer.names(plan.body.outputs))}")
    several = f"tuple[{', '.join(['KerasTensor'] * len(plan.body.outputs))}]"
    returns = "KerasTensor" if len(plan.body.outputs) == 1 else several
    parameters = [*(f"{name}: KerasTensor" for name in inputs), *map(_parameter, _passed(plan))]
    if any(attribute.layer.stateful for attribute in plan.body.attributes):
        parameters += ["*", "name: str"]
    head = definition(functions[plan.name], parameters, returns, 0)
    return FunctionText(head, block_doc(plan), body)


def _passed(plan: ClassPlan) -> list[Parameter]:
    return [parameter for parameter in plan.parameters if parameter.role not in _DERIVED]


def _parameter(parameter: Parameter) -> str:
    type_ = "str" if parameter.role == "function" else parameter.type
    head = f"{safe(parameter.name)}: {type_}"
    return head if parameter.default is REQUIRED else f"{head} = {literal_text(parameter.default)}"


def _inputs(plan: ClassPlan) -> list[str]:
    """The names of a block's inputs; never those of its parameters."""
    count = plan.body.inputs
    wanted = ["x"] if count == 1 else list(plan.region.input_names) or [f"x{i + 1}" for i in range(count)]
    taken = [safe(name) for name in (*(p.name for p in plan.parameters), *plan.locals)]
    names: list[str] = []
    for name in wanted:
        names.append(_variable(name, [*taken, *names]))
    return names


def _variable(name: str, taken: Sequence[str]) -> str:
    return variable(name, {*RESERVED, *taken})


def _locals(plan: ClassPlan, inputs: Sequence[str], writer: Writer) -> Iterator[str]:
    """Numbers that the function works out: channels of its inputs, and what follows from them."""
    for parameter in plan.parameters:
        if parameter.role in _DERIVED:
            source = inputs[_input_number(plan, parameter.name)]
            yield f"{' ' * INDENT}{safe(parameter.name)} = {source}.shape[-1]"
    for name, formula in plan.locals.items():
        yield f"{' ' * INDENT}{safe(name)} = {writer.formula(formula)}"


def _input_number(plan: ClassPlan, name: str) -> int:
    """Which input the variable of the planning is about: `in_channels2`, `cell_channels`."""
    stem = name.rstrip("_").removesuffix("_channels").removesuffix("_features")
    if stem in plan.region.input_names:
        return plan.region.input_names.index(stem)
    digits = stem.removeprefix("in_channels").removeprefix("in_features")
    return int(digits) - 1 if digits.isdigit() else 0


# ---- the network -----------------------------------------------------------------------------------------------------


def _network_text(
    plan: ClassPlan, graph: Graph, functions: Mapping[str, str], zero_init: bool, initialised: bool
) -> FunctionText:
    inputs: list[str] = []
    for value in graph.inputs:
        inputs.append(_variable(graph.nodes[value].name, [*inputs, *functions.values(), "model", "auxiliary"]))
    outputs = list(zip(graph.outputs, plan.body.outputs, strict=True))
    auxiliary = {value: output.name for output, value in outputs if output.aux}
    names = {value: _variable(name, [*inputs, *functions.values(), "model"]) for value, name in auxiliary.items()}
    always = tuple(value for output, value in outputs if not output.aux)
    results = Results(always, tuple(auxiliary), names, returned=False)
    writer = Writer(plan, inputs, results, functions, "", zero_init)
    body = [*_made_inputs(graph, inputs), *_locals(plan, inputs, writer), *writer.lines()]
    body += _made_model(graph, inputs, writer.names(always), writer.names(tuple(auxiliary)), initialised)
    flag = ["auxiliary: bool = False"] if auxiliary else []
    head = definition(functions[plan.name], flag, "keras.Model", 0)
    called = [docstring(graph.nodes[value].name) for value in graph.inputs]
    return FunctionText(head, network_doc(graph, called, partial(_batched, graph), "with `auxiliary`"), body)


def _made_inputs(graph: Graph, inputs: Sequence[str]) -> Iterator[str]:
    for name, value in zip(inputs, graph.inputs, strict=True):
        node = graph.nodes[value]
        shape = literal_text(channels_last(node.type))
        yield from laid_out(f"{name} = ", Call("keras.Input", (shape, f'name="{name}"')), "", INDENT)


def channels_last(type_: TensorType) -> tuple[int, ...]:
    """The shape as Keras has it, without the batch."""
    return (*type_.shape[1:], type_.shape[0]) if type_.is_image else type_.shape


def _made_model(
    graph: Graph, inputs: Sequence[str], always: Sequence[str], auxiliary: Sequence[str], initialised: bool
) -> list[str]:
    source, plain = _one_or_list(inputs), _one_or_list(always)
    out: list[str] = []
    if auxiliary:
        everything = flat(_one_or_list((*always, *auxiliary)))
        out += laid_out("outputs = ", f"{everything} if auxiliary else {flat(plain)}", "", INDENT)
        plain = "outputs"
    name = f'name="{_plain(graph.name)}"'
    if not initialised:
        return [*out, *laid_out("return ", Call("keras.Model", (source, plain, name)), "", INDENT)]
    out += laid_out("model = ", Call("keras.Model", (source, plain, name)), "", INDENT)
    return [*out, f"{' ' * INDENT}initialise(model)", f"{' ' * INDENT}return model"]


def _one_or_list(values: Sequence[str]) -> Expression:
    return values[0] if len(values) == 1 else Call("", tuple(values), "[]")


def _batched(graph: Graph, value: int) -> str:
    return f"(N, {', '.join(map(str, channels_last(graph.nodes[value].type)))})"


# ---- the file --------------------------------------------------------------------------------------------------------


def _needed(plans: Sequence[ClassPlan]) -> set[str]:
    found: set[str] = set()
    for plan in plans:
        for layer in (*(i.layer for i in plan.body.items), *(a.layer for a in plan.body.attributes)):
            found |= _helpers(layer)
    return found


def _helpers(layer: Layer) -> set[str]:
    return set(layer.helpers).union(*(_helpers(inner) for inner in layer.arguments if isinstance(inner, Layer)))


def _imports(body: str) -> list[str]:
    """The import lines for the names that the text uses."""
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    standard = [("math", "import math")]
    abstract = [name for name in ("Iterator", "Mapping") if name in used]
    standard += [(name, f"from collections.abc import {', '.join(abstract)}") for name in abstract[:1]]
    standard += [("Any", "from typing import Any")]
    lines = [line for name, line in standard if name in used]
    lines += [""] if lines else []
    lines += ["import keras"] + (["import numpy as np"] if "np" in used else [])
    names = [name for name in ("KerasTensor", "initializers", "layers", "ops") if name in used]
    return [*lines, f"from keras import {', '.join(names)}"] if names else lines


_render = partial(render, "archlang.backends.keras")
