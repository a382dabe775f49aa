"""Parameters of a net that scale it: by their names, by what they are for, or as the user says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archlang.errors import fail, nearest
from archlang.lower import NetValue, Session
from archlang.lower.body import Body
from archlang.lower.builtins import round_to
from archlang.lower.nets import begun
from archlang.lower.values import Scope, Value, kind_of
from archlang.scale.coefficients import DIMENSIONS
from archlang.syntax import tree

CUSTOMARY: Mapping[str, tuple[str, ...]] = {
    "depth": ("depth", "depth_mult", "depth_multiplier"),
    "width": ("width", "width_mult", "width_multiplier"),
    "resolution": ("res", "resolution", "image_size"),
}
"""What such parameters are called."""

DIGITS = 4
"""Decimals of a multiplier: what a family's table says is what its members are."""


@dataclass(frozen=True)
class Knob:
    """A parameter that scales a dimension. base: its value in the original: a multiplier, or, a whole number, a count,
    whose multiples are those of `multiple`."""

    name: str
    base: int | float
    multiple: int = 1

    def at(self, scale: float) -> int | float:
        """The parameter's value where the dimension is scaled so; at 1 it is the original's."""
        if scale == 1:
            return self.base
        if isinstance(self.base, float):
            return round(self.base * scale, DIGITS)
        return round_to(self.base * scale, self.multiple) if self.multiple > 1 else max(1, round(self.base * scale))


def knobs_of(net: NetValue, args: Mapping[str, Value], mapped: Mapping[str, str]) -> dict[str, Knob]:
    """The knob of each dimension that has one, as it is. mapped: dimension -> the parameter that the user names for it.

    Raises ArchError E1403 where a named parameter is none, or no number.
    """
    values = _values(net, args)
    found: dict[str, Knob] = {}
    for dimension in DIMENSIONS:
        name = _mapped(net, values, dimension, mapped) or _customary(net, values, dimension)
        if name is not None:
            value = values[name]
            assert isinstance(value, int | float)
            found[dimension] = Knob(name, value)
    return found


def _values(net: NetValue, args: Mapping[str, Value]) -> Mapping[str, Value]:
    """The parameters with their values."""
    scope = begun(net, args, Session(), Body).scope
    assert isinstance(scope, Scope)
    assert isinstance(scope.parent, Scope)
    return scope.parent.names


def _mapped(net: NetValue, values: Mapping[str, Value], dimension: str, mapped: Mapping[str, str]) -> str | None:
    name = mapped.get(dimension)
    if name is None:
        return None
    if name not in values:
        help = nearest(name, values)
        raise fail(
            "E1403", f"`{net.name}` has no parameter `{name}` for the {dimension}", net.decl.name.span, help=help
        )
    if not _is_number(values[name]):
        span = next(param.span for param in net.decl.params or () if param.name.id == name)
        message = f"`{name}` is no number that the {dimension} could be scaled by, but {kind_of(values[name])}"
        raise fail("E1403", message, span, help=f"leave out `--param {dimension}={name}`, or name a multiplier")
    return name


def _customary(net: NetValue, values: Mapping[str, Value], dimension: str) -> str | None:
    names = [*CUSTOMARY[dimension], *(_sides(net) if dimension == "resolution" else ())]
    return next((name for name in names if _is_number(values.get(name))), None)


def _sides(net: NetValue) -> list[str]:
    """The parameter that is both sides of the image, whatever it is called."""
    shapes = [node.shape for node in net.decl.suite.walk() if isinstance(node, tree.Input)]
    found = []
    for shape in shapes:
        if isinstance(shape, tree.Tuple) and len(shape.items) == 3 and shape.items[1] == shape.items[2]:
            side = shape.items[1]
            found += [side.id] if isinstance(side, tree.Name) else []
    return found


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
