"""The quantize pass for TFLite: what `archlang.quantize` offers, done to a network on its way to integers.

weights --equalize--> float model --ranges, bias correction, floats kept--> integers, and the report on them
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from archlang import calibration
from archlang.backend import Request
from archlang.backends.tflite import bias, measure, schema
from archlang.backends.tflite.bias import Means
from archlang.backends.tflite.calibrate import observed
from archlang.backends.tflite.estimate import estimated
from archlang.backends.tflite.execution import Run
from archlang.backends.tflite.integer import to_integers
from archlang.backends.tflite.lowering import lower
from archlang.backends.tflite.model import Model
from archlang.backends.tflite.specification import SHARED, Scheme
from archlang.errors import fail
from archlang.ir.graph import Graph
from archlang.quantize import qat, scale, sensitivity
from archlang.quantize.calibrate import channels
from archlang.quantize.equalize import chains, equalized
from archlang.quantize.options import Range, Samples, matching
from archlang.quantize.report import Report
from archlang.weights import Weights

GAINS = 8
"""Layers of which the report measures what floats would gain: the worst ones."""


@dataclass(frozen=True)
class Job:
    """graph: as it was lowered; plain: after the passes. weights: those asked for, or fresh ones."""

    graph: Graph
    plain: Graph
    weights: Weights
    request: Request


@dataclass(frozen=True)
class Quantized:
    """weights: equalised ones, with which the network computes what it did."""

    integers: Model
    weights: Weights
    warnings: tuple[str, ...]
    report: Report | None


def quantized(job: Job, scheme: Scheme, prepare: Callable[[Model], Model]) -> Quantized:
    """The network in integers. prepare: makes a float model one that the scheme's kernels know.

    Raises ArchError where the calibration inputs do not fit, or where an option needs them and there are none.
    """
    return _Tuning(job, scheme, prepare).run()


class _Tuning:
    def __init__(self, job: Job, scheme: Scheme, prepare: Callable[[Model], Model]) -> None:
        self.graph, self.plain, self.weights, self.request = job.graph, job.plain, job.weights, job.request
        self.scheme, self.prepare = scheme, prepare
        self.options, self.told = self.request.quantization, self.request.told
        self.trials = 0
        """Quantized networks that were measured."""
        self.notes: list[str] = []
        self.samples = self._samples()

    def run(self) -> Quantized:
        if self.options.equalize:
            self._equalize()
        self.model = self.prepare(lower(self.plain, self.weights))
        self.ranges, self.means = self._seen()
        kept = self._kept()
        integers = self.integers(kept)
        report = self._report(kept, integers) if self.options.report else None
        return Quantized(integers, self.weights, tuple(self.notes), report)

    def integers(self, kept: frozenset[str]) -> Model:
        return to_integers(_precise(self.model, kept), self.ranges, self.scheme, self.request.io == "float", self.means)

    # ---- inputs ----

    def _samples(self) -> Samples | None:
        if self.request.calibration is not None:
            samples = calibration.checked(self.graph, self.request.calibration)
            _check_varied(self.graph, samples)
            self.notes += scale.suspicion(self.graph, self.request.weights, samples)
            return samples
        wanted = {
            "--bias-correction": bool(self.options.bias_correction),
            "--float auto": self.options.budget is not None,
            "--report": self.options.report,
        }
        needed = next((option for option, given in wanted.items() if given), None)
        if needed is not None:
            message = f"`{needed}` looks at values of the network, so it needs inputs"
            raise fail("E0822", message, help="pass --calibration")
        return None

    @property
    def inputs(self) -> Samples:
        assert self.samples is not None, "checked before"
        return self.samples

    # ---- steps ----

    def _equalize(self) -> None:
        largest = None
        if self.samples is not None:
            before = lower(self.plain, self.weights)
            names = {self.plain.nodes[chain.producer].name for chain in chains(self.plain)}
            shown = {name: x for name, x in _computed(before).items() if name in names}
            found = channels(Run(before, shown), self.samples, self.told) if shown else {}
            largest = {name: values.largest for name, values in found.items()}
        result = equalized(self.plain, self.weights, largest)
        self.weights = result.weights
        if result.skipped:
            layers = f"{len(result.skipped)} layers before relu6"
            self.notes.append(f"{layers} were not equalised: only calibration inputs tell which channels it cuts")

    def _seen(self) -> tuple[dict[int, Range], Means]:
        """The ranges as seen on the calibration inputs, else plausible ones; those learnt in training before both. And
        the means for correcting biases, none where they stay as they are."""
        learnt = self._learnt()
        every = bool(self.options.keep_float or self.options.budget or self.options.report)
        if self.samples is not None:
            averaged = bias.inputs(self.model) if self._corrects() else None
            seen = observed(self.model, self.samples, self.options.tuning, every, averaged, self.told)
            return {**seen.ranges, **learnt}, bias.means(self.model, seen.means) if averaged else {}
        learnt = {**_cut_at_six(self.model), **learnt} if self.options.ranges else {}
        qat.check_complete(self.options.ranges, _unknown(self.model, self.scheme, learnt))
        return {**estimated(self.model), **learnt}, {}

    def _corrects(self) -> bool:
        """Whether biases take back what rounded weights add."""
        asked = self.options.bias_correction
        return not self.options.ranges if asked is None else asked

    def _learnt(self) -> dict[int, Range]:
        """The ranges from training, by tensor: of an op that is rounded behind, and of all that is fused with it."""
        tensors = {**_computed(self.model), **dict(self.model.inputs)}
        names = {qat.range_name(part.name): node.name for node in self.plain.nodes for part in (node, *node.fused)}
        known = {names[name]: range_ for name, range_ in self.options.ranges.items() if name in names}
        return _before_joins(self.model, {tensors[name]: range_ for name, range_ in known.items() if name in tensors})

    def _kept(self) -> frozenset[str]:
        named = matching(self.options.keep_float, [node.name for node in self.plain.nodes])
        if self.options.budget is None:
            return named
        rows = measure.layers(self.model, self.integers(named), self.ranges, self.inputs, self.told)
        ranked = [layer.name for layer in sorted(rows, key=lambda layer: layer.own_snr) if layer.weight_snr is not None]
        found = sensitivity.chosen(self._output_snr, ranked, self.options.budget, named)
        added = [name for name in ranked if name in found - named]
        names = ", ".join(f"`{name}`" for name in added)
        self.notes.append(f"kept in floats: {names}" if added else "no layer had to be kept in floats")
        return found

    def _output_snr(self, kept: frozenset[str]) -> float:
        self.told("measuring with layers in floats", self.trials, 0)
        self.trials += 1
        return min(self.output_noise(self.integers(kept)).values())

    @cached_property
    def output_noise(self) -> Callable[[Model], dict[str, float]]:
        return measure.output_noise(self.model, self.inputs)

    def _report(self, kept: frozenset[str], integers: Model) -> Report:
        rows = measure.layers(self.model, integers, self.ranges, self.inputs, self.told)
        worst = sorted((row for row in rows if not row.kept), key=lambda row: row.own_snr)[:GAINS]
        gains = sensitivity.gains(self._output_snr, [row.name for row in worst], kept)
        rows = [replace(row, gain=gains.get(row.name)) for row in rows]
        count = min(measure.SAMPLES, len(next(iter(self.inputs.values()))))
        return Report(
            self.graph.name,
            self.request.quantize,
            str(self.options.tuning),
            count,
            self.output_noise(integers),
            tuple(rows),
            tuple(self.notes),
        )


def _check_varied(graph: Graph, samples: Samples) -> None:
    for i in graph.inputs:
        node = graph.nodes[i]
        array = samples[node.name]
        if array.min() == array.max():
            message = f"the calibration inputs are all {array.min() + 0.0:g}, which tells nothing about ranges"
            raise fail("E0811", message, node.span, help="pass some dozen inputs as the network will see them")


def _computed(model: Model) -> dict[str, int]:
    return {model.tensors[op.output].name: op.output for op in model.operators}


def _precise(model: Model, kept: frozenset[str]) -> Model:
    """The model whose operators of these layers keep floats."""
    if not kept:
        return model
    operators = tuple(replace(op, precise=op.precise or op.node.name in kept) for op in model.operators)
    return replace(model, operators=operators)


def _before_joins(model: Model, ranges: dict[int, Range]) -> dict[int, Range]:
    """With those of values that training rounded behind a concatenation alone: its scale is theirs."""
    for op in reversed(model.operators):
        if op.kind is schema.CONCATENATION and op.output in ranges:
            ranges = {**dict.fromkeys(op.inputs, ranges[op.output]), **ranges}
    return ranges


def _cut_at_six(model: Model) -> dict[int, Range]:
    """Values that relu6 cuts, inside a hard sigmoid among them."""
    made = (op for op in model.operators if op.options.get("activation") == schema.Activation.RELU6)
    return {op.output: (0.0, 6.0) for op in made}


def _unknown(model: Model, scheme: Scheme, learnt: Mapping[int, Range]) -> list[str]:
    """Values inside layers whose range neither training nor the specification tells."""
    known = SHARED | scheme.fixed.keys()
    asked = [op.output for op in model.operators if not op.precise and op.kind.name not in known]
    return [model.tensors[x].name for x in asked if x not in learnt]
