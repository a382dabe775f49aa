"""The check of a file between its writing and its renaming into place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archlang.backend import Artifact, Claim
from archlang.cost import cost
from archlang.errors import OutsideError, fail
from archlang.evaluate import evaluate, inputs_for, unknown
from archlang.ir.graph import Graph
from archlang.quantize.options import Told, silent
from archlang.runtimes import SUFFIXES, ModelFile, opened
from archlang.runtimes.model import Array
from archlang.verify.agreement import Agreement, agreement, worst
from archlang.verify.layers import Deviation, Tolerance, fed, followed, from_file
from archlang.weights import Weights

EXACT = 1e-4
"""The relative error up to which a float32 file is right. Rounding makes 1e-7 to 1e-5 of it (2e-6 in the worst network
of the zoo), what is wrong a percent and more; a network that rounds worse is known by its own difference between
float32 and float64."""

OWN_ROUNDING = 10.0
"""So many times that difference is rounding, too."""

LAYER = Tolerance(0.25, 2.0)
"""What one layer of a quantized file may lose. Eight bits lose 1 to 3 % of the deviation, ranges that cut values off
up to a tenth of it; what is wrong has little to do with what it should be, and differs by a third and more."""

FINE_DB = 40.0
"""The signal-to-noise ratio above which outputs are right without a look at the layers. Below it they are no proof: an
output may hardly depend on what a layer makes."""

POOR_DB = 10.0
"""The signal-to-noise ratio of the outputs of a quantized file under which it is worth a warning."""

SAMPLES, MACS = 4, 3e8
"""At most so many inputs, and so many that the float network takes this number of multiply-accumulates."""


@dataclass(frozen=True)
class Verdict:
    """What a check has found.

    status: `equal` (to float32 rounding), `near` (as far as quantization lets it), `runs` (it was run but not compared,
    since its scales or weights are not meant to be right), or `unchecked`. reason: of the last two, in a sentence.
    inputs: how many it was run on. agreement: of the output that differs most. layers: how many were compared one by
    one; worst_layer: how much the worst of them differs, by the deviation of its values. warning: empty, or what the
    user should know.
    """

    status: str
    reason: str = ""
    inputs: int = 0
    agreement: Agreement | None = None
    layers: int = 0
    worst_layer: float = 0.0
    warning: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "text": str(self)}

    def __str__(self) -> str:
        if self.agreement is None:
            return f"{'run once' if self.status == 'runs' else 'not checked'}: {self.reason}"
        difference = self.agreement
        found = f"{difference.relative:.0e} of relative error"
        if self.status == "near":
            found = f"{difference.snr_db:.1f} dB signal to noise, cosine {difference.cosine:.4f}"
        count = "1 input" if self.inputs == 1 else f"{self.inputs} inputs"
        return f"checked against the float network on {count}: {found}"


class Verification:
    """A check that is still to be made; called with the path of the file. `verdict`: what it has found."""

    def __init__(
        self, graph: Graph, claim: Claim, suffix: str, quantize: str, calibration: Any, told: Told = silent
    ) -> None:
        self.graph, self.claim, self.suffix, self.told = graph, claim, suffix, told
        self.mode, self.calibration = quantize, calibration
        self.verdict = Verdict("unchecked", "the file was not written")

    def __call__(self, file: Path) -> None:
        """Raises ArchError where the file does not run, or does not compute what the graph does."""
        start = time.perf_counter()
        try:
            model = opened(file, self.suffix)
            found = self.judged(model)
        except OutsideError as missing:
            found = Verdict("unchecked", str(missing))
        self.verdict = Verdict(**{**_fields(found), "seconds": round(time.perf_counter() - start, 4)})

    def judged(self, model: ModelFile) -> Verdict:
        weights, op = self.claim.weights, unknown(self.graph)
        if weights is None or op:
            self.results(model, inputs_for(self.graph))
            return Verdict("runs", f"`{op}` cannot be computed here" if op else _NOT_MEASURED, inputs=1)
        samples = self.samples()
        outputs = []
        for number, sample in enumerate(samples):
            self.told("checking the file", number, len(samples))
            outputs.append(evaluate(self.graph, weights, sample))
        if not all(np.isfinite(y).all() for output in outputs for y in output.values()):
            return _not_finite(len(samples))
        overall = self.compared(model, samples, outputs)
        judge = self.exact if self.mode == "none" else self.quantized
        return judge(model, weights, samples, overall)

    def samples(self) -> list[list[Array]]:
        """Inputs, each an array for every input of the graph: the first calibration inputs, or random ones."""
        count = int(max(1, min(SAMPLES, MACS // max(1, cost(self.graph).total.macs))))
        given = self.calibration
        if given is None:
            return [inputs_for(self.graph, seed) for seed in range(count)]
        names = [self.graph.nodes[i].name for i in self.graph.inputs]
        arrays = [given[name] for name in names] if isinstance(given, Mapping) else [given]
        return [[np.asarray(array[i], np.float32) for array in arrays] for i in range(min(count, len(arrays[0])))]

    def results(self, model: ModelFile, sample: Sequence[Array]) -> dict[str, Array]:
        """The file's outputs by name, in the graph's layout. Raises ArchError where names or shapes are not the
        graph's."""
        found = model.run(fed(self.graph, model, sample))
        named = {port.name: from_file(model, y) for port, y in zip(model.outputs, found, strict=True)}
        for output in self.graph.outputs:
            wanted = self.graph.nodes[output.value]
            if output.aux:
                continue
            if output.name not in named or named[output.name].shape != wanted.type.shape:
                message = f"has no output `{output.name}` of shape {wanted.type}"
                raise fail("E0815", f"the written file {message}", wanted.span, help=_REPORT)
        return named

    def compared(
        self, model: ModelFile, samples: Sequence[Sequence[Array]], outputs: Sequence[Mapping[str, Array]]
    ) -> Agreement:
        """Of the output that differs most."""
        found = [self.results(model, sample) for sample in samples]
        pairs = ((np.stack([y[name] for y in found]), np.stack([y[name] for y in outputs])) for name in outputs[0])
        return worst(agreement(x, y) for x, y in pairs)

    def exact(
        self, model: ModelFile, weights: Weights, samples: Sequence[Sequence[Array]], overall: Agreement
    ) -> Verdict:
        verdict = Verdict("equal", inputs=len(samples), agreement=overall)
        if overall.relative <= EXACT or overall.relative <= OWN_ROUNDING * self.rounding(weights, samples[0]):
            return verdict
        found = followed(self.graph, weights, model, samples[0], Tolerance(EXACT))
        raise _wrong(found.first, f"{overall.relative:.1g} of relative error at its outputs")

    def rounding(self, weights: Weights, sample: Sequence[Array]) -> float:
        """The relative difference between the network in float32 and in float64."""
        single = evaluate(self.graph, weights, sample)
        double = evaluate(self.graph, weights, sample, np.float64)
        return max(agreement(single[name][None], y[None]).relative for name, y in double.items())

    def quantized(
        self, model: ModelFile, weights: Weights, samples: Sequence[Sequence[Array]], overall: Agreement
    ) -> Verdict:
        layers, worst, cut = 0, 0.0, ""
        if self.claim.layered and (self.mode != "fp16" or overall.snr_db < FINE_DB):
            self.told("checking the layers", 0, 0)
            found = followed(self.graph, weights, model, samples[0], LAYER)
            if found.first and not self.claim.learnt:
                raise _wrong(found.first, _loss(overall))
            cut = _CUT.format(_deviating(found.first)) if found.first else ""
            layers, worst = found.compared, found.worst
        if not layers and overall.snr_db < 0:
            raise _wrong(None, _loss(overall))
        warning = cut or ("" if overall.snr_db >= POOR_DB else _POOR.format(_loss(overall)))
        return Verdict("near", "", len(samples), overall, layers, worst, warning)


_NOT_MEASURED = "its scales are plausible and not measured, so there is nothing to compare (pass calibration inputs)"
_POOR = (
    "the quantized outputs are far from those of the float network ({}), though every layer does what it should: "
    "calibrate with more inputs, or keep the worst layers in floats"
)
_CUT = (
    "{}: the range that training gave it cuts values off, or was never trained to the end; the file does what the "
    "network did in training, and not what it does without the roundings"
)
_REPORT = "this is a bug in archlang or in the runtime; --no-verify writes the file all the same"


def _loss(overall: Agreement) -> str:
    return f"{overall.snr_db:.1f} dB signal to noise, cosine {overall.cosine:.3f}"


def _not_finite(count: int) -> Verdict:
    """NaN or infinities in the float network: the file can only have the same."""
    reason = "the float network's own outputs are not finite"
    return Verdict("runs", reason, count, warning=f"{reason} on the inputs of the check: look at the weights")


def _wrong(found: Deviation | None, what: str) -> Exception:
    if found is None:
        return fail("E0815", f"the written file does not compute what the network does: {what}", help=_REPORT)
    message = f"the written file is wrong ({what}): {_deviating(found)}"
    return fail("E0815", message, found.node.span, help=_REPORT)


def _deviating(found: Deviation) -> str:
    share = f"{100 * found.share:.0f} %" if found.share < 100 else "many times"
    name = found.node.name
    return f"`{name}` is the first layer that is not what its inputs make: it differs by {share} of its deviation"


def _fields(verdict: Verdict) -> dict[str, Any]:
    return {name: getattr(verdict, name) for name in verdict.__dataclass_fields__}


def verification(
    graph: Graph,
    artifact: Artifact,
    suffix: str,
    quantize: str = "none",
    calibration: Any = None,
    told: Told = silent,
) -> Verification | None:
    """The check of a file with this suffix; None where there is nothing to check (generated source).

    quantize, calibration, told: what the artifact was compiled with (`backend.Request`).
    """
    if artifact.claim is None or suffix not in SUFFIXES:
        return None
    return Verification(graph, artifact.claim, suffix, quantize, calibration, told)
