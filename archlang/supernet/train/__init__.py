"""Training of supernets: shared weights that serve all sub-networks of a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from archlang import arguments
from archlang.errors import fail, nearest
from archlang.supernet.train.darts import Darts
from archlang.supernet.train.enas import Enas
from archlang.supernet.train.loop import Progress, Trained, train
from archlang.supernet.train.parallel import Processes, processes
from archlang.supernet.train.protocol import Method, Stage
from archlang.supernet.train.sandwich import Sandwich
from archlang.supernet.train.shrinking import Shrinking
from archlang.supernet.train.single import Single

METHODS: Mapping[str, Callable[..., Method]] = {
    "single": Single,
    "sandwich": Sandwich,
    "shrinking": Shrinking,
    "enas": Enas,
    "darts": Darts,
}


def method(text: str) -> Method:
    """The method of `NAME` or `NAME(argument=value, ...)`.

    Raises ArchError E1320 where there is none, E1322 where it does not take an argument.
    """
    name, given = arguments.call(text, "E1320")
    if name not in METHODS:
        raise fail("E1320", f"no supernet is trained by `{name}`", help=nearest(name, METHODS))
    maker = METHODS[name]
    hints = get_type_hints(maker, include_extras=True)
    known = {each.name: hints[each.name] for each in fields(maker)}  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            raise fail("E1322", f"the method `{name}` takes no `{key}`", help=nearest(key, known))
    return maker(**{key: _fitted(key, value, known[key], name) for key, value in given.items()})


def _fitted(key: str, value: Any, hint: Any, owner: str) -> Any:
    if get_origin(hint) is not Annotated:
        return arguments.fitted({key: value}, {key: hint}, "E1322", f"the method `{owner}`")[key]
    kind = get_args(hint)[1]
    if not kind.holds(value):
        raise fail("E1322", f"`{key}` of the method `{owner}` cannot be {value!r}", help=kind.needed)
    return kind.number(value)


__all__ = [
    "METHODS",
    "Darts",
    "Enas",
    "Method",
    "Processes",
    "Progress",
    "Sandwich",
    "Shrinking",
    "Single",
    "Stage",
    "Trained",
    "method",
    "processes",
    "train",
]
