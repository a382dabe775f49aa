"""What the arguments of a strategy may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Kind:
    """A `number` from `least` to `most`; above: `least` itself is too small. needed: that, for people."""

    number: type[int] | type[float]
    least: float
    most: float
    needed: str
    above: bool = False

    def holds(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | self.number) or not math.isfinite(value):
            return False
        return self.least <= value <= self.most and not (self.above and value == self.least)


Count = Annotated[int, Kind(int, 1, math.inf, "a whole number from 1")]
Several = Annotated[int, Kind(int, 2, math.inf, "a whole number from 2")]
Share = Annotated[float, Kind(float, 0, 1, "a number from 0 to 1")]
Positive = Annotated[float, Kind(float, 0, math.inf, "a number above 0", above=True)]
Nonnegative = Annotated[float, Kind(float, 0, math.inf, "a number from 0")]
