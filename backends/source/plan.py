"""What is known of a class before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from archlang.backends.source.body import Body
from archlang.backends.source.embedding import Embedding
from archlang.backends.source.formulas import Formula
from archlang.backends.source.parameters import Parameter
from archlang.backends.source.regions import Region

Slot = tuple[str | int, ...]
"""Where an argument stands: (attribute, position, ...) in the constructor, (item number, name) in forward."""


@dataclass(frozen=True)
class Option:
    """A part of the body that some instances leave out.

    condition: whether it is there, in the constructor. items: the host's items. flag: the attribute of `self` that
    forward asks: a bool, or, where the part has modules with parameters, the first of them, which is None.
    as_identity: nn.Identity stands in its place, and forward need not know.
    """

    condition: Formula
    items: tuple[int, ...]
    flag: str
    flag_is_module: bool = False
    as_identity: bool = False

    @property
    def test(self) -> str:
        return f"self.{self.flag} is not None" if self.flag_is_module else f"self.{self.flag}"


@dataclass(frozen=True)
class ClassPlan:
    """A class to be written.

    formulas: slot -> its expression, None where the argument is left out.
    bypassed: optional item -> the input that stands in its place.
    """

    name: str
    region: Region
    body: Body
    parameters: tuple[Parameter, ...]
    locals: Mapping[str, Formula]
    formulas: Mapping[Slot, Formula | None]
    options: tuple[Option, ...] = ()
    bypassed: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Instance:
    """A region, and how its body is the class's body with parts left out."""

    region: Region
    body: Body
    embedding: Embedding
