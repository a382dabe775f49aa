"""Evaluators: what a candidate is worth. Each is one file behind one method; third parties by the entry point group
`archlang.evaluators`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from inspect import Parameter, signature
from typing import Any, get_type_hints

from archlang import arguments
from archlang.errors import fail, nearest
from archlang.search.evaluators.cost import CostEvaluator
from archlang.search.evaluators.function import FunctionEvaluator
from archlang.search.evaluators.predictor import PredictorEvaluator
from archlang.search.evaluators.protocol import Evaluate, Evaluator
from archlang.search.evaluators.proxies import ProxyEvaluator
from archlang.search.evaluators.setting import Setting
from archlang.search.evaluators.supernet import SupernetEvaluator
from archlang.search.evaluators.table import TableEvaluator
from archlang.search.evaluators.train import TrainEvaluator

Maker = Callable[..., Evaluator]
"""Takes the search's Setting, then by keyword what the user may ask for; the annotations say what each must be."""

EVALUATORS: dict[str, Maker] = {
    "train": TrainEvaluator.of,
    "cost": CostEvaluator.of,
    "proxy": ProxyEvaluator.of,
    "table": TableEvaluator.of,
    "supernet": SupernetEvaluator.of,
    "predictor": PredictorEvaluator.of,
}
"""The evaluators by name. An entry point names a maker, too."""

GROUP = "archlang.evaluators"


def names() -> tuple[str, ...]:
    """Every evaluator that `--evaluator` knows by name."""
    return (*EVALUATORS, *(entry.name for entry in entry_points(group=GROUP)))


def make(text: str, setting: Setting) -> Evaluator:
    """The evaluator of `NAME`, `NAME(argument=value, ...)` or `module:function`.

    Raises ArchError E1205 where there is none, E1202 where it does not take an argument.
    """
    name, given = arguments.call(text, "E1205")
    if ":" in name:
        if given:
            raise fail("E1202", f"the evaluator `{name}` takes no arguments", help="give the function defaults")
        return FunctionEvaluator.of(name, setting)
    maker = _maker(name)
    return maker(setting, **_checked(name, maker, given))


def _maker(name: str) -> Maker:
    if name in EVALUATORS:
        return EVALUATORS[name]
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        help = nearest(name, names()) or "or `module:function`, a function of yours"
        raise fail("E1205", f"there is no evaluator `{name}`", help=help)
    maker: Maker = found[0].load()
    return maker


def _checked(name: str, maker: Maker, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the maker's annotations want them, none missing."""
    known = [each for each in signature(maker).parameters.values() if each.kind is Parameter.KEYWORD_ONLY]
    hints = get_type_hints(maker)
    owner = f"the evaluator `{name}`"
    checked = arguments.fitted(given, {each.name: hints[each.name] for each in known}, "E1202", owner)
    missing = [each.name for each in known if each.default is Parameter.empty and each.name not in given]
    if missing:
        raise fail("E1202", f"{owner} needs `{missing[0]}`", help=f"write `{name}({missing[0]}=...)`")
    return checked


__all__ = [
    "EVALUATORS",
    "CostEvaluator",
    "Evaluate",
    "Evaluator",
    "FunctionEvaluator",
    "PredictorEvaluator",
    "ProxyEvaluator",
    "Setting",
    "SupernetEvaluator",
    "TableEvaluator",
    "TrainEvaluator",
    "make",
    "names",
]
