"""How one op is written in Keras: the steps from its inputs to its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from archlang.backends.keras.layout import Applied, Term
from archlang.backends.source.layer import Layer
from archlang.backends.source.layout import Call, Expression, Keyword, call


@dataclass(frozen=True)
class Given:
    """An argument as text; None where the default is meant. keyword: empty where it goes by position."""

    keyword: str
    text: str | None


@dataclass(frozen=True)
class Site:
    """Where a layer is applied.

    arguments: by label. name: the layer's name as an expression. inputs: variables, or short expressions. target: the
    variable that each step assigns, so that the next can read it.
    """

    arguments: Mapping[str, Given]
    name: str
    inputs: tuple[str, ...]
    target: str

    def __getitem__(self, label: str) -> str:
        text = self.arguments[label].text
        assert text is not None, f"{label} is at its default"
        return text

    def get(self, label: str, default: str) -> str:
        """The argument's text, `default` where it is not written."""
        return self.arguments[label].text or default

    def made(self, module: str, named: bool = False, without: tuple[str, ...] = (), **other: str) -> Call:
        """The call that makes the layer, with all arguments but those in `without`; other: label -> another text."""
        texts = {label: other.get(label, given.text) for label, given in self.arguments.items() if label not in without}
        written: list[Expression] = [
            Keyword(self.arguments[label].keyword, text) if self.arguments[label].keyword else text
            for label, text in texts.items()
            if text is not None
        ]
        return Call(module, (*written, Keyword("name", self.name)) if named else tuple(written))


@dataclass(frozen=True)
class Step:
    """`target = term`. condition: under which the step is taken at all."""

    term: Term
    condition: str = ""


Steps = Callable[[Site], Iterator[Step]]


def no_steps(site: Site) -> Iterator[Step]:
    yield from ()


@dataclass(frozen=True)
class KerasLayer(Layer):
    """A layer with the steps that write it. `module` is empty where it takes several values: no chain can hold it."""

    steps: Steps = no_steps


def made(module: str, named: bool = False) -> Steps:
    """The layer `module` applied to its input."""

    def steps(site: Site) -> Iterator[Step]:
        yield Step(Applied(site.made(module, named), site.inputs[0]))

    return steps


def function(name: str) -> Steps:
    """The function `name` of the input and then the arguments."""

    def steps(site: Site) -> Iterator[Step]:
        arguments = site.made(name).arguments
        yield Step(call(name, site.inputs[0], *arguments))

    return steps


def expression(write: Callable[[Site, str], Term]) -> Steps:
    """A single term: write(site, input)."""

    def steps(site: Site) -> Iterator[Step]:
        yield Step(write(site, site.inputs[0]))

    return steps
