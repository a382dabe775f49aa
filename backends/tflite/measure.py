"""The float and the quantized model side by side, on the same inputs: what the report is made of.

Values of the quantized network are those of the very file, run by the runtime with its tensors shown. What the weights
of one layer alone do is seen in the float model: each weighted operator gets a twin there, with the same inputs and the
weights that the integers stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.execution import Run, real, stored
from archlang.backends.tflite.model import FLOAT, Model, Operator, Tensor
from archlang.backends.tflite.specification import SHARED, WEIGHTED
from archlang.quantize.calibrate import count, each
from archlang.quantize.options import Range, Samples, Told, silent
from archlang.quantize.report import Layer, Noise

SAMPLES = 8
"""Calibration inputs that the report looks at."""

_TWIN = "twin of "
_OUTPUT = "output "


def layers(
    model: Model, integers: Model, ranges: Mapping[int, Range], samples: Samples, told: Told = silent
) -> list[Layer]:
    """A row for each node of the network that has operators of its own. model: float32; its tensors and those of the
    quantized `integers` have the same numbers."""
    noises = _Noises(model, integers)
    paired, twins = _with_twins(model, integers)
    floats = Run(paired, {**_shown(model), **twins})
    quantized = Run(integers, _shown(model))
    for number, sample in enumerate(each(samples, SAMPLES)):
        told("measuring layers", number, min(SAMPLES, count(samples)))
        wanted: dict[str, NDArray[np.float32]] = {}
        floats.run(sample, partial(noises.see, wanted))
        quantized.run(sample, partial(noises.compare, wanted))
    return noises.rows(ranges)


def output_noise(model: Model, samples: Samples) -> Callable[[Model], dict[str, float]]:
    """A function of a quantized model that gives the signal-to-noise ratio of each output, in decibels, against the
    float model's, which is run once."""
    shown = Run(model, {_OUTPUT + name: x for name, x in model.outputs})
    wanted: list[dict[str, NDArray[np.float32]]] = []
    for sample in each(samples, SAMPLES):
        wanted.append({})
        shown.run(sample, lambda name, values: wanted[-1].__setitem__(name, values.copy()))

    def measured(integers: Model) -> dict[str, float]:
        noises = {_OUTPUT + name: Noise() for name, _ in model.outputs}
        run = Run(integers, {_OUTPUT + name: x for name, x in integers.outputs})
        for sample, right in zip(each(samples, SAMPLES), wanted, strict=True):
            run.run(sample, lambda name, values, of=right: noises[name].add(of[name], values))  # type: ignore[misc]
        return {name.removeprefix(_OUTPUT): noise.snr for name, noise in noises.items()}

    return measured


def _values(model: Model) -> list[Operator]:
    """Operators that make new values: all but those that only move, pool or pad."""
    return [op for op in model.operators if op.kind.name not in SHARED]


def _shown(model: Model) -> dict[str, int]:
    return {model.tensors[op.output].name: op.output for op in _values(model)}


def _with_twins(model: Model, integers: Model) -> tuple[Model, dict[str, int]]:
    """The float model with a twin beside each weighted operator, and the tensors that the twins make by name."""
    tensors, operators, shown = list(model.tensors), list(model.operators), dict[str, int]()
    for op in model.operators:
        if op.kind.name not in WEIGHTED or integers.tensors[op.inputs[1]].dtype == FLOAT:
            continue
        constants = [integers.tensors[x] for x in op.inputs[1:]]
        tensors += [Tensor(f"{c.name}/twin", c.shape, FLOAT, dequantized(c)) for c in constants]
        inputs = (op.inputs[0], *range(len(tensors) - len(constants), len(tensors)))
        tensors += [replace(tensors[op.output], name=f"{tensors[op.output].name}/twin")]
        operators.append(replace(op, inputs=inputs, output=len(tensors) - 1))
        shown[_TWIN + model.tensors[op.output].name] = len(tensors) - 1
    return replace(model, tensors=tuple(tensors), operators=tuple(operators)), shown


def dequantized(constant: Tensor) -> NDArray[np.float32]:
    """The numbers that the integers of a weight or a bias stand for."""
    assert constant.quantization is not None
    scale = constant.quantization.scale
    shape = [1] * constant.values.ndim
    shape[constant.quantization.axis] = len(scale)
    return np.asarray(constant.values * scale.reshape(shape), np.float32)


class _Noises:
    """Of every value that an operator makes, by the tensor's name: `whole` in the quantized network, `weights` of its
    weights alone, `activations` of its own rounding alone."""

    def __init__(self, model: Model, integers: Model) -> None:
        self.model, self.integers = model, integers
        self.numbers = _shown(model)
        names = list(self.numbers)
        self.whole = {name: Noise() for name in names}
        self.weights = {name: Noise() for name in names}
        self.activations = {name: Noise() for name in names}

    def see(self, wanted: dict[str, NDArray[np.float32]], name: str, values: NDArray[np.float32]) -> None:
        """The noise that a layer makes by itself: of a value in the float network, which is kept in `wanted`, or of its
        twin, which comes later and is not."""
        if name.startswith(_TWIN):
            original = name.removeprefix(_TWIN)
            self.weights[original].add(wanted[original], values)
            return
        wanted[name] = values.copy()
        tensor = self.integers.tensors[self.numbers[name]]
        if tensor.dtype != FLOAT:
            self.activations[name].add(values, real(stored(values, tensor), tensor))

    def compare(self, wanted: dict[str, NDArray[np.float32]], name: str, values: NDArray[np.float32]) -> None:
        """The noise of a value in the quantized network; its own in `wanted` is not needed any more."""
        self.whole[name].add(wanted.pop(name), values)

    def rows(self, ranges: Mapping[int, Range]) -> list[Layer]:
        groups: dict[str, list[Operator]] = {}
        for op in _values(self.model):
            groups.setdefault(op.node.name, []).append(op)
        return [self.row(ops, ranges) for ops in groups.values()]

    def row(self, ops: list[Operator], ranges: Mapping[int, Range]) -> Layer:
        """A node may be several operators: the worst of them counts."""
        names = [self.model.tensors[op.output].name for op in ops]
        last = ops[-1]
        kept = all(self.integers.tensors[op.output].dtype == FLOAT for op in ops)
        weighted = [name for name in names if self.weights[name].signal > 0]
        rounded = [name for name in names if self.integers.tensors[self.numbers[name]].dtype != FLOAT]
        return Layer(
            last.node.name,
            last.node.op.name,
            self.whole[names[-1]].snr,
            min((self.weights[name].snr for name in weighted), default=None),
            min((self.activations[name].snr for name in rounded), default=None),
            _size(self.integers, ops),
            _size(self.model, ops),
            ranges.get(last.output),
            kept=kept,
        )


def _size(model: Model, ops: list[Operator]) -> int:
    """Bytes of the weights and biases."""
    constants = {x for op in ops if op.kind.name in WEIGHTED for x in op.inputs[1:]}
    return sum(model.tensors[x].values.nbytes for x in constants)
