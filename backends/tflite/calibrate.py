"""Ranges of the tensors of a Model, seen while it runs on calibration inputs."""

from __future__ import annotations

from archlang.backends.tflite.execution import Run
from archlang.backends.tflite.model import Model
from archlang.backends.tflite.specification import INT8_SCHEME, SHARED
from archlang.quantize import calibrate
from archlang.quantize.options import Range, Samples, Tuning


def observed(model: Model, samples: Samples, tuning: Tuning, every: bool = False) -> dict[int, Range]:
    """A range for every tensor whose range quantization asks for; every: for all that operators make.

    Raises ArchError, at the op in the source and naming the sample, where a value is not finite.
    """
    shown = _of_interest(model, every)
    places = {op.node.name: op.node.span for op in model.operators}
    found = calibrate.observed(Run(model, shown), samples, tuning, places)
    return {shown[name]: range_ for name, range_ in found.items()}


def _of_interest(model: Model, every: bool) -> dict[str, int]:
    """The inputs, and what operators make that neither keep their inputs' range nor have one that is fixed."""
    known = frozenset() if every else SHARED | INT8_SCHEME.fixed.keys()
    made = [op.output for op in model.operators if op.precise or op.kind.name not in known]
    return {model.tensors[x].name: x for x in (*(x for _, x in model.inputs), *made)}
