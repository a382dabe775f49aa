"""What calibration inputs show of a Model: the ranges of its tensors, and the means of what goes into its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.execution import Run
from archlang.backends.tflite.hybrid import hybrid
from archlang.backends.tflite.model import Model
from archlang.backends.tflite.schema import LOGISTIC, RELU, RELU6, SOFTMAX, Activation
from archlang.backends.tflite.specification import INT8_SCHEME, SHARED
from archlang.quantize import calibrate
from archlang.quantize.options import Range, Samples, Told, Tuning, silent

_SAME = 0.05
"""Of a range, how far its ends may be off where convolutions multiply in eight bits. They are off by 0.5 % as a rule,
and by 2 % at most in ResNet-50: as the integers that the ranges are for will be."""


@dataclass(frozen=True)
class Seen:
    """By tensor."""

    ranges: dict[int, Range]
    means: dict[int, NDArray[np.float64]]


def observed(
    model: Model,
    samples: Samples,
    tuning: Tuning,
    every: bool = False,
    averaged: Mapping[int, bool] | None = None,
    told: Told = silent,
) -> Seen:
    """A range for every tensor whose range quantization asks for; every: for all that operators make. averaged: the
    tensors whose mean is asked for, and whether over all positions.

    Raises ArchError, at the op in the source and naming the sample, where a value is not finite.
    """
    ranged = _of_interest(model, every)
    means = {model.tensors[x].name: flat for x, flat in (averaged or {}).items()}
    shown = ranged | {model.tensors[x].name: x for x in averaged or {}}
    places = {op.node.name: op.node.span for op in model.operators}
    wanted = calibrate.Wanted(ranged, _positive(model) & ranged.keys(), means)
    found = calibrate.observed(_run(model, shown, samples), samples, tuning, places, wanted, told)
    ranges = {shown[name]: range_ for name, range_ in found.ranges.items()}
    return Seen(ranges, {shown[name]: mean for name, mean in found.means.items()})


def _of_interest(model: Model, every: bool) -> dict[str, int]:
    """The inputs, and what operators make that neither keep their inputs' range nor have one that is fixed."""
    known = frozenset() if every else SHARED | INT8_SCHEME.fixed.keys()
    made = [op.output for op in model.operators if op.precise or op.kind.name not in known]
    return {model.tensors[x].name: x for x in (*(x for _, x in model.inputs), *made)}


def _positive(model: Model) -> set[str]:
    """Values that the operator which makes them cuts at zero."""
    cuts = (Activation.RELU, Activation.RELU6)
    made = (
        op.output
        for op in model.operators
        if op.kind in (RELU, RELU6, LOGISTIC, SOFTMAX) or op.options.get("activation") in cuts
    )
    return {model.tensors[x].name for x in made}


def _run(model: Model, shown: Mapping[str, int], samples: Samples) -> Run:
    """Of the model, or of one that is several times faster, where the first sample has the same ranges in both."""
    quick = hybrid(model, calibrate.count(samples))
    if quick is None:
        return Run(model, shown)
    first = next(calibrate.each(samples))
    exact = _ends(Run(model, shown), first)
    run = Run(quick, shown)
    return run if _are_near(exact, _ends(run, first)) else Run(model, shown)


def _ends(run: Run, sample: Samples) -> dict[str, Range]:
    found: dict[str, Range] = {}
    run.run(sample, lambda name, values: found.__setitem__(name, calibrate.ends(values)))
    return found


def _are_near(wanted: Mapping[str, Range], found: Mapping[str, Range]) -> bool:
    """Not where anything is not finite: then the exact network tells what."""
    low, high = np.array([*wanted.values()]).T
    found_low, found_high = np.array([*(found[name] for name in wanted)]).T
    with np.errstate(invalid="ignore"):
        off = np.maximum(np.abs(found_low - low), np.abs(found_high - high))
        return bool(np.all(off <= _SAME * (np.maximum(high, 0) - np.minimum(low, 0))))
