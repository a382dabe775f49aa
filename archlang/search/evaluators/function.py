"""A function of the user's own: `module:function`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from archlang.errors import fail
from archlang.search.evaluators.latency import predictor
from archlang.search.evaluators.protocol import Evaluate
from archlang.search.evaluators.setting import Setting
from archlang.search.objective import STATIC
from archlang.search.trial import Candidate, Metrics

Function = Callable[[Candidate], Mapping[str, float]]


@dataclass(frozen=True)
class FunctionEvaluator:
    """Calls `function` of `module` with each Candidate; it returns metrics by name. What it raises costs the candidate.

    It is found on Python's path, and in the folder where the search was started; it runs in the workers' processes.
    given: what it returns. Where the function has an attribute `metrics`, that says it.
    """

    module: str
    function: str
    given: tuple[str, ...]
    table: str | None = None

    isolated = True

    @classmethod
    def of(cls, name: str, setting: Setting) -> FunctionEvaluator:
        """The evaluator `module:function`. Raises ArchError E1205 where there is none."""
        module, _, function = name.partition(":")
        found = load(module, function)
        given = tuple(getattr(found, "metrics", None) or (each for each in setting.mentioned if each not in STATIC))
        table = setting.latency_table
        return cls(module, function, tuple(each for each in given if not (table and each == "latency")), table)

    @property
    def name(self) -> str:
        return f"{self.module}:{self.function}"

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*STATIC, *(("latency",) if self.table else ()), *self.given)

    def identity(self) -> dict[str, object]:
        return {"name": self.name, "table": self.table}

    def prepare(self) -> Evaluate:
        function = load(self.module, self.function)
        predict = predictor(self.table) if self.table else None

        def evaluate(candidate: Candidate) -> Iterator[Metrics]:
            yield candidate.static
            if predict is not None:
                yield {"latency": predict(candidate.graph)}
            yield self._checked(function(candidate))

        return evaluate

    def _checked(self, found: Mapping[str, float]) -> Metrics:
        """The function's metrics as floats. Raises ArchError E1212 where it is something else."""
        if not isinstance(found, Mapping):
            raise fail("E1212", f"`{self.name}` returned a {type(found).__name__}, not metrics by name")
        missing = [name for name in self.given if name not in found]
        if missing:
            raise fail("E1212", f"`{self.name}` returned no `{missing[0]}`")
        return {str(name): float(value) for name, value in found.items()}


def load(module: str, function: str) -> Function:
    """The function. Raises ArchError E1205 where it cannot be found."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Function = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        help = "`module:function` is looked for on Python's path and in this folder"
        raise fail("E1205", f"there is no evaluator `{module}:{function}`: {error}", help=help) from error
    if not callable(found):
        raise fail("E1205", f"`{module}:{function}` is no function, but a {type(found).__name__}")
    return found
