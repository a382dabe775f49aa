"""Strategies: which candidate is next. Each is one file behind one method; third parties by the entry point group
`archlang.strategies`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import entry_points
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from archlang import arguments as words
from archlang.errors import fail, nearest
from archlang.search.strategies.asha import Asha
from archlang.search.strategies.bayesian import Bayesian
from archlang.search.strategies.evolution import Evolution
from archlang.search.strategies.kinds import Kind
from archlang.search.strategies.local import LocalSearch
from archlang.search.strategies.nsga2 import Nsga2
from archlang.search.strategies.protocol import Strategy
from archlang.search.strategies.random import RandomSearch
from archlang.search.strategies.reinforce import Ppo, Reinforce
from archlang.search.strategies.tpe import Tpe

STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "random": RandomSearch,
    "evolution": Evolution,
    "bayesian": Bayesian,
    "nsga2": Nsga2,
    "local": LocalSearch,
    "reinforce": Reinforce,
    "ppo": Ppo,
    "tpe": Tpe,
    "asha": Asha,
}
"""Frozen dataclasses; their fields are the arguments of `method` in the language."""

GROUP = "archlang.strategies"


@dataclass(frozen=True)
class Asked:
    """A strategy as it was written. An argument may be another one: `asha(of=evolution(population=20))`."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def names() -> tuple[str, ...]:
    """Every strategy that is known by name."""
    return (*STRATEGIES, *(entry.name for entry in entry_points(group=GROUP)))


def parsed(text: str) -> Asked:
    """`evolution(population=20)` as a name and its arguments, which are literals or strategies. Nothing is executed.
    Raises ArchError E1201 where it is something else."""
    try:
        return _asked(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError) as error:
        help = "such as `evolution(population=20)` or `asha(of=bayesian, rungs=3)`"
        raise fail("E1201", f"`{text}` is not a search strategy", help=help) from error


def _asked(node: ast.expr) -> Asked:
    if isinstance(node, ast.Name):
        return Asked(node.id)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        raise ValueError
    if any(each.arg is None for each in node.keywords):  # `**arguments`
        raise ValueError
    return Asked(node.func.id, {str(each.arg): _argument(each.value) for each in node.keywords})


def _argument(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) or (isinstance(node, ast.Name) and node.id in names()):
        return _asked(node)
    return ast.literal_eval(node)


def maker(name: str) -> Callable[..., Strategy]:
    """The dataclass of a strategy. Raises ArchError E1201 where there is none."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        raise fail("E1201", f"there is no search strategy `{name}`", help=nearest(name, names()))
    loaded: Callable[..., Strategy] = found[0].load()
    return loaded


def takes(name: str) -> dict[str, Any]:
    """The arguments of a strategy, and what each may be."""
    made = maker(name)
    hints = get_type_hints(made, include_extras=True)
    return {each.name: hints[each.name] for each in fields(made) if each.init}  # type: ignore[arg-type]


def make(name: str, arguments: Mapping[str, Any]) -> Strategy:
    """The strategy called `name`. Raises ArchError where there is none, or it does not take an argument."""
    known, owner = takes(name), f"the strategy `{name}`"
    for key in arguments:
        if key not in known:
            raise fail("E1202", f"{owner} takes no `{key}`", help=nearest(key, (*known, "trials", "seed")))
    return maker(name)(**{key: _fitted(key, value, known[key], owner) for key, value in arguments.items()})


def _fitted(key: str, value: Any, hint: Any, owner: str) -> Any:
    """The argument as the strategy wants it."""
    if hint is Strategy:
        return _nested(key, value, owner)
    if isinstance(value, Asked):
        raise fail("E1202", f"`{key}` of {owner} cannot be a strategy")
    if get_origin(hint) is not Annotated:
        return words.fitted({key: value}, {key: hint}, "E1202", owner)[key]
    kind: Kind = get_args(hint)[1]
    if not kind.holds(value):
        raise fail("E1202", f"`{key}` of {owner} cannot be {value!r}", help=kind.needed)
    return kind.number(value)


def _nested(key: str, value: Any, owner: str) -> Strategy:
    if isinstance(value, Asked):
        return make(value.name, value.arguments)
    raise fail("E1202", f"`{key}` of {owner} cannot be {value!r}", help="a strategy, such as `evolution`")


def check_space(strategy: Strategy, space: Any) -> None:
    """Raises ArchError E1214 where the strategy needs decisions, and the space has none."""
    if getattr(strategy, "needs_decisions", False) and not hasattr(space, "decided"):
        help = "`evolution`, `local`, `nsga2` and `random` search the mutations of a program"
        raise fail("E1214", f"`{type(strategy).__name__.lower()}` needs a net with choices in it", help=help)


__all__ = ["STRATEGIES", "Asked", "Strategy", "check_space", "make", "names", "parsed", "takes"]
