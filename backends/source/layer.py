"""How one op, or one instance of a generated class, is written: its constructor and its call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from archlang.backends.source.layout import Call, Expression, Keyword
from archlang.ops.conv import Pad4


class Missing(Enum):
    """Marks an argument without a default, and a slot that an instance has no use for."""

    REQUIRED = "required"
    ABSENT = "absent"


REQUIRED: Final = Missing.REQUIRED
ABSENT: Final = Missing.ABSENT


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor or of a call, with the value that one instance needs.

    keyword: empty where it goes by position. default: what may be left out. label: how a parameter that stands for
    it is called. role: what it may be derived from: `in`, `out` (numbers of channels), `groups`, `kernel`, `stride`,
    `padding`, `function` or `` (anything else).
    """

    value: Any
    keyword: str = ""
    default: Any = REQUIRED
    label: str = ""
    role: str = ""

    @property
    def name(self) -> str:
        return self.label or self.keyword


def pair(value: tuple[int, int]) -> int | tuple[int, int]:
    """Both axes as one number where they are equal."""
    return value[0] if value[0] == value[1] else value


def symmetric(padding: Pad4) -> int | tuple[int, int] | None:
    """The padding as the frameworks' layers take it, None where the sides differ."""
    top, left, bottom, right = padding
    return pair((top, left)) if (top, left) == (bottom, right) else None


Texts = Mapping[str, Expression | None]
"""The arguments of a call by label or keyword as expressions; None where the default is meant."""

Apply = Callable[[str, Texts, Sequence[Expression]], Expression]
"""apply(module, arguments, inputs): the expression for the result; module is `self.conv1`."""


def call_module(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
    return Call(module, tuple(inputs))


@dataclass(frozen=True)
class Layer:
    """What an op becomes.

    kind: equal where two layers differ in their arguments alone. module: the class that the constructor makes, empty
    where forward calls a function. arguments: the constructor's, Layers among them in a container. inputs of forward
    are followed by `call_arguments`. weight: how it stands in a line of code: `head` begins a new thought (a
    convolution, a block), `tail` finishes one (a norm, an activation), `join` takes several values, `light` is a mere
    view. in_place: the function takes `inplace=True`. writable: writing over its result breaks no gradient.
    helpers: the classes that the file must define. outputs: how many values it makes; results: how the source calls
    them, where it names them. flattened: what it becomes
    together with a flattening that follows, if one call does both.
    """

    kind: str
    module: str = ""
    arguments: tuple[Argument | Layer, ...] = ()
    apply: Apply = call_module
    call_arguments: tuple[Argument, ...] = ()
    stateful: bool = False
    weight: str = "head"
    in_place: bool = False
    writable: bool = False
    helpers: frozenset[str] = frozenset()
    outputs: int = 1
    results: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    flattened: Layer | None = None

    @property
    def shape(self) -> tuple[Any, ...]:
        """What two instances must share to be written by the same line."""
        inner = tuple(a.shape if isinstance(a, Layer) else (a.keyword, a.role) for a in self.arguments)
        return (self.kind, self.module, self.stateful, self.keys, inner, tuple(a.name for a in self.call_arguments))


IDENTITY = Layer("identity")
"""An op that changes nothing: no line is written for it."""


def function(name: str, *positional: str) -> Apply:
    """A call of `name` with the inputs first, then the arguments: those in `positional` by position."""

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        given: list[Expression] = list(inputs)
        for label, text in arguments.items():
            if text is not None:
                given.append(text if label in positional else Keyword(label, text))
        return Call(name, tuple(given))

    return apply
