"""A whole search space as one Python file: a network of which every candidate is a part, and what selects it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import archlang
from archlang.backends.pytorch.initialisation import initialised
from archlang.backends.pytorch.source import HELPERS, PythonSource
from archlang.backends.pytorch.supernet.candidates import Candidate, Ends, drawn, observed, with_picks
from archlang.backends.pytorch.supernet.elastic import Parts
from archlang.backends.pytorch.supernet.naming import Naming
from archlang.backends.pytorch.supernet.planned import Planned, first_sites
from archlang.backends.pytorch.supernet.planner import Planner
from archlang.backends.pytorch.supernet.segments import ElasticText, elastic_text
from archlang.backends.pytorch.supernet.settings import Learner, Table, Unsettled, patterns
from archlang.backends.source.docstrings import block_doc, doc_lines, docstring, sentence
from archlang.backends.source.formulas import literal_text
from archlang.backends.source.initialisation import scheme
from archlang.backends.source.layer import Argument, Layer
from archlang.backends.source.layout import INDENT, Call, Expression, Keyword, definition, joined, laid_out
from archlang.backends.source.names import check_names
from archlang.backends.source.rendering import render
from archlang.cost import cost
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.search.extent import alternative
from archlang.search.space import Picks, Space
from archlang.supernet.decisions import largest, smallest
from archlang.supernet.union import Union, union

OWN_HELPERS = (
    *("round_to", "centre", "ElasticConv2d", "ElasticDepthwiseConv2d", "ElasticBatchNorm2d", "ElasticBatchNorm1d"),
    *("ElasticLinear", "Zero", "ElasticDepth", "ElasticPath", "chosen"),
)
"""What a file may need before its blocks, beside what every generated file may."""

ROUNDS = 6
"""How often candidates are added at most. The file is right when more of them change nothing."""

CHECKS = 20
"""How many random candidates are added in a round."""


def generate_supernet(space: Space, origin: str = "") -> PythonSource:
    """The file for all candidates of a space. origin: where it came from, for the header.

    Its state dict has the names and shapes of `archlang.supernet`'s, and its picks are the search's. It is derived from
    candidates as they are elaborated, until it stays the same for more of them, random ones among them. Raises
    ArchError for what cannot share weights, and E0803 for a space that cannot be written so.
    """
    whole, rng = union(space), Random(1)
    ends = Ends(dict(smallest(space)), dict(largest(space)))
    candidates = _Candidates(whole)
    candidates.add(drawn(whole, ends))
    text = ""
    for _ in range(ROUNDS):
        file = _File(whole, ends, observed(candidates.pairs))
        before, text = text, file.text(origin)
        missing = [with_picks(space, picks, Random(0)) for picks in file.missing()]
        if not candidates.add(missing) and text == before:
            return PythonSource(text, file.network)
        candidates.add(dict(space.sample(rng)) for _ in range(CHECKS))
    raise fail("E0803", f"readable source cannot be written for `{space.name}`: {ROUNDS} rounds did not show all of it")


@dataclass
class _Candidates:
    """Candidates with their picks, each once."""

    union: Union
    graphs: dict[tuple[tuple[str, int], ...], Graph] = field(default_factory=dict)

    @property
    def pairs(self) -> list[tuple[Picks, Graph]]:
        return [(dict(key), graph) for key, graph in self.graphs.items()]

    def add(self, some: Iterable[Picks]) -> bool:
        """Whether one of them is new."""
        count = len(self.graphs)
        for picks in some:
            key = tuple(sorted(picks.items()))
            if key not in self.graphs:
                self.graphs[key] = self.union.graph(picks)
        return len(self.graphs) > count


@dataclass(frozen=True)
class _Setting:
    """What is set on one module."""

    path: str
    attribute: str
    values: Mapping[int, Any]


@dataclass
class _File:
    union: Union
    ends: Ends
    candidates: Sequence[Candidate]
    tables: list[tuple[_Setting, Table]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for candidate in self.candidates:
            check_names(candidate.graph)
            if any(output.aux for output in candidate.graph.outputs):
                raise fail("E0803", "readable source cannot be written for a space with auxiliary outputs")
        decisions = self.space.memo.decisions
        met = dict.fromkeys(key for candidate in self.candidates for key in candidate.picks)
        known = [key for key in self.union.contexts if key in met]
        picks = [dict(candidate.picks) for candidate in self.candidates]
        self.learner = Learner(picks, {key: decisions[key].count for key in dict.fromkeys([*known, *met])})
        naming = Naming(self.space, self.learner)
        self.planned = Planner(self.candidates, self.union, naming).run()
        order = first_sites(self.union)
        settings = sorted(
            (each for each in self._settings() if each.values), key=lambda setting: order.get(setting.path, -1)
        )
        self.tables = [(setting, self._table(setting)) for setting in settings]

    @property
    def space(self) -> Space:
        return self.union.space

    @property
    def network(self) -> str:
        return self.planned[-1].name

    # ---- settings ----

    def _settings(self) -> Iterator[_Setting]:
        resolutions = {n: _resolution(candidate) for n, candidate in enumerate(self.candidates)}
        yield _Setting("", "resolution", resolutions)
        for planned in self.planned:
            columns = [(known.name, known.column) for known in planned.settings]
            for path in planned.paths:
                for attribute, column in columns:
                    yield _Setting(path, attribute, self._values(planned, path, column))
                for name, chain in planned.chains.items():
                    where = f"{path}.{name}" if path else name
                    yield _Setting(where, chain.attribute, self._values(planned, path, chain.active))

    def _values(self, planned: Planned, path: str, column: Sequence[Any]) -> dict[int, Any]:
        at = planned.rows.at
        return {n: column[row] for (where, n), row in at.items() if where == path and column[row] is not None}

    def _table(self, setting: _Setting) -> Table:
        try:
            return self.learner.table(setting.values)
        except Unsettled:
            what = f"`{setting.attribute}` of `{setting.path or self.network}`"
            raise fail("E0803", f"readable source cannot be written: {what} follows from too many decisions") from None

    def missing(self) -> list[Picks]:
        """Picks that no candidate shows, and a table needs."""
        found = [picks for setting, table in self.tables for picks in self.learner.missing(setting.values, table)]
        return list({tuple(picks.items()): picks for picks in found}.values())

    def _rows(self) -> Iterator[Expression]:
        """The entries of SETTINGS: modules with the same table under one pattern."""
        groups: dict[tuple[str, str], list[tuple[str, Table]]] = {}
        for setting, table in self.tables:
            groups.setdefault((setting.attribute, repr(table)), []).append((setting.path, table))
        universe = sorted({path for candidate in self.candidates for path in _modules(candidate)})
        for (attribute, _), members in groups.items():
            table = members[0][1]
            keys = Call("", tuple(_quoted(key) for key in table.keys))
            for pattern in patterns([path for path, _ in members], universe):
                first = f"({', '.join(map(_quoted, table.keys))}{',' if len(table.keys) == 1 else ''})"
                entry = (
                    _quoted(pattern),
                    _quoted(attribute),
                    first if keys.arguments else "()",
                    _table_text(table.values),
                )
                yield Call("", entry)

    # ---- text ----

    def text(self, origin: str) -> str:
        graph = self.space.graph(self.ends.largest)
        *blocks, network = self.planned
        classes = [elastic_text(planned, block_doc(planned.plan)) for planned in blocks]
        initialise = initialised(graph, "paper")
        classes.append(self._network_text(network, bool(initialise)))
        body = _render(
            "elastic_body.py.j2",
            classes=classes,
            helpers=self._helpers(classes),
            initialise=initialise,
            network=network.name,
            **self._tables(),
        )
        header = _render("elastic_header.py.j2", imports=_imports(body), **self._facts(origin))
        text = f"{header}\n\n{body}\n"
        ast.parse(text)
        return text

    def _network_text(self, network: Planned, initialise: bool) -> ElasticText:
        graph = self.space.graph(self.ends.largest)
        about = sentence(graph.doc or graph.name, graph.name)
        taken = ", ".join(
            f"{name}: (N, {', '.join(map(str, self._shape(k)))})" for k, name in enumerate(network.inputs)
        )
        tail = ["self.apply(initialise)"] if initialise else []
        text = elastic_text(network, doc_lines(f"{about} {taken}."), [*tail, *_TAIL])
        return ElasticText(
            text.name,
            text.doc,
            ("picks: dict[str, int]", *text.settings, "resolution: tuple[int, int]"),
            text.constructor,
            text.forward,
        )

    def _shape(self, k: int) -> tuple[str, ...]:
        """Of an input; H and W where they are the sub-network's."""
        shapes = {c.graph.nodes[c.graph.inputs[k]].type.shape for c in self.candidates}
        columns = list(zip(*shapes, strict=True))
        names = ("C", "H", "W")
        return tuple(str(axis[0]) if len(set(axis)) == 1 else names[n] for n, axis in enumerate(columns))

    def _helpers(self, classes: Sequence[ElasticText]) -> list[str]:
        text = "\n".join(line for each in classes for line in each.forward)
        used = {name for name in ("round_to", "chosen") if f"{name}(" in text}
        used |= {helper for planned in self.planned for helper in planned.helpers()}
        used |= {
            helper for planned in self.planned for a in planned.plan.body.attributes for helper in _needed(a.layer)
        }
        layers: dict[str, _Used] = {name: _Used() for name in _FLAGS.values()}
        for planned in self.planned:
            for part in planned.parts.values():
                if part.host.module in layers:
                    layers[part.host.module].add(part)
        used |= {"centre"} if any("kernel" in each.told for each in layers.values()) else set()
        values: dict[str, Any] = {"init": scheme(self.space.graph({}), "paper", "torch")}
        for key, name in _FLAGS.items():
            values |= layers[name].values(key)
        values |= {"single_column": False, "ranges": None}
        return [_render(f"{name}.py.j2", **values).rstrip() for name in (*HELPERS, *OWN_HELPERS) if name in used]

    def _tables(self) -> dict[str, list[str]]:
        return {
            "decisions": [line for entry in self._decisions() for line in _entry(entry)],
            "largest": self._end("LARGEST", self.ends.largest),
            "smallest": self._end("SMALLEST", self.ends.smallest),
            "settings": [line for entry in self._rows() for line in _entry(entry)],
        }

    def _end(self, name: str, picks: Mapping[str, int]) -> list[str]:
        """Picks as one alternative of all decisions, and what differs."""
        common = Counter(picks.values()).most_common(1)[0][0]
        start = f"dict.fromkeys(DECISIONS, {common})"
        other = {key: index for key, index in picks.items() if index != common}
        entries = Call("", tuple(Keyword(_quoted(key), str(index), ": ") for key, index in other.items()), "{}")
        expression = joined(start, " | ", entries) if other else start
        return laid_out(f"{name}: dict[str, int] = ", expression, "", 0)

    def _decisions(self) -> Iterator[Expression]:
        """As they are met, each after those that wake it."""
        conditions = {key: self._condition(key) for key in self.learner.counts}
        met = list(self.space.lowered(self.ends.largest).trace)
        waiting = [*(key for key in met), *(key for key in conditions if key not in met)]
        done: list[str] = []
        while waiting:
            following = next(key for key in waiting if set(conditions[key]) <= set(done))
            waiting.remove(following)
            done.append(following)
        for key in done:
            decision = self.space.memo.decisions[key]
            when = tuple(Keyword(_quoted(k), literal_text(some), ": ") for k, some in conditions[key].items())
            names = [alternative(decision, i) for i in range(decision.count)]
            entry = (_quoted(decision.label), _alternatives(names), Call("", when, "{}"))
            yield Keyword(_quoted(key), Call("", entry), ": ")

    def _condition(self, key: str) -> dict[str, tuple[int, ...]]:
        try:
            return self.learner.condition(key)
        except Unsettled:
            label = self.space.memo.decisions[key].label
            raise fail("E0803", f"readable source cannot be written: when {label} matters is too involved") from None

    def _facts(self, origin: str) -> dict[str, str]:
        size = self.space.size
        ends = [cost(self.space.graph(picks)).total for picks in (self.ends.smallest, self.ends.largest)]
        return {
            "name": docstring(self.space.name),
            "version": archlang.__version__,
            "origin": docstring(origin),
            "digest": self.space.digest,
            "decisions": str(len(self.learner.counts)),
            "size": f", {_count(size)} sub-networks" if size else "",
            "params": f"{ends[0].params:,} to {ends[1].params:,}",
            "macs": f"{ends[0].macs:,} to {ends[1].macs:,}",
        }


_TAIL = (
    "modules = list(self.named_modules())",
    "self.targets = {",
    "    pattern: [module for name, module in modules if matches(pattern, name)]",
    "    for pattern, *_ in SETTINGS",
    "}",
    "self.select(LARGEST)",
)

_FLAGS = {"conv": "ElasticConv2d", "depthwise": "ElasticDepthwiseConv2d", "linear": "ElasticLinear"}


@dataclass
class _Used:
    """What an elastic layer of the file must be able to do. told: arguments of its forward."""

    told: set[str] = field(default_factory=set)
    bias: bool = False
    groups: bool = False

    def add(self, part: Parts) -> None:
        self.told |= set(part.told)
        for layer in part.layers.values():
            given = {a.keyword: a.value for a in layer.arguments if isinstance(a, Argument)}
            self.bias |= bool(given.get("bias", True))
            self.groups |= given.get("groups", 1) != 1

    def values(self, key: str) -> dict[str, Any]:
        """For the templates, each under the layer's key."""
        names = [name for name in ("channels", "features", "kernel", "stride") if name in self.told]
        taken = ["self", "x: Tensor", *(f"{name}: int | None = None" for name in names)]
        call = Call("F.conv2d", tuple(self._given(key)))
        found = {
            "forward": definition("forward", taken, "Tensor", INDENT),
            "call": laid_out("return ", call, "", 2 * INDENT),
            "bias": self.bias,
            "groups": self.groups,
        }
        return {key: self.told, **{f"{key}_{name}": value for name, value in found.items()}}

    def _given(self, key: str) -> Iterator[str]:
        """The arguments of F.conv2d."""
        depthwise = key == "depthwise"
        whole = "self.weight[:n]" if "kernel" not in self.told else "weight[:n]"
        yield from ("x", whole if depthwise else "weight")
        yield "bias" if self.bias and (depthwise or "channels" in self.told) else "self.bias"
        yield "stride or self.stride" if "stride" in self.told else "self.stride"
        yield "padding" if "kernel" in self.told else "self.padding"
        yield "self.dilation"
        if depthwise or self.groups:
            yield "groups=n" if depthwise else "groups=self.groups"


def _needed(layer: Layer) -> set[str]:
    inner = (argument for argument in layer.arguments if isinstance(argument, Layer))
    return set(layer.helpers).union(*(_needed(each) for each in inner))


def _modules(candidate: Candidate) -> Iterator[str]:
    """Every module of the network, and every container."""
    yield ""
    for node in candidate.graph.nodes:
        parts = node.name.split(".")
        yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))


def _resolution(candidate: Candidate) -> tuple[int, ...]:
    return candidate.graph.nodes[candidate.graph.inputs[0]].type.shape[1:]


def _count(size: int) -> str:
    return f"{size:,}" if size < 10**9 else f"{size:.1e}".replace("e+", "e")


def _alternatives(names: Sequence[str]) -> Expression:
    steps = _steps(names)
    if steps:
        return f"tuple(map(str, {steps}))"
    return Call("", tuple(map(_quoted, names))) if len(names) > 1 else f"({_quoted(names[0])},)"


def _steps(values: Sequence[Any]) -> str:
    """`range(...)` for many whole numbers in equal steps, empty for anything else."""
    if len(values) < 8 or not all(re.fullmatch(r"\d+", str(value)) for value in values):
        return ""
    numbers = [int(value) for value in values]
    step = numbers[1] - numbers[0]
    wanted = range(numbers[0], numbers[-1] + (1 if step > 0 else -1), step or 1)
    if list(wanted) != numbers:
        return ""
    return f"range({wanted.start}, {wanted.stop}, {wanted.step})"


def _entry(entry: Expression) -> list[str]:
    return laid_out("", entry, ",", INDENT)


def _table_text(values: Any) -> Expression:
    if isinstance(values, list) and all(isinstance(value, tuple) and len(set(value)) == 1 for value in values):
        steps = _steps([value[0] for value in values])
        if steps and all(len(value) == 2 for value in values):
            return f"[(size, size) for size in {steps}]"
    if isinstance(values, list):
        return Call("", tuple(map(_table_text, values)), "[]")
    if isinstance(values, tuple):
        inner = tuple(_table_text(value) for value in values)
        return Call("", inner) if len(inner) > 1 else f"({inner[0]},)" if inner else "()"
    return _quoted(values) if isinstance(values, str) else literal_text(values)


def _quoted(text: str) -> str:
    """A Python string in double quotes."""
    escaped = "".join(char if char.isprintable() and char not in '\\"' else _escape(char) for char in text)
    return f'"{escaped}"'


def _escape(char: str) -> str:
    return f"\\{char}" if char in '\\"' else f"\\U{ord(char):08x}"


def _imports(body: str) -> list[str]:
    """The import lines for the names that the text uses."""
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    abstract = [name for name in ("Callable", "Iterator", "Mapping") if name in used]
    lines = ["import re", f"from collections.abc import {', '.join(abstract)}"]
    lines += ["from typing import Any", ""]
    lines += ["import torch"] if "torch" in used else []
    lines += ["import torch.nn.functional as F"] if "F" in used else []
    return [*lines, "from torch import Tensor, nn"]


_render = partial(render, "archlang.backends.pytorch")
