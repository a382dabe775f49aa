"""Nets that no parameter scales, rewritten so that one does: `conv(64, 7)` becomes `conv(ch(64), 7)`.

What a net gives to its steps as channels or repeats goes through a function of the new parameter, as EfficientNet's
does: channels to the nearest multiple of 8 and never below 90 %, repeats up to the next whole number. What the outputs
need, such as the number of classes, stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from archlang.errors import ArchError
from archlang.ir.graph import Graph
from archlang.lower import Lowered, default_net, lower
from archlang.lower.values import Value
from archlang.ops.conv import Conv2d
from archlang.scale.knobs import Knob
from archlang.search.mutations.edit import Rewrite, rewritten, statements
from archlang.search.mutations.mutate import same_task
from archlang.search.mutations.normal import closed, shared_loader
from archlang.search.mutations.roles import MANY, Given, Role, given
from archlang.search.mutations.subject import Subject
from archlang.search.rewrite import parsed
from archlang.source import Source
from archlang.syntax import parse, tree
from archlang.syntax.printer import print_expr, print_program
from archlang.syntax.tree import replace

PROBES = (1.1, 1.4, 2.0, 3.1)
"""Multipliers at which a rewritten net must fit together."""

MOST_CHANNELS = 96
"""A multiple of channels beyond this is no rounding any more."""

SIDES = (1, 2, 4, 8, 16, 32)
"""Multiples that the sides of an image may have to be."""


@dataclass(frozen=True)
class Edit:
    """What makes one dimension scalable. changes: of the net's body. param: with its default. functions: new ones."""

    knob: Knob
    changes: dict[int, list[tree.Node]]
    functions: tuple[str, ...] = ()
    left: tuple[Given, ...] = field(default=(), compare=False)

    @property
    def param(self) -> str:
        return f"{self.knob.name}={self.knob.base}"


class Refused(Exception):
    """A dimension that cannot be scaled. node: of the subject's program, where that shows."""

    def __init__(self, message: str, node: tree.Node | None = None, help: str = "") -> None:
        super().__init__(message)
        self.message, self.node, self.help = message, node, help


def net_of(subject: Subject) -> tree.NetDef:
    """The net of a program, which is its last definition."""
    found = subject.program.items[-1]
    assert isinstance(found, tree.NetDef)
    return found


def written(subject: Subject, edits: Sequence[Edit]) -> tree.Program:
    """The program with the edits, closed."""
    changes = {key: nodes for edit in edits for key, nodes in edit.changes.items()}
    program = rewritten(subject.program, Rewrite("", changes))
    net = program.items[-1]
    assert isinstance(net, tree.NetDef)
    items = (*program.items[:-1], _extended(net, edits))
    return closed(parse(Source("<scaled>", print_program(tree.Program(program.source, items, program.comments)))))


def _extended(net: tree.NetDef, edits: Sequence[Edit]) -> tree.NetDef:
    """The net with the new parameters and functions."""
    span = net.suite.body[0].span
    (head,) = parse(Source("<params>", f"net A({', '.join(edit.param for edit in edits)}): pass\n")).items
    assert isinstance(head, tree.NetDef)
    new = tuple(replace(param, span=net.name.span) for param in head.params or ())
    functions = "\n".join(line for edit in edits for line in edit.functions)
    body = (*(statements(functions, span) if functions else ()), *net.suite.body)
    return replace(net, params=(*(net.params or ()), *new), suite=tree.Suite(net.suite.span, body, False))


def lowered(subject: Subject, edits: Sequence[Edit], **args: Value) -> Lowered:
    """The edited net under these arguments. Raises ArchError where it does not fit together."""
    return lower(default_net(shared_loader().link(written(subject, edits), None)), args, memo=subject.memo)


def _does(subject: Subject, edit: Edit, values: Sequence[int | float]) -> bool:
    """Whether the edit changes nothing at first, and something that fits at each of the values."""
    try:
        net = default_net(shared_loader().link(written(subject, [edit]), None))
        if lower(net, memo=subject.memo).graph.digest != subject.graph.digest:
            return False
        graphs = [lower(net, {edit.knob.name: value}, memo=subject.memo).graph for value in values]
    except ArchError:
        return False
    return all(same_task(subject.graph, graph) and graph.digest != subject.graph.digest for graph in graphs[-1:])


# ---- resolution ------------------------------------------------------------------------------------------------------


def finer(subject: Subject) -> Edit:
    """An edit for the resolution. Raises Refused."""
    inputs = [node for node in net_of(subject).suite.walk() if isinstance(node, tree.Input)]
    images = [node for node in inputs if (found := _sizes(node)) is not None and len(found) == 3]
    if len(images) != 1:
        what = "no image as its input" if not images else f"{len(images)} images as its inputs"
        raise Refused(f"`{subject.name}` has {what}", inputs[0] if inputs else None)
    channels, height, width = _sizes(images[0]) or []
    span = images[0].shape.span
    name = _fresh(subject, "res" if height == width else "resolution")
    for multiple in SIDES:
        knob = Knob(name, int(height), multiple) if height == width else Knob(name, 1.0)
        sides = name if height == width else f"round({height} * {name}), round({width} * {name})"
        text = f"({channels}, {sides}, {sides})" if height == width else f"({channels}, {sides})"
        edit = Edit(knob, {id(images[0].shape): [parsed(text, span)]})
        if _does(subject, edit, [v for v in map(knob.at, (1.1, 1.4, 2.0)) if v != knob.base]):
            return edit
    raise Refused("with an image of another size the net does not fit together", images[0])


def _sizes(node: tree.Input) -> list[str] | None:
    """`3x224x224` or `(3, 224, 224)` in parts; None where it is computed."""
    if isinstance(node.shape, tree.Dims):
        return node.shape.text.replace("×", "x").split("x")
    if isinstance(node.shape, tree.Tuple) and all(isinstance(item, tree.Number) for item in node.shape.items[1:]):
        return [print_expr(item) for item in node.shape.items]
    return None


# ---- depth and width -------------------------------------------------------------------------------------------------


def deeper(subject: Subject) -> Edit:
    """An edit for the depth. Raises Refused."""
    name, function = _fresh(subject, "depth"), _fresh(subject, "reps")
    made = _Wrapping(subject, Role.REPEATS, function, "n")
    knob = Knob(name, 1.0)
    build = made.build(knob, f"ceil(n * {name})")
    kept = made.fitting(lambda uses: _does(subject, build(uses), (2.0,)))
    if not kept:
        raise Refused(f"nothing that `{subject.name}` repeats can be repeated more often", _first(made.uses))
    edit = build(kept)
    if not _does(subject, edit, PROBES):
        raise Refused(f"`{subject.name}` does not fit together with more repeats", _first(kept))
    return edit


def wider(subject: Subject) -> Edit:
    """An edit for the width. Raises Refused."""
    name, function = _fresh(subject, "width"), _fresh(subject, "ch")
    made = _Wrapping(subject, Role.WIDTH, function, "c")
    knob = Knob(name, 1.0)
    multiples = channel_multiples(subject.graph)

    def build(uses: Sequence[Given], multiple: int) -> Edit:
        rounded = f"round_to(c * {name}, {multiple})" if multiple > 1 else f"max(1, round(c * {name}))"
        return made.build(knob, rounded)(uses)

    coarse = math.lcm(*multiples) if math.lcm(*multiples) <= MOST_CHANNELS else max(multiples)
    kept = made.fitting(lambda uses: _fits_wide(subject, build(uses, coarse)))
    if not kept:
        raise Refused(f"no channels of `{subject.name}` can be scaled together", _first(made.uses))
    narrowest = made.narrowest(kept)
    for multiple in sorted(multiples, key=lambda each: each > max(1, narrowest // 2)):
        edit = build(kept, multiple)
        if _does(subject, edit, PROBES):
            return edit
    raise Refused(f"`{subject.name}` does not fit together with more channels", _first(kept))


def _fits_wide(subject: Subject, edit: Edit) -> bool:
    """Whether the net does the same with twice the channels; at first they may be rounded otherwise."""
    try:
        graph = lowered(subject, [edit], **{edit.knob.name: 2.0}).graph
    except ArchError:
        return False
    return same_task(subject.graph, graph) and graph.digest != subject.graph.digest


def channel_multiples(graph: Graph) -> list[int]:
    """What channels may be rounded to, the best first: 8, which hardware likes, and what groups and heads divide."""
    found: list[int] = []
    for multiple in (8, 4, 2, 1):
        together = [math.lcm(multiple, *parts) for parts in _parts(graph)]
        found += [multiple, *(each for each in together if each <= MOST_CHANNELS)]
    return list(dict.fromkeys(found))


def _parts(graph: Graph) -> list[set[int]]:
    """The numbers of groups and heads, and the channels of the groups; depthwise convolutions have one a channel."""
    ops = [node.op for node in graph.nodes]
    grouped = [op for op in ops if isinstance(op, Conv2d) and 1 < op.groups < op.channels]
    heads = {int(getattr(op, "heads", 1)) for op in ops}
    return [{op.groups for op in grouped} | heads, {op.channels // op.groups for op in grouped} | heads]


class _Wrapping:
    """Values of one role in the net's body, each of which can be put through a function."""

    def __init__(self, subject: Subject, role: Role, function: str, variable: str) -> None:
        self.subject, self.function, self.variable = subject, function, variable
        self.net = net_of(subject)
        found = [*given(subject.roles, self.net), *_loops(self.net)]
        self.uses = [use for use in found if self._counts(use, role) and not isinstance(use.node, tree.Blank)]
        self.columns = dict(_columns(self.net, {id(use.node) for use in self.uses}))

    def _counts(self, use: Given, role: Role) -> bool:
        """Whether a value is of the role. One that is only multiplied with is channels too where it is as large as
        channels are, and the step is given no others: bottleneck's `c` is, its `base` is not."""
        if use.role is not Role.FACTOR or role is not Role.WIDTH:
            return use.role is role
        if Role.WIDTH in use.params.values():
            return False
        first = next(name for name, kind in use.params.items() if kind is Role.FACTOR)
        return use.param == first and all(size >= MANY for size in self._sizes(use.node))

    def narrowest(self, uses: Sequence[Given]) -> int:
        """The fewest channels among the values, as far as their text tells."""
        return min((size for use in uses for size in self._sizes(use.node) if size > 0), default=MANY)

    def _sizes(self, node: tree.Expr) -> list[int]:
        """The numbers that a value is made of; a small one where nothing tells."""
        if isinstance(node, tree.Index):
            return self._sizes(node.value)
        named = self._value(node.id) if isinstance(node, tree.Name) else node
        numbers = [each.text for each in named.walk() if isinstance(each, tree.Number)] if named is not None else []
        return [int(text) if text.isdigit() else 0 for text in numbers] or [0]

    def _value(self, name: str) -> tree.Expr | None:
        """What stands for a parameter or constant, as far as its text tells."""
        defaults = {param.name.id: param.default for param in self.net.params or ()}
        constant = self.subject.module.constants.get(name)
        return defaults.get(name, constant.value if constant is not None else None)

    def build(self, knob: Knob, formula: str) -> Callable[[Sequence[Given]], Edit]:
        """The edit that puts some of the values through the function."""
        own = f"fn {self.function}({self.variable}) = {formula}"

        def make(uses: Sequence[Given]) -> Edit:
            changes: dict[int, list[tree.Node]] = {}
            functions = [own]
            for use in uses:
                column = self.columns.get(id(use.node))
                if column is None:
                    changes[id(use.node)] = [self._wrapped(use.node)]
                elif id(column) not in changes:
                    changes[id(column)] = [self._through(column, functions)]
            left = tuple(use for use in self.uses if not any(use is each for each in uses))
            return Edit(knob, changes, tuple(functions), left)

        return make

    def fitting(self, fits: Callable[[Sequence[Given]], bool]) -> list[Given]:
        """As many of the values as fit together. The last go first, as outputs are there; then what fits comes back."""
        kept, out = self._groups(), list[list[Given]]()
        while kept and not fits(_flat(kept)):
            out.append(kept.pop())
        for group in out:
            order = [*kept, group]
            if fits(_flat(order)):
                kept = order
        return _flat(kept)

    def _groups(self) -> list[list[Given]]:
        """The values: those of a column together, the others each alone."""
        groups: dict[int, list[Given]] = {}
        for use in sorted(self.uses, key=lambda use: use.node.span.start):
            groups.setdefault(id(self.columns.get(id(use.node), use.node)), []).append(use)
        return list(groups.values())

    def _wrapped(self, node: tree.Expr) -> tree.Expr:
        if isinstance(node, tree.List | tree.Tuple):
            return replace(node, items=tuple(self._wrapped(item) for item in node.items))
        text = print_expr(node)
        if isinstance(node, tree.Name) and isinstance(self._value(node.id), tree.List):
            return parsed(f"[{self.function}({self.variable}) for {self.variable} in {text}]", node.span)
        return parsed(f"{self.function}({text})", node.span)

    def _through(self, column: tree.Column, functions: list[str]) -> tree.Column:
        """The column with the function, after that which it has."""
        name = self.function
        if column.function is not None:
            name = _fresh(self.subject, f"{self.function}_{column.name.id}")
            inner = f"{print_expr(column.function)}({self.variable})"
            functions.append(f"fn {name}({self.variable}) = {self.function}({inner})")
        return replace(column, function=tree.Name(column.span, name))


def _loops(net: tree.NetDef) -> Iterator[Given]:
    """The counts of loops, `for i in range(n)`, but of those that something else in the net goes by."""
    names = [node.id for node in net.suite.walk() if isinstance(node, tree.Name)]
    for node in net.suite.walk():
        called = node.iterable if isinstance(node, tree.For) else None
        if not isinstance(called, tree.Call) or print_expr(called.function) != "range" or len(called.args) != 1:
            continue
        count = called.args[0].value
        if isinstance(count, tree.Number) or (isinstance(count, tree.Name) and names.count(count.id) == 1):
            yield Given(count, Role.REPEATS)


def _flat(groups: Sequence[Sequence[Given]]) -> list[Given]:
    return [use for group in groups for use in group]


def _columns(net: tree.NetDef, wanted: set[int]) -> Iterator[tuple[int, tree.Column]]:
    """The column of each wanted cell, where all that stands in the column is wanted or not given."""
    for table in net.suite.walk():
        if not isinstance(table, tree.Table):
            continue
        for i, column in enumerate(table.body.columns):
            cells = [row.cells[i] for row in table.body.rows if len(row.cells) == len(table.body.columns)]
            written_ones = [cell for cell in cells if not isinstance(cell, tree.Blank)]
            if column.function is not None or all(id(cell) in wanted for cell in written_ones):
                yield from ((id(cell), column) for cell in written_ones if id(cell) in wanted)


def _first(uses: Sequence[Given]) -> tree.Node | None:
    return uses[0].node if uses else None


def _fresh(subject: Subject, name: str) -> str:
    """The name, or one with a number where the program has it already."""
    if name not in subject.names:
        return name
    return next(f"{name}_{i}" for i in range(2, 1000) if f"{name}_{i}" not in subject.names)


EDITS: dict[str, Callable[[Subject], Edit]] = {"depth": deeper, "width": wider, "resolution": finer}
