"""The space around an ordinary program: what mutations make of it. A candidate is the text of a program."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from random import Random
from typing import Any, TypeVar

from archlang.errors import ArchError
from archlang.ir.graph import Graph
from archlang.lower import Memo, NetValue
from archlang.lower.values import Value
from archlang.search.mutations.crossing import crossed
from archlang.search.mutations.mutate import MUTATIONS, known, mutated
from archlang.search.mutations.normal import closed, normal_text, opened
from archlang.search.mutations.subject import Subject
from archlang.search.trial import Picks, Sketch, sketch_of
from archlang.source import Source
from archlang.syntax import parse, tree
from archlang.syntax.printer import print_program
from archlang.syntax.tree import replace

KEPT = 256
"""Programs whose trees and graphs are kept; a search asks for its parents again and again."""

MOST_REGIONS = 20_000
"""Block instances that are kept for programs to come: each program has its own, but for those of the library."""

MOST_MUTATIONS = 4
"""A sample is so many mutations away from the base at most."""

COINS = 8
"""Ways to cross two programs that are tried before one of them is mutated instead."""


class Mutated(dict[str, Any]):
    """Picks of a sample. stories: of the mutations that made it, a line each."""

    def __init__(self, picks: Picks, stories: Sequence[str]) -> None:
        super().__init__(picks)
        self.stories = tuple(stories)


class ProgramSpace:
    """The programs that mutations make of a net without choices. Picks are `{"program": TEXT}`.

    kinds: the mutations to draw from, each with its weight; all alike where none is given.
    """

    def __init__(
        self,
        net: NetValue,
        args: Mapping[str, Value] | None = None,
        kinds: Mapping[str, float] | Sequence[str] = (),
    ) -> None:
        self.net, self.args = net, dict(args or {})
        self.base = normal_text(net, self.args)
        self.kinds = dict(kinds) if isinstance(kinds, Mapping) else dict.fromkeys(kinds or MUTATIONS, 1.0)
        known(list(self.kinds))
        self._memo = Memo()
        self._subjects: dict[str, Subject] = {}
        self._canonical: dict[str, str] = {}
        self._graphs: dict[str, Graph] = {}

    @property
    def name(self) -> str:
        """Of the net; a variant's has an underscore for its dot."""
        return (self.net.label or self.net.name).replace(".", "_")

    def restricted(self, kinds: Sequence[str]) -> ProgramSpace:
        """The space of these mutations alone. Raises ArchError E1231 where one is unknown."""
        return ProgramSpace(self.net, self.args, kinds)

    @cached_property
    def digest(self) -> str:
        """Equal for equal programs and mutations: the picks of a stored run belong to one digest."""
        kinds = ", ".join(f"{name}={weight}" for name, weight in sorted(self.kinds.items()))
        return hashlib.sha256(f"{self.name}\n{kinds}\n{self.base}".encode()).hexdigest()

    # moves

    def sample(self, rng: Random) -> Picks:
        """The base after a few mutations. Raises ArchError E1232 where it has no place for any."""
        picks: Picks = {"program": self.base}
        stories = []
        for _ in range(rng.randint(1, MOST_MUTATIONS)):
            picks, story = self.mutate(picks, rng)
            stories.append(story)
        return Mutated(picks, stories)

    def mutate(self, picks: Picks, rng: Random) -> tuple[Picks, str]:
        """The program after one mutation, and the line that says which."""
        mutant = mutated(self._subject(picks["program"]), rng, self.kinds)
        self._keep(self._graphs, mutant.text, mutant.graph)
        self._keep(self._canonical, mutant.text, mutant.text)
        return {"program": mutant.text}, mutant.story

    def crossover(self, a: Picks, b: Picks, rng: Random) -> Picks:
        """Lines, rows and blocks of one parent or the other; where no mix fits together, a mutation of one."""
        one, two = self._subject(a["program"]), self._subject(b["program"])
        for _ in range(COINS):
            try:
                text, lowered = crossed(one, two, self._base.graph, rng)
            except ArchError:
                continue
            if text not in (one.text, two.text):
                self._keep(self._graphs, text, lowered.graph)
                return {"program": text}
        return self.mutate(rng.choice((a, b)), rng)[0]

    # candidates

    def canonical(self, picks: Picks) -> Picks:
        """The program formatted, without what nothing in it uses. Raises ArchError where it is none."""
        text: str = picks["program"]
        if text not in self._canonical:
            program = parse(Source("<program>", text))
            self._keep(self._canonical, text, print_program(closed(opened(program))))
        return {"program": self._canonical[text]}

    def graph(self, picks: Picks) -> Graph:
        """The network. Raises ArchError where the program does not fit together."""
        text: str = picks["program"]
        if text not in self._graphs:
            self._keep(self._graphs, text, self._subject(text).graph)
        return self._graphs[text]

    def sketch(self, picks: Picks) -> Sketch:
        """What is known of the candidate. Raises ArchError where it does not fit together."""
        return sketch_of(picks, self.graph(picks))

    def source(self, picks: Picks, name: str, header: Sequence[str] = ()) -> str:
        """The program, its net called `name`, under lines of comment, which are without `#`."""
        return named(picks["program"], name, header)

    # what is kept

    @property
    def _base(self) -> Subject:
        return self._subject(self.base)

    def _subject(self, text: str) -> Subject:
        if text not in self._subjects:
            if len(self._memo.regions) > MOST_REGIONS:
                self._memo = Memo()
            self._keep(self._subjects, text, Subject(text, self._memo))
        return self._subjects[text]

    def _keep(self, kept: dict[str, Kept], text: str, value: Kept) -> None:
        kept[text] = value
        if len(kept) > KEPT:
            del kept[next(iter(kept))]


Kept = TypeVar("Kept", Subject, str, Graph)


def named(text: str, name: str, header: Sequence[str] = ()) -> str:
    """A program with another name for its net, under lines of comment, which are without `#`."""
    program = parse(Source("<program>", text))
    last = program.items[-1]
    assert isinstance(last, tree.NetDef | tree.NetAlias)
    item: Any = replace(last, name=replace(last.name, id=name))
    printed = print_program(tree.Program(program.source, (*program.items[:-1], item), program.comments))
    return "".join(f"# {line}".rstrip() + "\n" for line in header) + printed
