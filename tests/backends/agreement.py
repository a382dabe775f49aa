"""Is a network the same on every backend? Its weights, what is right, and what the backends find.

What is right: PyTorch in float64, in evaluation mode by the rules of reference.py, which know nothing of the generated
source; in training mode by the generated module, which is compared with them in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archlang import weights as weights_module
from archlang.backends.keras import generate
from archlang.ir import Graph, Node
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear
from archlang.ops.norm import BatchNorm, LayerNorm
from tests.backends import reference
from tests.backends.keras_run import Found, Job, KerasProcess, run_job
from tests.backends.test_agreement import loaded_module, run_litert, run_onnx

Arrays = dict[str, NDArray[Any]]

# ---- weights ---------------------------------------------------------------------------------------------------------


def balanced(graph: Graph, inputs: list[NDArray[Any]]) -> Arrays:
    """Random weights with which no value of the network explodes or dies: each matrix and kernel is scaled so that
    what it makes of the inputs has deviation 1 (Mishkin and Matas, arXiv:1511.06422). Biases and BatchNorm's statistics
    stay as drawn."""
    weights = weights_module.random(graph, 3)
    fed, values = iter(inputs), list[Tensor]()
    with torch.no_grad():
        for node in graph.nodes:
            read = [values[i] for i in node.inputs]
            values.append(_balanced(node, weights, read) if read else torch.from_numpy(next(fed)))
    return weights


def _balanced(node: Node, weights: Arrays, inputs: list[Tensor]) -> Tensor:
    def param(local: str) -> Tensor:
        return torch.from_numpy(weights[f"{node.name}.{local}"])

    rule = reference.RULES[type(node.op)]
    if isinstance(node.op, Conv2d | ConvTranspose2d | Linear):
        deviation = float(rule(replace(node.op, bias=False), param, inputs).std(correction=0))
        weights[f"{node.name}.weight"] /= np.float32(max(deviation, 1e-3))
    return rule(node.op, param, inputs)


def is_conditioned(graph: Graph, weights: Mapping[str, Any], inputs: list[NDArray[Any]]) -> bool:
    """Whether no LayerNorm has nearly equal features: x * g + (b - mean * g), as Keras has it, cancels then."""
    values = reference.trace(graph, weights, *inputs, dtype=torch.float64)
    normed = [(node.op, values[node.inputs[0]]) for node in graph.nodes if isinstance(node.op, LayerNorm)]
    axes = [(op, x, 1 if x.ndim == 4 else -1) for op, x in normed]
    return all((np.abs(x.mean(axis)) <= 10 * np.sqrt(x.var(axis) + op.eps)).all() for op, x, axis in axes)


# ---- what is right, and what is found --------------------------------------------------------------------------------

DTYPES = (torch.float64, torch.float32)

DOUBLE = 1e-6
"""How much less float64 is off than float32, at the least: it has 29 bits more."""


@dataclass(frozen=True)
class Right:
    """Values in float64 and, beside them, the same in PyTorch's float32, which is off by as much as rounding makes."""

    exact: Arrays
    single: Arrays

    def excess(self, found: Mapping[str, NDArray[Any]], precision: float = 1.0) -> float:
        """The largest difference, as a share of what is allowed."""
        assert set(found) == set(self.exact)
        return max((self._difference(name, found[name]) / self._bound(name, precision) for name in found), default=0.0)

    def relative(self, found: Mapping[str, NDArray[Any]]) -> float:
        """The largest difference, as a share of the output's largest value."""
        return max(
            (self._difference(name, found[name]) / np.abs(self.exact[name]).max() for name in found), default=0.0
        )

    def only(self, names: list[str], samples: int | None = None) -> Right:
        exact, single = ({name: values[name][:samples] for name in names} for values in (self.exact, self.single))
        return Right(exact, single)

    def assert_telling(self) -> None:
        """The values are neither nothing nor the same whatever the image is: images change them by a hundred times the
        least that is found (the joins of FractalNet, means of many paths, leave no more)."""
        for name, y in self.exact.items():
            assert np.isfinite(y).all(), name
            assert np.ptp(y, axis=0).max() > 1e-3 * np.abs(y).max() > 1e-6, name

    def _difference(self, name: str, found: NDArray[Any]) -> float:
        assert found.shape == self.exact[name].shape, name
        assert np.isfinite(found).all(), name
        return float(np.abs(found - self.exact[name]).max())

    def _bound(self, name: str, precision: float) -> float:
        """Thirty times PyTorch's own rounding, which says how ill-conditioned the network is, and 1e-5 of the largest
        value (of 0.001 where all are smaller): sums in another order, and BatchNorms that are folded."""
        wanted = self.exact[name]
        rounding = float(np.abs(self.single[name] - wanted).max())
        return precision * (30 * rounding + 1e-5 * max(1e-3, float(np.abs(wanted).max())))


@dataclass(frozen=True)
class Case:
    """A net with its weights and images, which all backends share."""

    graph: Graph

    @cached_property
    def batch(self) -> int:
        """So many images that a BatchNorm has something to average where maps have become a single value."""
        return 4 if any(isinstance(node.op, BatchNorm) for node in self.graph.nodes) else 2

    @cached_property
    def inputs(self) -> list[NDArray[Any]]:
        generator = np.random.default_rng(5)
        shapes = [self.graph.nodes[i].type.shape for i in self.graph.inputs]
        return [generator.normal(0.2, 1.3, (self.batch, *shape)).astype(np.float32) for shape in shapes]

    @cached_property
    def weights(self) -> Arrays:
        return balanced(self.graph, self.inputs)

    @cached_property
    def main(self) -> list[str]:
        return [output.name for output in self.graph.outputs if not output.aux]

    @cached_property
    def names(self) -> list[str]:
        """Of the outputs, the auxiliary ones last."""
        return [*self.main, *(output.name for output in self.graph.outputs if output.aux)]

    def job(self, training: bool) -> Job:
        """For Keras; in training mode too where the generated PyTorch is there to be compared with."""
        return Job(generate(self.graph), self.weights, self.inputs, self.names != self.main, training)

    @cached_property
    def evaluated(self) -> Right:
        return Right(*(reference.run(self.graph, self.weights, *self.inputs, dtype=dtype) for dtype in DTYPES))

    @cached_property
    def trained(self) -> Right:
        """The generated module in training mode: outputs, and BatchNorm's statistics after it."""
        return Right(*(self._trained(dtype) for dtype in DTYPES))

    @cached_property
    def module(self) -> nn.Module:
        return _without_chance(loaded_module(self.graph, self.weights))

    def pytorch(self, dtype: torch.dtype) -> Arrays:
        """What the generated module computes in evaluation mode."""
        self._reset()
        return _run(self.module.eval(), self.inputs, dtype, self.main)

    def _trained(self, dtype: torch.dtype) -> Arrays:
        self._reset()
        outputs = _run(self.module.train(), self.inputs, dtype, self.names)
        return {**outputs, **self._statistics()}

    @cached_property
    def cancelled(self) -> float:
        """How large a part of its variance the rounding of a squared mean is, in float32, where a BatchNorm sees the
        batch: of the channel where that is most."""
        found = [0.0]

        def look(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
            mean, variance = inputs[0].mean(axes), inputs[0].var(axes, unbiased=False)
            found.append(float((mean**2 / variance.clamp_min(1e-12)).max()))

        norms = [module for module in self.module.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        hooks = [module.register_forward_pre_hook(look) for module in norms]
        self._trained(torch.float64)
        for hook in hooks:
            hook.remove()
        return max(found) * float(np.finfo(np.float32).eps)

    def _reset(self) -> None:
        state = {name: torch.from_numpy(array) for name, array in self.weights.items()}
        self.module.load_state_dict(state, strict=False)

    def _statistics(self) -> Arrays:
        """BatchNorm's after training, as Keras has them: its new variance is that of the batch, PyTorch's that of the
        population, n / (n - 1) as much."""
        state = {name: value.numpy().copy() for name, value in self.module.state_dict().items()}
        found = {name: value for name, value in state.items() if name.endswith(".running_mean")}
        for node, types in self.graph.modules():
            if isinstance(node.op, BatchNorm):
                name, kept = f"{node.name}.running_var", 1 - node.op.momentum
                count = self.batch * types[0].size // types[0].channels
                added = state[name] - kept * self.weights[name]
                found[name] = kept * self.weights[name] + added * (count - 1) / count
        return found


def _without_chance(module: nn.Module) -> nn.Module:
    """Nothing is dropped in training."""
    for layer in module.modules():
        for attribute in ("p", "single_column"):
            if hasattr(layer, attribute):
                setattr(layer, attribute, 0.0)
    return module


def _run(module: nn.Module, inputs: list[NDArray[Any]], dtype: torch.dtype, names: list[str]) -> Arrays:
    with torch.no_grad():
        results = module.to(dtype)(*(torch.from_numpy(x).to(dtype) for x in inputs))
    found = results if isinstance(results, tuple) else (results,)
    return {name: y.numpy() for name, y in zip(names, found, strict=True)}


# ---- the backends ----------------------------------------------------------------------------------------------------

RUNNERS = {"onnx": run_onnx, "tflite": run_litert}
"""How a network is run in evaluation mode by what has no training mode."""

ALL = ("pytorch", *RUNNERS, "keras")

Comparison = tuple[str, Right, Arrays]
"""What is compared, the values that are right, and those that were found."""


def assert_agree(
    case: Case, others: Mapping[str, KerasProcess] = MappingProxyType({}), backends: Sequence[str] = ALL
) -> None:
    """Of the named backends; where Keras is one, on PyTorch and on those of `others`."""
    if "pytorch" in backends:
        assert case.evaluated.only(case.main).excess(case.pytorch(torch.float64), DOUBLE) <= 1
    wrong = {
        what: right.excess(found, _precision(what, case)) for what, right, found in compared(case, others, backends)
    }
    assert max(wrong.values()) <= 1, wrong


def _precision(what: str, case: Case) -> float:
    """Keras takes a batch's variance as the mean square less the squared mean (`keras.ops.moments`), which costs as
    much as the squared mean is larger: a BatchNorm of a few nearly equal values has a variance of few digits there.

    TensorFlow's sigmoid is off by up to six units in the last place and by 0.2 on the average, so that errors add up
    over the swishes of a network (160 in EfficientNet-B7); PyTorch's is off by two, to both sides alike."""
    own = 4.0 if "tensorflow" in what else 1.0
    return max(own, case.cancelled / 1e-5) if what.endswith("training") else own


def compared(case: Case, others: Mapping[str, KerasProcess], backends: Sequence[str] = ALL) -> Iterator[Comparison]:
    """Keras' other processes work while this one does."""
    if "keras" not in backends:
        yield from _in_evaluation_mode(case, backends)
        return
    job = case.job(training="pytorch" in backends)
    for process in others.values():
        process.start(job)
    yield from _in_evaluation_mode(case, backends)
    yield from _keras(case, "torch", run_job(job))
    for name, process in others.items():
        yield from _keras(case, name, process.finish())


def _in_evaluation_mode(case: Case, backends: Sequence[str]) -> Iterator[Comparison]:
    right, two = case.evaluated.only(case.main), case.evaluated.only(case.main, 2)
    if "pytorch" in backends:
        yield "pytorch", right, case.pytorch(torch.float32)
    for name, run in RUNNERS.items():
        if name in backends:
            yield name, two, run(case.graph, case.weights, [x[:2] for x in case.inputs])


def _keras(case: Case, backend: str, found: Found) -> Iterator[Comparison]:
    yield f"keras on {backend}", case.evaluated, dict(zip(case.names, found.evaluated, strict=True))
    if found.trained:
        trained = dict(zip(case.names, found.trained, strict=True))
        yield f"keras on {backend}, training", case.trained, {**trained, **found.statistics}
