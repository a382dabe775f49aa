"""Layers that many forms of a site share, in PyTorch. Each computes any of its forms with the part that it takes.

This module imports PyTorch: whoever needs it imports it in a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archlang.ir.graph import Graph, Node, Output
from archlang.ir.types import TensorType
from archlang.ops.activation import HardSigmoid, HardSwish, Relu, Relu6, Sigmoid, Swish
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add, Concat, Mul
from archlang.ops.norm import BatchNorm
from archlang.ops.pool import GlobalAvgPool
from archlang.ops.regularize import Dropout
from archlang.ops.shape import Flatten, Input
from archlang.supernet.sharing import Axis, Layout, Types, layout, part, shared_layouts
from archlang.supernet.union import Site

Arrays = Mapping[str, Tensor]
Statistics = dict[str, tuple[Tensor, Tensor]]
"""Site of a BatchNorm -> mean and variance of each channel."""


@dataclass
class Pass:
    """How a pass through the network is made. statistics: those of the active sub-network alone, where it has them.

    counted: while they are taken, how many images gave those of each site; None else.
    """

    training: bool
    statistics: Statistics = field(default_factory=dict)
    counted: dict[str, int] | None = None


class Elastic(nn.Module):
    """The shared arrays of a site. values: by their local names, in their largest shapes.

    transformed: whether smaller kernels come from larger ones through matrices (once-for-all, section 3.2): that of
    size b is the centre of the next larger kernel, flattened, times a matrix (b * b, b * b) that all channels share.
    """

    def __init__(self, site: Site, values: Arrays, trainable: Mapping[str, bool], transformed: bool) -> None:
        super().__init__()
        self.site = site.name
        self.layouts = shared_layouts(site)
        self.sizes = _square_kernels(site) if transformed else ()
        for local, value in values.items():
            _register(self, local, value, trainable[local])
        for large, small in pairwise(self.sizes):
            matrix = torch.eye(small * small)
            self.register_parameter(_matrix(large, small), nn.Parameter(matrix))

    def arrays(self, op: Op, inputs: Types) -> dict[str, Tensor]:
        """What one form takes."""
        wanted = {local: layout(op, inputs, local) for local in op.params(*inputs)}
        return {local: self._part(local, axes) for local, axes in wanted.items()}

    def _part(self, local: str, wanted: Layout) -> Tensor:
        whole: Tensor = _found(self, local)
        if local != "weight" or not self.sizes or wanted[-1].size == self.sizes[0]:
            taken: Tensor = part(whole, self.layouts[local], wanted)
            return taken
        largest = Axis((self.sizes[0],), True)
        kernel: Tensor = part(whole, self.layouts[local], (*wanted[:2], largest, largest))
        for large, small in pairwise(self.sizes):
            if large == wanted[-1].size:
                break
            kernel = _transformed(kernel, small, _found(self, _matrix(large, small)))
        return kernel

    def forward(self, op: Op, inputs: Types, xs: Sequence[Tensor], state: Pass) -> Tensor:
        arrays = self.arrays(op, inputs)
        if isinstance(op, BatchNorm):
            return _batch_norm(op, inputs[0], arrays, xs[0], self.site, state)
        return computed(op, inputs, arrays, xs, state)


def _matrix(large: int, small: int) -> str:
    return f"kernel_{large}to{small}"


def _square_kernels(site: Site) -> tuple[int, ...]:
    """The sizes of a site's kernels, the largest first; none where there is one, or some are not square."""
    if site.op is not Conv2d:
        return ()
    kernels = {variant.op.kernel for variant in site.variants if isinstance(variant.op, Conv2d)}
    square = all(height == width for height, width in kernels)
    return tuple(sorted({size for size, _ in kernels}, reverse=True)) if square and len(kernels) > 1 else ()


def _transformed(kernel: Tensor, size: int, matrix: Tensor) -> Tensor:
    """The centre of `size` of each kernel, as a row, times the matrix transposed."""
    start = (kernel.shape[-1] - size) // 2
    centre = kernel[:, :, start : start + size, start : start + size]
    return F.linear(centre.flatten(2), matrix).reshape(centre.shape)


def _register(module: nn.Module, name: str, value: Tensor, trainable: bool) -> None:
    """Put an array into a module under a name, dots in it being modules within."""
    *path, last = name.split(".")
    for step in path:
        if not hasattr(module, step):
            module.add_module(step, nn.Module())
        module = getattr(module, step)
    if trainable:
        module.register_parameter(last, nn.Parameter(value))
    else:
        module.register_buffer(last, value)


def _found(module: nn.Module, name: str) -> Any:
    for step in name.split("."):
        module = getattr(module, step)
    return module


# ---- what the ops compute --------------------------------------------------------------------------------------------


def computed(op: Op, inputs: Types, arrays: Arrays, xs: Sequence[Tensor], state: Pass) -> Tensor:
    """An op on tensors: directly where it is met often, else as the PyTorch backend writes it."""
    run = _DIRECT.get(type(op))
    return run(op, arrays, xs, state) if run else _written(op, inputs, arrays, xs, state)


def _conv(op: Conv2d, arrays: Arrays, xs: Sequence[Tensor], state: Pass) -> Tensor:
    (x,) = xs
    top, left, bottom, right = op.padding
    padding = (top, left)
    if (top, left) != (bottom, right):
        x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
    return F.conv2d(x, arrays["weight"], arrays.get("bias"), op.stride, padding, op.dilation, op.groups)


def _linear(op: Linear, arrays: Arrays, xs: Sequence[Tensor], state: Pass) -> Tensor:
    return F.linear(xs[0], arrays["weight"], arrays.get("bias"))


def _add(op: Add, arrays: Arrays, xs: Sequence[Tensor], state: Pass) -> Tensor:
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def _mul(op: Mul, arrays: Arrays, xs: Sequence[Tensor], state: Pass) -> Tensor:
    product = xs[0]
    for x in xs[1:]:
        product = product * x
    return product


def _concat(op: Concat, arrays: Arrays, xs: Sequence[Tensor], state: Pass) -> Tensor:
    return torch.cat(list(xs), 1 if xs[0].ndim == 4 or op.axis == "tokens" else -1)


def _global_average(op: GlobalAvgPool, arrays: Arrays, xs: Sequence[Tensor], state: Pass) -> Tensor:
    return xs[0].mean((2, 3), keepdim=True) if xs[0].ndim == 4 else xs[0].mean(1)


def _dropout(op: Dropout, arrays: Arrays, xs: Sequence[Tensor], state: Pass) -> Tensor:
    return F.dropout(xs[0], op.p, state.training)


Run = Callable[[Any, Arrays, Sequence[Tensor], Pass], Tensor]


def _elementwise(function: Callable[[Tensor], Tensor]) -> Run:
    return lambda op, arrays, xs, state: function(xs[0])


_DIRECT: dict[type[Op], Run] = {
    Conv2d: _conv,
    Linear: _linear,
    Add: _add,
    Mul: _mul,
    Concat: _concat,
    GlobalAvgPool: _global_average,
    Dropout: _dropout,
    Flatten: _elementwise(lambda x: x.flatten(1)),
    Relu: _elementwise(F.relu),
    Relu6: _elementwise(F.relu6),
    Sigmoid: _elementwise(torch.sigmoid),
    Swish: _elementwise(F.silu),
    HardSigmoid: _elementwise(F.hardsigmoid),
    HardSwish: _elementwise(F.hardswish),
}


def _batch_norm(op: BatchNorm, type_: TensorType, arrays: Arrays, x: Tensor, site: str, state: Pass) -> Tensor:
    """Features before tokens, as PyTorch wants them."""
    x = x.transpose(1, 2) if type_.is_sequence else x
    statistics: tuple[Tensor | None, Tensor | None] = arrays["running_mean"], arrays["running_var"]
    if state.counted is not None:
        _count(x, site, state)
        statistics = None, None
    elif not state.training:
        statistics = state.statistics.get(site, statistics)
    own = state.training or state.counted is not None
    y = F.batch_norm(x, *statistics, arrays["weight"], arrays["bias"], own, op.momentum, op.eps)
    return y.transpose(1, 2) if type_.is_sequence else y


def _count(x: Tensor, site: str, state: Pass) -> None:
    """Take the statistics of a batch into those of the images before it."""
    assert state.counted is not None
    axes = [0, *range(2, x.ndim)]
    count, size = state.counted.get(site, 0), len(x)
    new = x.mean(axes), x.var(axes, unbiased=x.numel() > x.shape[1])
    if count:
        share = size / (count + size)
        old = state.statistics[site]
        new = old[0].lerp(new[0], share), old[1].lerp(new[1], share)
    state.statistics[site], state.counted[site] = (new[0].detach(), new[1].detach()), count + size


def _written(op: Op, inputs: Types, arrays: Arrays, xs: Sequence[Tensor], state: Pass) -> Tensor:
    module = _alone(op, tuple(inputs))
    module.train(state.training)
    named = {f"step.{local}": array for local, array in arrays.items()}
    y: Tensor = torch.func.functional_call(module, named, tuple(xs))
    return y


@lru_cache(maxsize=4096)
def _alone(op: Op, inputs: tuple[TensorType, ...]) -> nn.Module:
    """A network of the op alone, from generated source."""
    from archlang.backends.pytorch import build_module, generate

    nodes = [Node(Input(type_.shape), (), type_, f"input{i}") for i, type_ in enumerate(inputs)]
    step = Node(op, tuple(range(len(inputs))), op.infer(*inputs), "step")
    source = generate(Graph("Alone", (*nodes, step), (Output("y", len(inputs)),)))
    return build_module(source.text, source.class_name)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients; the mode is put back."""
    before = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(before)
