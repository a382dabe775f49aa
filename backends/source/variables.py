"""How the values in a generated function are called."""

from __future__ import annotations

import re

from archlang.backends.source.body import INPUT, Body, Value
from archlang.backends.source.names import variable
from archlang.ops import OPS

POOL = ("x", "y", "z", "u", "v", "w")
"""Variables that say nothing but `the value so far`; such a name may pass from value to value."""

_NUMBERED = re.compile(r"_?\d+$")


def own_name(body: Body, value: Value, numbered: bool = False) -> str:
    """The name that the source gives a value, empty where it gives none. numbered: the name may be an op's, such as
    `slice1`, where there are too many values for POOL."""
    if value[0] == INPUT:
        return ""
    layer, local = body.items[value[0]].layer, body.items[value[0]].name
    if layer.outputs > 1 and layer.results and layer.results[value[1]]:
        return layer.results[value[1]]
    for suffix in ("_bn", "_act"):
        local = local.removesuffix(suffix)
    made_up = _NUMBERED.sub("", local) in (*OPS, "layer") and not numbered
    return "" if made_up or not local.isidentifier() else variable(local)


def place_in_join(body: Body, value: Value, reader: int) -> str:
    """`branch2` for operand 2 of a join of three or more, two of which at least are made for it alone."""
    inputs = body.items[reader].inputs
    alone = [operand for operand in set(inputs) if operand[0] != INPUT and len(body.readers[operand]) == 1]
    joins = body.items[reader].layer.weight == "join" and len(inputs) > 2 and len(alone) > 1
    return f"branch{inputs.index(value) + 1}" if joins else ""
