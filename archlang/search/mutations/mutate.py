"""Mutating a program: a rewrite is drawn, made, and kept if the program still fits together and is another network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import cached_property
from math import prod
from random import Random

from archlang.errors import ArchError, fail, nearest
from archlang.ir.graph import Graph
from archlang.lower import Lowered, default_net, lower
from archlang.lower.body import Body
from archlang.lower.nets import METRICS, metrics
from archlang.lower.session import Defaults, Session
from archlang.lower.values import Scope
from archlang.search.mutations import rows, structure
from archlang.search.mutations.edit import Rewrite, changed, rewritten
from archlang.search.mutations.normal import closed, shared_loader
from archlang.search.mutations.roles import Role
from archlang.search.mutations.subject import Subject
from archlang.search.mutations.values import Mutation, Site, of_values
from archlang.syntax import tree
from archlang.syntax.printer import print_program
from archlang.syntax.tree import replace
from archlang.weights import MAX_BYTES, specs

MUTATIONS: Mapping[str, Mutation] = {
    "kernel": of_values(Role.KERNEL),
    "stride": of_values(Role.STRIDE),
    "width": of_values(Role.WIDTH),
    "expansion": of_values(Role.FACTOR),
    "groups": of_values(Role.GROUPS),
    "activation": of_values(Role.ACTIVATION),
    "norm": of_values(Role.NORM),
    "repeats": of_values(Role.REPEATS),
    "scale": of_values(Role.SCALE),
    "squeeze": of_values(Role.RATIO),
    "resolution": of_values(Role.RESOLUTION),
    "swap": structure.swap,
    "insert": rows.insert,
    "delete": rows.delete,
    "duplicate": rows.duplicate,
    "split": rows.split,
    "add_skip": structure.add_skip,
    "remove_skip": structure.remove_skip,
    "add_squeeze": structure.add_squeeze,
    "remove_squeeze": structure.remove_squeeze,
    "add_branch": structure.add_branch,
    "remove_branch": structure.remove_branch,
}
"""Every mutation by its name."""

ATTEMPTS = 60
"""Rewrites that are tried before a program counts as one that cannot be mutated."""


@dataclass(frozen=True)
class Mutant:
    """A program that came of a mutation. text: closed, as it is kept. tried: the kinds whose rewrites did not fit,
    each with how often."""

    text: str
    kind: str
    story: str
    lowered: Lowered
    tried: Mapping[str, int]

    @property
    def graph(self) -> Graph:
        return self.lowered.graph


def known(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each of a mutation. Raises ArchError E1231 for one that is none."""
    for name in names:
        if name not in MUTATIONS:
            raise fail("E1231", f"there is no mutation `{name}`", help=nearest(name, MUTATIONS))
    return tuple(names)


def sites(subject: Subject, kinds: Sequence[str] = ()) -> dict[str, list[Site]]:
    """Where each mutation applies, as far as the text tells; what does not fit shows when it is made."""
    wanted = known(kinds) or tuple(MUTATIONS)
    return {kind: [site for site in MUTATIONS[kind](subject) if site.rewrites] for kind in wanted}


def mutated(
    subject: Subject, rng: Random, kinds: Mapping[str, float] | Sequence[str] = (), attempts: int = ATTEMPTS
) -> Mutant:
    """The program after one mutation that fits. kinds: those to draw from, perhaps each with its weight.

    Its inputs keep their channels and its outputs their meaning. Raises ArchError E1232 where none of `attempts`
    rewrites gave another network.
    """
    weights = dict(kinds) if isinstance(kinds, Mapping) else dict.fromkeys(kinds or MUTATIONS, 1.0)
    known(list(weights))
    tried: Counter[str] = Counter()
    for kind, rewrite in _drawn(subject, rng, weights, attempts):
        try:
            text, lowered = made(subject, rewrite)
        except ArchError:
            tried[kind] += 1
            continue
        return Mutant(text, kind, rewrite.story, lowered, tried)
    wanted = ", ".join(weights) if len(weights) < len(MUTATIONS) else "any mutation"
    raise fail("E1232", f"`{subject.name}` has no place that fits for {wanted}", help="allow more kinds of mutation")


def _drawn(subject: Subject, rng: Random, weights: Mapping[str, float], attempts: int) -> Iterator[tuple[str, Rewrite]]:
    """Rewrites at random: first the kind, then the site, then what is made of it; none twice."""
    left: dict[str, list[list[Rewrite]]] = {}
    open_ = dict(weights)
    for _ in range(attempts):
        while open_:
            kind = rng.choices(list(open_), list(open_.values()))[0]
            if kind not in left:
                left[kind] = [list(site.rewrites) for site in MUTATIONS[kind](subject) if site.rewrites]
            if left[kind]:
                break
            del open_[kind]
        if not open_:
            return
        site = rng.choice(left[kind])
        yield kind, site.pop(rng.randrange(len(site)))
        left[kind] = [each for each in left[kind] if each]


@dataclass(frozen=True)
class Series:
    """Mutants of one program. Mutant `number` follows from the seed and the number alone. steps: mutations of each."""

    text: str
    kinds: Sequence[str] = ()
    seed: int = 0
    steps: int = 1

    @cached_property
    def subject(self) -> Subject:
        return Subject(self.text)

    def sites(self) -> dict[str, list[Site]]:
        """Where each kind applies."""
        return sites(self.subject, self.kinds)

    def mutant(self, number: int) -> Mutant:
        """Raises ArchError E1232 where the program has no place that fits."""
        rng = Random(f"{self.seed}/{number}")
        mutant = mutated(self.subject, rng, self.kinds)
        for _ in range(self.steps - 1):
            following = mutated(Subject(mutant.text, self.subject.memo), rng, self.kinds)
            mutant = replaced(following, story=f"{mutant.story}; {following.story}")
        return mutant


def made(subject: Subject, rewrite: Rewrite) -> tuple[str, Lowered]:
    """The program after a rewrite, closed, and its elaboration.

    Raises ArchError where it does not fit together, is the same network, or no longer does what it did.
    """
    program = closed(rewritten(subject.program, rewrite))
    lowered = lower(default_net(shared_loader().link(program, None)), memo=subject.memo)
    check_same_task(subject.graph, lowered.graph)
    return settled(program, lowered), lowered


def check_same_task(before: Graph, after: Graph) -> None:
    """Raises ArchError unless the second is another network of the same inputs and outputs: of inputs the channels
    stay, of outputs the names and, but for the sizes of maps and the number of tokens, the types."""
    if after.digest == before.digest:
        raise fail("E1232", "this changes nothing")
    if not same_task(before, after):
        raise fail("E1232", "the inputs or outputs would be others")
    if 4 * sum(prod(param.shape) for param in specs(after).values()) > MAX_BYTES:
        raise fail("E1232", "the weights would be too large")


def same_task(before: Graph, after: Graph) -> bool:
    """Whether two networks take and give the same, but for the sizes of maps and the number of tokens."""
    return _interface(before) == _interface(after)


def _interface(graph: Graph) -> tuple[object, ...]:
    inputs = [(graph.nodes[i].name, graph.nodes[i].type.rank, graph.nodes[i].type.channels) for i in graph.inputs]
    types = [(output.name, output.aux, graph.nodes[output.value].type) for output in graph.outputs]
    flat = [(name, aux, kind.shape if kind.is_vector else (kind.rank, kind.channels)) for name, aux, kind in types]
    return tuple(inputs), tuple(flat), tuple(_ends(graph, output.value) for output in graph.outputs)


def _ends(graph: Graph, value: int) -> bool:
    """Whether an output that is one position is so still: a classifier does not become a map."""
    kind = graph.nodes[value].type
    return kind.is_image and kind.height * kind.width == 1


# ---- expectations ----------------------------------------------------------------------------------------------------


def settled(program: tree.Program, lowered: Lowered) -> str:
    """The text with every `expect` line of the net true: figures are put right, other lines that do not hold go."""
    found = metrics(lowered.graph)
    changes: dict[int, Sequence[tree.Node]] = {}
    for stmt, scope in lowered.expectations:
        body = Body(Session(), Scope(dict(found), scope), Defaults(), ())
        if not _holds(body, stmt.condition):
            changes[id(stmt)] = _updated(stmt, found)
    if not changes:
        return print_program(program)
    items = tuple(changed(item, changes) for item in program.items)
    return print_program(tree.Program(program.source, items, program.comments))


def _holds(body: Body, condition: tree.Expr) -> bool:
    try:
        return body.truth(body.eval(condition), condition.span)
    except ArchError:
        return False


def _updated(stmt: tree.Expect, found: Mapping[str, int]) -> list[tree.Stmt]:
    """`expect params == 1234` with the figure as it is now; nothing for any other line."""
    test = stmt.condition
    if not isinstance(test, tree.Infix) or test.op not in ("==", "~") or not isinstance(test.right, tree.Number):
        return []
    if not isinstance(test.left, tree.Name) or test.left.id not in METRICS:
        return []
    number = tree.Number(test.right.span, str(found[test.left.id]))
    return [replace(stmt, condition=replace(test, right=number))]
