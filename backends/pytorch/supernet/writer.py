"""The lines of a forward in which values are chosen: a body whose items may be branches, each a body of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from archlang.backends.pytorch.forward import Writer
from archlang.backends.source.body import INPUT, Body
from archlang.backends.source.formulas import Formula
from archlang.backends.source.layer import Layer
from archlang.backends.source.layout import INDENT, fits
from archlang.backends.source.nesting import Results
from archlang.backends.source.plan import ClassPlan, Slot
from archlang.backends.source.regions import Region

BRANCH = Layer("branch", weight="head")
"""Marks an item that is written as branches."""


@dataclass(frozen=True)
class Segment:
    """A body with branches. formulas: of the arguments of calls; choices: item -> its branches."""

    body: Body
    formulas: Mapping[Slot, Formula | None]
    choices: Mapping[int, Choice] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether it hands on a value and does nothing."""
        return not self.body.items


@dataclass(frozen=True)
class Alternative:
    """test: the condition, given the names of the choice's inputs. inputs: which of those the segment takes."""

    test: Callable[[Sequence[str]], str]
    segment: Segment
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """Alternatives of which one is taken. Of two, the first has the condition."""

    alternatives: tuple[Alternative, ...]


def segment_lines(
    segment: Segment, inputs: Sequence[str], margin: int, result: str = "return ", kept: frozenset[str] = frozenset()
) -> list[str]:
    """The statements, the last of which begins with `result`. kept: names that must keep their values."""
    apart = {j for i in segment.choices for j, _ in segment.body.items[i].inputs if j != INPUT} | set(segment.choices)
    crowded = False
    while True:
        writer = _Writer(segment, inputs, apart, crowded)
        writer.margin, writer.result, writer.kept = margin, result, kept
        lines = writer.lines()
        too_long = writer.too_long - apart
        if not too_long and writer.crowded == crowded:
            return lines
        apart |= too_long
        crowded = writer.crowded


class _Writer(Writer):
    kept: frozenset[str] = frozenset()

    def __init__(self, segment: Segment, inputs: Sequence[str], apart: set[int], crowded: bool) -> None:
        plan = ClassPlan("", Region(""), segment.body, (), {}, segment.formulas)
        super().__init__(plan, inputs, Results(segment.body.outputs), apart, crowded)
        self.choices = segment.choices

    def _plain(self, k: int) -> None:
        choice = self.choices.get(self.statements[k].item)
        if choice is None:
            super()._plain(k)
            return
        for value in self.ending.get(k - 1, ()):
            self.names.pop(value, None)
        self._choose(k, choice)

    def _choose(self, k: int, choice: Choice) -> None:
        item = self.statements[k].item
        names = [self.names[value] for value in self.body.items[item].inputs]
        before = self.result if self._is_returned(k) else ""
        text = self._on_one_line(choice, names, self._alive(k))
        if text and before and fits(before + text, self.margin):
            self.returned = True
            self.out.append(" " * self.margin + before + text)
            return
        target = self._target(k, choice, names)
        self.names[(item, 0)] = target
        if text and fits(f"{target} = {text}", self.margin):
            self.out.append(f"{' ' * self.margin}{target} = {text}")
        else:
            self._branch_lines(choice, names, target, frozenset(self._alive(k) - {target}))

    def _on_one_line(self, choice: Choice, names: Sequence[str], kept: set[str]) -> str:
        """`a if test else b`, empty where that is not all."""
        if len(choice.alternatives) != 2:
            return ""
        lines = [self._lines(a, names, 0, "", frozenset(kept)) for a in choice.alternatives]
        if any(len(each) != 1 for each in lines):
            return ""
        return f"{lines[0][0]} if {choice.alternatives[0].test(names)} else {lines[1][0]}"

    def _lines(
        self, alternative: Alternative, names: Sequence[str], margin: int, result: str, kept: frozenset[str]
    ) -> list[str]:
        given = [names[i] for i in alternative.inputs]
        if not alternative.segment.plain:
            return segment_lines(alternative.segment, given, margin, result, kept)
        return [" " * margin + result + self._plain_name(alternative, names)]

    def _plain_name(self, alternative: Alternative, names: Sequence[str]) -> str:
        return names[alternative.inputs[alternative.segment.body.outputs[0][1]]]

    def _target(self, k: int, choice: Choice, names: Sequence[str]) -> str:
        """The name of what is handed on unchanged by an alternative, where nobody else reads it any more."""
        item = self.body.items[self.statements[k].item]
        for alternative in choice.alternatives:
            if alternative.segment.plain:
                value = item.inputs[alternative.inputs[alternative.segment.body.outputs[0][1]]]
                if self.last[value] == k and self.names[value] not in self._alive(k):
                    return self.names[value]
        return self._name(k, (self.statements[k].item, 0))

    def _branch_lines(self, choice: Choice, names: Sequence[str], target: str, kept: frozenset[str]) -> None:
        indent = " " * self.margin
        alternatives = list(choice.alternatives)
        plain = [a for a in alternatives if a.segment.plain]
        if len(alternatives) == 2 and plain and self._plain_name(plain[0], names) != target:
            self.out.append(f"{indent}{target} = {self._plain_name(plain[0], names)}")
        doing = [a for a in alternatives if not (a in plain and (len(alternatives) == 2 or self._is(a, names, target)))]
        for number, alternative in enumerate(doing):
            last = number and number == len(doing) - 1 and len(doing) == len(alternatives)
            word = "else" if last else f"{'elif' if number else 'if'} {alternative.test(names)}"
            self.out.append(f"{indent}{word}:")
            self.out += self._lines(alternative, names, self.margin + INDENT, f"{target} = ", kept)

    def _is(self, alternative: Alternative, names: Sequence[str], target: str) -> bool:
        return self._plain_name(alternative, names) == target

    def _alive(self, k: int) -> set[str]:
        return super()._alive(k) | self.kept

    def _return(self) -> None:
        if self.returned or self.result == "return ":
            super()._return()
            return
        name = self.names[self.results.always[0]]
        if self.result != f"{name} = ":
            self.out.append(f"{' ' * self.margin}{self.result}{name}")
