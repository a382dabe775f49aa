"""The Graph as text, both ways.

    graph Tiny
    %0 = input{shape=(3, 8, 8)} : 3x8x8 as x
    %1 = conv{c=4, bias=False}(%0) + bn as bn1 + relu as relu1 : 4x6x6 as conv1
    return y=%1

Attributes are Python literals, and those at their default are left out; `aux y=%1` is a training-only output.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from archlang.errors import ArchError, fail
from archlang.ir.graph import Graph, Node, Output, op_text
from archlang.ir.types import TensorType
from archlang.ops.base import OPS, Op, attribute_names
from archlang.source import Source, Span


def print_graph(graph: Graph) -> str:
    lines = [f"graph {graph.name}"]
    for i, node in enumerate(graph.nodes):
        inputs = "(" + ", ".join(f"%{j}" for j in node.inputs) + ")" if node.inputs else ""
        fused = "".join(f" + {op_text(part.op)} as {part.name}" for part in node.fused)
        lines.append(f"%{i} = {op_text(node.op)}{inputs}{fused} : {node.type} as {node.name}")
    outputs = ", ".join(f"{'aux ' if output.aux else ''}{output.name}=%{output.value}" for output in graph.outputs)
    return "\n".join([*lines, f"return {outputs}"]) + "\n"


_OP = r"(?P<op>\w+)(?P<attrs>\{[^}]*\})?"
_NODE = re.compile(
    rf"%(?P<index>\d+) = {_OP}(?P<inputs>\([%\d, ]*\))?(?P<fused>.*?) : (?P<type>[\dx]+) as (?P<name>[\w.]+)"
)
_FUSED = re.compile(rf" \+ {_OP} as (?P<name>[\w.]+)")
_OUTPUT = re.compile(r"(aux )?(\w+)=%(\d+)")


def parse_graph(source: Source) -> Graph:
    """The graph of a text that `print_graph` wrote. Raises ArchError with the line where it cannot be read."""
    name, nodes, outputs = "", list[Node](), tuple[Output, ...]()
    start = 0
    for line in source.text.splitlines():
        span = Span(source, start, start + len(line))
        start += len(line) + 1
        if not line.strip():
            continue
        if match := re.fullmatch(r"graph (\w+)", line):
            name = match[1]
        elif line.startswith("return "):
            outputs = tuple(Output(m[2], int(m[3]), bool(m[1])) for m in _OUTPUT.finditer(line))
        elif match := _NODE.fullmatch(line):
            nodes.append(_node(match, len(nodes), span))
        else:
            raise _bad(span, "not a line of a graph")
    return Graph(name, tuple(nodes), outputs)


def _node(match: re.Match[str], index: int, span: Span) -> Node:
    if int(match["index"]) != index:
        raise _bad(span, f"expected %{index}")
    inputs = tuple(int(i) for i in re.findall(r"%(\d+)", match["inputs"] or ""))
    type_ = TensorType(tuple(int(n) for n in match["type"].split("x")))
    fused = tuple(Node(_op(m, span), (), type_, m["name"]) for m in _FUSED.finditer(match["fused"]))
    return Node(_op(match, span), inputs, type_, match["name"], None, fused)


def _op(match: re.Match[str], span: Span) -> Op:
    cls = OPS.get(match["op"])
    if cls is None:
        raise _bad(span, f"there is no op `{match['op']}`")
    names = attribute_names(cls)
    values: dict[str, Any] = {}
    for short, text in re.findall(r"(\w+)=(\([^)]*\)|'[^']*'|[^,}]+)", match["attrs"] or ""):
        if short not in names:
            raise _bad(span, f"`{cls.name}` has no attribute `{short}`")
        values[names[short]] = ast.literal_eval(text)
    try:
        return cls(**values)
    except TypeError as error:
        raise _bad(span, f"{cls.name}: {error}") from error


def _bad(span: Span, message: str) -> ArchError:
    return fail("E0701", f"this graph cannot be read: {message}", span)
