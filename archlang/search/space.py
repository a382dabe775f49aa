"""Search spaces: a net with choices in it. Picks say which alternative each decision takes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any

from archlang.errors import ArchError, Diagnostic, fail, nearest
from archlang.ir.graph import Graph
from archlang.lower import Decision, Lowered, Memo, Module, NetValue, Session, lower, net_expression, settled
from archlang.lower.body import Body
from archlang.lower.session import Defaults
from archlang.lower.values import Scope, Value, show
from archlang.search import strategies
from archlang.search.bundle import Bundle, bundle
from archlang.search.diagram import Diagram, Measure, Walk, nothing
from archlang.search.extent import Extent, alternative, explore
from archlang.search.program_space import ProgramSpace
from archlang.search.rewrite import last_net, overrides_text, picked_program
from archlang.search.trial import Sketch
from archlang.spec import module_of, split, values
from archlang.syntax import tree
from archlang.syntax.printer import print_program

Picks = dict[str, int]
"""Decision key -> index of the alternative that is taken. A key is the place in the source, line:column."""


class Walked(dict[str, int]):
    """Canonical picks that came from a walk through a diagram, with what the walk has told."""

    __slots__ = ("_open", "diagram", "path", "sketch")

    def __init__(self, diagram: Diagram, walk: Walk) -> None:
        super().__init__(sorted(walk.trace.items()))
        self.diagram, self.path = diagram, walk.path
        self._open: list[str] | None = None
        self.sketch = Sketch(self, walk.digest, walk.amounts, walk.features)

    def open(self, decisions: Mapping[str, Decision]) -> list[str]:
        """Those that have another alternative."""
        if self._open is None:
            self._open = [key for key in self if decisions[key].count > 1]
        return self._open

    def __reduce__(self) -> tuple[type[dict[str, int]], tuple[dict[str, int]]]:
        """In another process the picks alone."""
        return dict, (dict(self),)


def _drawing(rng: Random) -> Callable[[Decision], int]:
    return lambda decision: rng.randrange(decision.count)


KEPT = 64


class Space:
    """A net with choices. Block instances are shared between all candidates, so a neighbour is cheap to lower."""

    def __init__(self, net: NetValue, args: Mapping[str, Value] | None = None, memo: Memo | None = None) -> None:
        self.net = net
        self.args = dict(args or {})
        self.memo = memo or Memo()
        self._kept: dict[tuple[tuple[str, int], ...], Lowered] = {}
        self._alternatives: dict[tuple[str, int], str] = {}
        self._measure: Measure = nothing

    @property
    def name(self) -> str:
        return self.net.label or self.net.name

    @cached_property
    def digest(self) -> str:
        """Equal for equal text and arguments: the picks of a stored run belong to one digest."""
        text = print_program(self.net.module.program) + repr(sorted((k, show(v)) for k, v in self.args.items()))
        return hashlib.sha256(f"{self.name}\n{text}".encode()).hexdigest()

    def _repr_html_(self) -> str:
        """For notebooks: how large the space is, its decisions, and the network of the first alternatives."""
        from archlang.draw.notebook import space

        return space(self)

    # networks

    def lowered(self, picks: Mapping[str, int]) -> Lowered:
        """The elaborated candidate; of a decision that `picks` leaves open the first alternative. The last candidates
        are kept: a search asks for one several times."""
        known = self._kept.get(tuple(sorted(picks.items())))
        return known or self._keep(lower(self.net, self.args, picks, self.memo))

    def _keep(self, lowered: Lowered) -> Lowered:
        self._kept[tuple(sorted(lowered.trace.items()))] = lowered
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return lowered

    def graph(self, picks: Mapping[str, int]) -> Graph:
        """The network. Raises ArchError where the picks do not fit together."""
        return self.lowered(picks).graph

    @cached_property
    def diagram(self) -> Diagram:
        """What candidates cost, without their elaboration."""
        return Diagram(self.net, self.args, self.memo, self._measure)

    def measure(self, measure: Measure) -> None:
        """From now on sketches have the features that `measure` gives for the parts of a network, summed."""
        if measure != self._measure:
            self._measure = measure
            self.__dict__.pop("diagram", None)

    def canonical(self, picks: Mapping[str, int]) -> Walked:
        """The decisions that matter under these picks, sorted: equal for equal networks."""
        return self._walked(picks) or Walked(self.diagram, self.diagram.walk(picks))

    def sketch(self, picks: Mapping[str, int]) -> Sketch:
        """What the diagram tells of the candidate. Raises ArchError where the picks do not fit together."""
        return self.canonical(picks).sketch

    def _walked(self, picks: Mapping[str, int]) -> Walked | None:
        """The picks, where they are known to be canonical."""
        return picks if isinstance(picks, Walked) and picks.diagram is self.diagram else None

    def source(self, picks: Mapping[str, int], name: str, header: Sequence[str] = ()) -> str:
        """The network as .arch text: the choices replaced in place, comments, layout and tables kept.

        header: lines of comment before it, without `#`.
        """
        trace = self.lowered(picks).trace
        net = settled(self.net, Session(trace, self.memo))
        program = picked_program(net, self.args, trace, self.memo.decisions, name)
        if net.overrides or last_net(program) != name:  # which is said in a line of its own, after all others
            plain = f"{name}Plain"
            text = print_program(picked_program(net, self.args, trace, self.memo.decisions, plain))
            text += f"\nnet {name} = {plain}{overrides_text(net)}\n"
        else:
            text = print_program(program)
        return "".join(f"# {line}".rstrip() + "\n" for line in header) + text

    # moves

    def sample(self, rng: Random) -> Walked:
        """Every decision that is met, at random: each of its alternatives is equally likely."""
        return self._drawn({}, rng)

    def decided(self, choose: Callable[[str, int], int]) -> Walked:
        """The candidate that `choose` makes: it is given the key of each decision, in the order in which they are met,
        and how many alternatives there are, and says which is taken."""
        return Walked(self.diagram, self.diagram.walk({}, lambda decision: choose(decision.key, decision.count)))

    def uniform(self, rng: Random) -> Picks:
        """A candidate, each equally likely, however many decisions its alternatives wake.

        Where `sample` takes an operator without parameters as often as one with many, this takes it as seldom as it
        is. Samples are kept with a probability in proportion to how seldom they come (rejection sampling).
        Raises ArchError E0505 for a space that is too large to be followed.
        """
        bound = self._extent.weight
        if bound is None:
            raise fail("E0505", f"`{self.name}` is too large to draw from it evenly", self.net.decl.name.span)
        while True:
            picks = self.sample(rng)
            if rng.random() * bound < self._weight(picks):
                return picks

    def _weight(self, picks: Mapping[str, int]) -> int:
        return math.prod(self.memo.decisions[key].count for key in picks)

    def candidates(self) -> Iterator[Picks]:
        """Every candidate, the first alternatives first; decisions are settled in the order in which they are met."""
        waiting: list[Picks] = [{}]
        while waiting:
            picks = waiting.pop()
            opened = next((key for key in self.diagram.walk(picks).trace if key not in picks), None)
            if opened is None:
                yield dict(sorted(picks.items()))
            else:
                waiting += [{**picks, opened: i} for i in reversed(range(self.memo.decisions[opened].count))]

    def _drawn(self, picks: Mapping[str, int], rng: Random) -> Walked:
        """The active decisions; those that `picks` leaves open are drawn."""
        return Walked(self.diagram, self.diagram.walk(picks, _drawing(rng)))

    def mutate(self, picks: Mapping[str, int], rng: Random) -> tuple[Walked, str]:
        """One active decision changed, and a line that says which. Decisions that this wakes are drawn."""
        active, decisions = self.canonical(picks), self.memo.decisions
        keys = active.open(decisions)
        if not keys:
            return active, "nothing to change"
        key = rng.choice(keys)
        decision, old = decisions[key], active[key]
        new = rng.randrange(decision.count - 1)
        new += new >= old
        story = f"{decision.label}: {self._written(key, old)} -> {self._written(key, new)}"
        return Walked(self.diagram, self.diagram.beside(active, active.path, key, new, _drawing(rng))), story

    def _written(self, key: str, index: int) -> str:
        """An alternative of a decision, as the source writes it."""
        text = self._alternatives.get((key, index))
        if text is None:
            text = self._alternatives[key, index] = alternative(self.memo.decisions[key], index)
        return text

    def crossover(self, a: Mapping[str, int], b: Mapping[str, int], rng: Random) -> Walked:
        """Each decision from one of two parents; what neither has is drawn."""
        first, second = dict(a), dict(b)
        mixed = {}
        for key in sorted({*first, *second}):
            donor = rng.choice((first, second))
            mixed[key] = donor[key] if key in donor else {**first, **second}[key]
        return self._drawn(mixed, rng)

    def taken(self, picks: Mapping[str, int]) -> list[tuple[int, str]]:
        """What every active decision takes, in the order in which they are met: which alternative, and as it is
        written."""
        trace = self.diagram.walk(picks).trace
        return [(index, alternative(self.memo.decisions[key], index)) for key, index in trace.items()]

    def describe(self, picks: Mapping[str, int]) -> list[str]:
        """A line for every active decision: `k in row 2: 5`."""
        trace = self.lowered(picks).trace
        return [f"{(d := self.memo.decisions[key]).label}: {alternative(d, index)}" for key, index in trace.items()]

    # size

    @cached_property
    def _extent(self) -> Extent:
        return explore(self)

    @property
    def decisions(self) -> int:
        """How many decisions there are, those of all conditions together."""
        return self._extent.decisions

    @property
    def size(self) -> int | None:
        """How many candidates, told apart by their active decisions; None where there are too many to be counted."""
        return self._extent.size

    @property
    def log10_size(self) -> float | None:
        """The size as people tell it: 12.3 is 10^12.3 candidates. None where they are too many to be counted."""
        if self.size is None:
            return None
        return math.log10(self.size) if self.size else 0.0

    def misfits(self) -> list[ArchError]:
        """The errors of combinations that do not fit, each with the decisions that it takes."""
        return list(self._extent.errors)

    @property
    def proved(self) -> bool:
        """Whether no combination breaks but those of `misfits`; False where the proof would need too much work."""
        return self._extent.proved


@dataclass(frozen=True)
class SearchSpec:
    """A `search NAME over NET:`. space: of a net without choices what mutations make of it. require: (metric,
    comparison, limit), limits in milliseconds, bytes and counts.

    reward: metrics -> a number to be made large, or None. method: its name and arguments, or None. bundle: the files
    that it was read from.
    """

    name: str
    space: Space | ProgramSpace
    device: str | None = None
    data: str | None = None
    require: tuple[tuple[str, str, float], ...] = ()
    maximize: tuple[str, ...] = ()
    minimize: tuple[str, ...] = ()
    reward: Callable[[Mapping[str, float]], float] | None = None
    method: tuple[str, dict[str, Any]] | None = None
    bundle: Bundle | None = None


KEYS = ("device", "data", "mutations", "require", "maximize", "minimize", "reward", "method")


def load_search(spec: str, overrides: Mapping[str, Any] | None = None) -> SearchSpec:
    """The search that `FILE[:SEARCH]` means: the named one, or the file's only one. overrides: the net's parameters.

    Raises ArchError where there is none, or a line of it is wrong.
    """
    found = split(spec)
    module = module_of(found)
    searches = {item.name.id: item for item in module.program.items if isinstance(item, tree.SearchDef)}
    if not searches:
        help_ = "write `search NAME over NET:` with lines such as `maximize accuracy`"
        raise fail("E0503", f"{found.shown} has no search", help=help_)
    if found.name and found.name not in searches:
        raise fail("E0503", f"{found.shown} has no search `{found.name}`", help=nearest(found.name, searches))
    item = searches[found.name] if found.name else list(searches.values())[-1]
    search = search_of(module, item, values(module, overrides or {}))
    return replace(search, bundle=bundle(module, item.name.id, overrides or {}))


def search_of(module: Module, item: tree.SearchDef, args: Mapping[str, Value]) -> SearchSpec:
    """A search of a file. Raises ArchError with every line of it that is wrong."""
    body = Body(Session(), module, Defaults(), ())
    search = SearchSpec(item.name.id, space_of(net_expression(module, item.over), args))
    errors: list[Diagnostic] = []
    for line in item.lines:
        try:
            search = _line(search, line, body, module)
        except ArchError as error:
            errors += error.diagnostics
    if errors:
        raise ArchError(errors)
    return search


def space_of(net: NetValue, args: Mapping[str, Value]) -> Space | ProgramSpace:
    """The space of a net's choices; of a net without any, the space of what mutations make of it."""
    space = Space(net, args)
    try:
        has_choices = bool(space.lowered({}).trace)
    except ArchError:  # which does not fit, and the search will say so
        return space
    return space if has_choices else ProgramSpace(net, args)


def _line(search: SearchSpec, line: tree.SearchLine, body: Body, module: Module) -> SearchSpec:
    key, value = line.key.id, line.value
    if key not in KEYS:
        raise fail("E0504", f"a search has no line `{key}`", line.key.span, help=nearest(key, KEYS))
    for choice in (part for part in value.walk() if isinstance(part, tree.Choice)):
        raise fail("E0507", "a choice cannot be made here", choice.span, help="write one of its alternatives")
    if key == "device":
        return replace(search, device=_text(value))
    if key == "data":
        return replace(search, data=_text(value))
    if key == "mutations":
        return replace(search, space=_restricted(search.space, value))
    if key == "require":
        return replace(search, require=(*search.require, _constraint(value, body)))
    if key == "reward":
        return replace(search, reward=Reward(value, module))
    if key == "method":
        return replace(search, method=_method(value, body))
    metric = _metric(value)
    if key == "maximize":
        return replace(search, maximize=(*search.maximize, metric))
    return replace(search, minimize=(*search.minimize, metric))


def _restricted(space: Space | ProgramSpace, value: tree.Expr) -> ProgramSpace:
    if not isinstance(space, ProgramSpace):
        raise fail(
            "E0504", f"`{space.name}` has choices, so nothing mutates it", value.span, help="leave this line out"
        )
    if not isinstance(value, tree.List):
        raise fail("E0504", "expected a list of mutations, such as `[kernel, width]`", value.span)
    return space.restricted([_text(item) for item in value.items])


def _text(value: tree.Expr) -> str:
    if isinstance(value, tree.String):
        return value.text[1:-1]
    if isinstance(value, tree.Name):
        return value.id
    raise fail("E0504", 'expected a name, such as "host"', value.span)


def _metric(value: tree.Expr) -> str:
    if isinstance(value, tree.Name):
        return value.id
    raise fail("E0504", "expected the name of a metric, such as `latency`", value.span)


def _constraint(value: tree.Expr, body: Body) -> tuple[str, str, float]:
    if not isinstance(value, tree.Infix) or value.op not in ("<=", "<", ">=", ">", "==", "~"):
        raise fail("E0504", "expected a comparison, such as `latency <= 80ms`", value.span)
    metric, limit = _metric(value.left), body.eval(value.right)
    if not isinstance(limit, int | float):
        raise fail("E0504", "the limit is a number", value.right.span)
    return metric, value.op, float(limit)


def _method(value: tree.Expr, body: Body) -> tuple[str, dict[str, Any]]:
    """The strategy, held against what there is, so that a mistake is told where it stands."""
    asked = _asked(value, body)
    arguments = {key: each for key, each in asked.arguments.items() if key not in ("trials", "seed")}
    try:
        strategies.make(asked.name, arguments)
    except ArchError as error:
        raise ArchError([replace(each, span=each.span or value.span) for each in error.diagnostics]) from error
    return asked.name, dict(asked.arguments)


def _asked(value: tree.Expr, body: Body) -> strategies.Asked:
    if isinstance(value, tree.Name):
        return strategies.Asked(value.id)
    if isinstance(value, tree.Call) and isinstance(value.function, tree.Name):
        nested = {arg.name.id: _asked(arg.value, body) for arg in value.args if arg.name and _names_strategy(arg.value)}
        plain = tuple(arg for arg in value.args if arg.name is None or arg.name.id not in nested)
        positional, keywords = body.arguments(plain)
        if not positional:
            return strategies.Asked(value.function.id, {**keywords, **nested})
    raise fail("E0504", "expected a method, such as `evolution(population=64)`", value.span)


def _names_strategy(value: tree.Expr) -> bool:
    """Whether an argument is a strategy itself: `asha(of=evolution)`."""
    called = value.function if isinstance(value, tree.Call) else value
    return isinstance(called, tree.Name) and called.id in strategies.names()


@dataclass(frozen=True)
class Reward:
    """An expression of metrics that is to be large. names: those that it reads, and the functions that it calls."""

    value: tree.Expr
    module: Module

    def __call__(self, metrics: Mapping[str, float]) -> float:
        found = Body(Session(), Scope(dict(metrics), self.module), Defaults(), ()).eval(self.value)
        if not isinstance(found, int | float):
            raise fail("E0504", "a reward is a number", self.value.span)
        return float(found)

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(node.id for node in self.value.walk() if isinstance(node, tree.Name))
