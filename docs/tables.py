"""Writes docs/ops.md and docs/zoo.md from the code: `make docs`. A test fails where they are out of date."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from archlang import catalogue, weights
from archlang.backend import QUANTIZE_MODES, Request, get, names
from archlang.errors import ArchError
from archlang.files import write_whole
from archlang.ir import Builder, Graph, verify
from archlang.ops import OPS, Op, ShapeError

FOLDER = Path(__file__).parent

NOTE = "<!-- Made by `make docs`; edit docs/tables.py or the code instead. -->"

SHAPES = ((8, 14, 14), (8, 1, 1), (6, 8), (16,))
"""What an op is tried on: the first that it takes is its example."""

GIVEN: dict[str, Any] = {"c": 16, "k": (3, 3), "features": 10, "start": 0, "stop": 4, "p": 0.2, "size": 5}
"""Arguments of the examples that have no default; 2 for all others."""


def ops_page() -> str:
    lines = [
        "# Ops",
        "",
        NOTE,
        "",
        "What a [graph](graph.md) is made of. Shapes are channels first, without the batch. Figures are those of the",
        "example, batch 1, by the op's cost rule. `float` under int8: computed in floats inside an int8 file.",
        "",
        "| op | arguments | shape | params | MACs | FLOPs | pytorch | onnx | tflite | int8 |",
        "|---|---|---|---:|---:|---:|---|---|---|---|",
        *(_op_row(cls) for cls in _ops()),
        "",
        *(line for cls in _ops() for line in _described(cls)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _ops() -> list[type[Op]]:
    return [cls for name, cls in sorted(OPS.items()) if name != "input"]


def _op_row(cls: type[Op]) -> str:
    graph = example(cls)
    node = graph.nodes[-1]
    inputs = graph.input_types(node)
    cost = node.op.cost(inputs, node.type)
    shape = f"{', '.join(map(str, inputs))} → {node.type}"
    sizes = (f"{count:,}" for count in (cost.params, cost.macs, cost.flops))
    targets = (_support(graph, target, mode) for target, mode in _TARGETS)
    return f"| `{cls.name}` | {_arguments(cls)} | {shape} | {' | '.join((*sizes, *targets))} |"


_TARGETS = (("pytorch", "none"), ("onnx", "none"), ("tflite", "none"), ("tflite", "int8"))
assert {mode for _, mode in _TARGETS} <= set(QUANTIZE_MODES)
assert {target for target, _ in _TARGETS} <= set(names())


def example(cls: type[Op]) -> Graph:
    """The op with the arguments of `GIVEN`, on the first of `SHAPES` that it takes."""
    given = {f.name: GIVEN.get(f.metadata.get("short", f.name), 2) for f in fields(cls) if f.default is MISSING}
    op = cls(**given)
    for shape in SHAPES:
        builder = Builder("Example")
        values = [builder.input(*shape, name=f"x{i}") for i in range(2 if cls.arity is None else 1)]
        try:
            builder.output(builder.add(op, *values, name="op"))
        except ShapeError:
            continue
        return verify(builder.build())
    raise AssertionError(f"no example of `{cls.name}`: give its arguments in GIVEN")


def _support(graph: Graph, target: str, mode: str) -> str:
    """What really happens when the example is compiled."""
    try:
        get(target).compile(graph, Request(weights.random(graph), mode))
    except ArchError as error:
        return f"no: {error.diagnostics[0].message.partition(': ')[2] or error.diagnostics[0].message}"
    return "float" if mode == "int8" and graph.nodes[-1].op.keeps_float else "yes"


def _arguments(cls: type[Op]) -> str:
    return ", ".join(_argument(f) for f in fields(cls)) or "none"


def _argument(f: Any) -> str:
    name = f.metadata.get("short", f.name)
    return f"`{name}`" if f.default is MISSING else f"`{name}={_value(f.default)}`"


def _value(value: Any) -> str:
    if isinstance(value, tuple) and len(set(value)) == 1:
        return str(value[0])
    return f"{value:g}" if isinstance(value, float) else str(value)


def _described(cls: type[Op]) -> Iterator[str]:
    """The class's own description: meaning, shape rule, source."""
    yield f"**`{cls.name}`** {inspect.cleandoc(cls.__doc__ or '')}"
    reasons = _refusals(cls)
    if reasons:
        yield f"\n{reasons}"
    yield ""


def _refusals(cls: type[Op]) -> str:
    """What the TFLite backend says of attributes that it cannot express, at the smallest that it refuses."""
    from archlang.backends.tflite.lowering import REFUSED

    refuse: Callable[[Any], str] | None = REFUSED.get(cls)
    if refuse is None:
        return ""
    needed = [f.name for f in fields(cls) if f.default is MISSING]
    tried = (refuse(cls(**dict.fromkeys(needed, value))) for value in range(1, 5))
    return next((f"TFLite: {reason}." for reason in tried if reason), "")


def zoo_page() -> str:
    entries = catalogue.nets()
    families = groupby(entries, key=lambda entry: entry.family)
    count = f"{len(entries)} networks of {len({entry.family for entry in entries})} families"
    lines = [
        "# The zoo",
        "",
        NOTE,
        "",
        f"{count}, each usable as SPEC. Parameters are the trainable ones, MACs those of",
        "convolutions, linear layers and attention products, batch 1. The reference is what tests compare them with.",
        "",
        *(line for family, found in families for line in _family(family, [*found])),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _family(family: str, entries: Sequence[catalogue.ZooEntry]) -> Iterator[str]:
    yield f"## {family}"
    yield ""
    yield f"Reference: {entries[0].reference}."
    yield ""
    yield from ("| SPEC | input | params | MACs |", "|---|---|---:|---:|")
    for entry in entries:
        total = entry.net.cost().total
        yield f"| `{entry.spec}` | {entry.input} | {total.params:,} | {total.macs:,} |"
    yield ""


PAGES: dict[str, Callable[[], str]] = {"ops.md": ops_page, "zoo.md": zoo_page}


def main() -> None:
    for name, page in PAGES.items():
        write_whole(FOLDER / name, page())
        print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
