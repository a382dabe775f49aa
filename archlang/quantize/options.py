"""What quantization is asked for, and what it asks of a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from archlang.errors import fail, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Range = tuple[float, float]
"""Smallest and largest value of a tensor."""

Samples = Mapping[str, "NDArray[np.float32]"]
"""Inputs by the name of the network's input, batch first, channels first; all of one length."""

See = Callable[[str, "NDArray[np.float32]"], None]
"""see(name, values): called with a value of the network. The array is lent: copy what is to be kept."""


Told = Callable[[str, int, int], None]
"""told(what, done, total): called as a long computation goes on; a total of 0 is not known."""


def silent(what: str, done: int, total: int) -> None:
    """Tells nobody."""


class Executor(Protocol):
    """Runs a network. names: of the values that it shows; a layer's value is called like its node in the Graph."""

    @property
    def names(self) -> Sequence[str]: ...

    def run(self, sample: Samples, see: See) -> None:
        """Run one sample (arrays of batch 1) and show every value: images channels last, with their batch of 1."""
        ...


@dataclass(frozen=True)
class Tuning:
    """An observer and its parameter: `percentile=99.99`. None: the observer's own default."""

    observer: str = "min-max"
    parameter: float | None = None

    def __str__(self) -> str:
        return self.observer if self.parameter is None else f"{self.observer}={self.parameter:g}"


@dataclass(frozen=True)
class Budget:
    """How much may be left in floats without being named: so many `layers`, or as few as give the outputs a
    signal-to-noise ratio of `snr` decibels."""

    layers: int | None = None
    snr: float | None = None


@dataclass(frozen=True)
class Options:
    """What the quantize pass does, beside the mode.

    bias_correction: None is yes where there are calibration inputs and no ranges from training; in that, biases have
    learnt to live with the roundings. keep_float: dotted names of layers, with `*` and `?`, that stay in floats.
    budget: layers that are found.
    ranges: learnt in training, called as `qat.range_name` calls them; they go before all that is measured.
    report: whether to measure the quantized network against the float one.
    """

    tuning: Tuning = Tuning()
    equalize: bool = False
    bias_correction: bool | None = None
    keep_float: tuple[str, ...] = ()
    budget: Budget | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    report: bool = False


def matching(patterns: Sequence[str], names: Sequence[str]) -> frozenset[str]:
    """The names that a pattern fits, or that lie below one (`stage1` means `stage1.0.conv1` too).

    Raises ArchError where a pattern fits none.
    """
    found: set[str] = set()
    for pattern in patterns:
        fitting = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
        if not fitting:
            raise fail("E0821", f"there is no layer `{pattern}` to keep in floats", help=nearest(pattern, names))
        found.update(fitting)
    return frozenset(found)
