"""How much deeper, wider and finer: multipliers of a network's three dimensions, and which of them to try."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archlang.errors import fail

DIMENSIONS = ("depth", "width", "resolution")

MOST = 16.0
"""A coefficient beyond this is a slip of the pen."""


@dataclass(frozen=True)
class Scales:
    """Multipliers of the depth (repeats), the width (channels) and the resolution (pixels a side) of a network."""

    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0

    def power(self, exponent: float) -> Scales:
        """Each to the power of the exponent."""
        return Scales(self.depth**exponent, self.width**exponent, self.resolution**exponent)

    def times(self, other: Scales) -> Scales:
        """Each multiplied by the other's."""
        return Scales(self.depth * other.depth, self.width * other.width, self.resolution * other.resolution)

    @property
    def work(self) -> float:
        """By how much the work of convolutions grows (arXiv:1905.11946, equation 3)."""
        return self.depth * self.width**2 * self.resolution**2

    @property
    def grown(self) -> tuple[str, ...]:
        """The dimensions that change."""
        return tuple(name for name in DIMENSIONS if getattr(self, name) != 1)

    def as_json(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in DIMENSIONS}

    def __str__(self) -> str:
        return ", ".join(f"{name} {getattr(self, name):.4g}" for name in DIMENSIONS)


EFFICIENTNET = Scales(1.2, 1.1, 1.15)
"""What a grid search around EfficientNet-B0 found (arXiv:1905.11946, section 3.3)."""

METHODS: Mapping[str, Scales] = {
    "depth": Scales(depth=2.0),
    "width": Scales(width=math.sqrt(2)),
    "resolution": Scales(resolution=math.sqrt(2)),
    "compound": EFFICIENTNET,
}
"""The ways to twice the work that the paper compares: one dimension alone, or all in balance."""


def checked(scales: Scales) -> Scales:
    """The coefficients. Raises ArchError E1401 where they make a network smaller, or leave it as it is."""
    for name, value in scales.as_json().items():
        if not 1 <= value <= MOST:
            raise fail(
                "E1401",
                f"a coefficient of {name} cannot be {value:g}",
                help=f"from 1, which leaves the {name} as it is, to {MOST:g}; EfficientNet's are {EFFICIENTNET}",
            )
    if not scales.grown:
        raise fail("E1401", "with all coefficients 1 nothing grows", help=f"EfficientNet's are {EFFICIENTNET}")
    return scales


def grid(step: float = 0.05, tolerance: float = 0.05, scaled: tuple[str, ...] = DIMENSIONS) -> list[Scales]:
    """The coefficients in steps whose work is 2 within the tolerance. scaled: the other dimensions stay as they are.

    Raises ArchError E1402 where there are none.
    """
    found = [scales for scales in _all(step, scaled) if abs(scales.work / 2 - 1) <= tolerance + 1e-9]
    if not found:
        raise fail(
            "E1402",
            f"no coefficients in steps of {step:g} have depth * width**2 * resolution**2 within {tolerance:.0%} of 2",
            help="a smaller --step, or a larger --tolerance",
        )
    return found


def _all(step: float, scaled: tuple[str, ...]) -> Iterator[Scales]:
    ends = {"depth": 2.0, "width": math.sqrt(2), "resolution": math.sqrt(2)}
    values = {name: _values(step, ends[name] * 1.1 if name in scaled else 1.0) for name in DIMENSIONS}
    for depth in values["depth"]:
        for width in values["width"]:
            for resolution in values["resolution"]:
                yield Scales(depth, width, resolution)


def _values(step: float, end: float) -> list[float]:
    return [round(1 + i * step, 6) for i in range(math.floor((end - 1) / step + 1e-9) + 1)]
