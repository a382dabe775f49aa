"""Ops beside PyTorch's own modules, with the arguments that PyTorch's users give.

The reference that all backends are held to (`reference`) is itself held to them here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archlang import weights as weights_module
from archlang.ops import Op, ShapeError
from archlang.ops.activation import Gelu, HardSigmoid, HardSwish, LeakyRelu, Relu, Relu6, Sigmoid, Softmax, Swish, Tanh
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.norm import BatchNorm, LayerNorm, LocalResponseNorm
from archlang.ops.pool import AvgPool2d, MaxPool2d
from archlang.ops.shape import Shuffle, Upsample
from tests.backends import reference
from tests.backends.drawing import OneOp, Shape
from tests.backends.test_agreement import BACKENDS, RUNNERS, refused

Draw = Callable[[st.SearchStrategy[Any]], Any]
Case = tuple[Op, nn.Module, Shape]


def assert_is_module(op: Op, module: nn.Module, shape: Shape) -> None:
    """Every backend and the reference give what the module gives, its shape among it."""
    try:
        graph = OneOp(op, (shape,)).graph()
    except ShapeError:
        _refused_by_pytorch_too(op, module, shape)
        return
    weights = weights_module.random(graph, 3)
    state = {name.removeprefix("op."): torch.from_numpy(np.asarray(value)) for name, value in weights.items()}
    module.load_state_dict(state, strict=False)
    x = np.random.default_rng(5).normal(0.2, 1.3, (2, *shape)).astype(np.float32)
    with torch.no_grad():
        wanted = module.eval()(torch.from_numpy(x)).numpy()
    bound = 2e-5 * max(1.0, float(np.abs(wanted).max()))
    results = {"reference": reference.run(graph, weights, x)}
    results |= {name: RUNNERS[name](graph, weights, [x]) for name in BACKENDS if not refused(name, op)}
    for name, found in results.items():
        (values,) = found.values()
        assert values.shape == wanted.shape, name
        assert np.abs(values - wanted).max() <= bound, name


def _refused_by_pytorch_too(op: Op, module: nn.Module, shape: Shape) -> None:
    """In ceil mode PyTorch lets a window reach beyond an input that is smaller than it, which the language forbids."""
    if not getattr(op, "ceil", False):
        with pytest.raises(RuntimeError), torch.no_grad():
            module(torch.zeros(1, *shape))


pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
images = st.tuples(st.integers(1, 5), st.integers(1, 10), st.integers(1, 10))


@st.composite
def convolutions(draw: Draw) -> Case:
    groups = draw(st.integers(1, 3))
    cin = groups * draw(st.integers(1, 3))
    groups = cin if draw(st.booleans()) else groups
    cout, kernel, stride = groups * draw(st.integers(1, 3)), draw(pairs), draw(pairs)
    rows, columns = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    dilation, bias = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))), draw(st.booleans())
    op = Conv2d(cout, kernel, stride, (rows, columns, rows, columns), dilation, groups, bias)
    module = nn.Conv2d(cin, cout, kernel, stride, (rows, columns), dilation, groups, bias)
    return op, module, (cin, draw(st.integers(1, 10)), draw(st.integers(1, 10)))


@st.composite
def pools(draw: Draw) -> Case:
    kernel, stride, ceil, count = draw(pairs), draw(pairs), draw(st.booleans()), draw(st.booleans())
    rows, columns = draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2))
    padding = (rows, columns, rows, columns)
    shape = draw(images)
    if draw(st.booleans()):
        return (
            MaxPool2d(kernel, stride, padding, ceil),
            nn.MaxPool2d(kernel, stride, (rows, columns), ceil_mode=ceil),
            shape,
        )
    module = nn.AvgPool2d(kernel, stride, (rows, columns), ceil_mode=ceil, count_include_pad=count)
    return AvgPool2d(kernel, stride, padding, ceil, count), module, shape


@st.composite
def others(draw: Draw) -> Case:
    shape = draw(images)
    c, slope, eps = shape[0], draw(st.sampled_from([0.01, 0.3])), draw(st.sampled_from([1e-5, 1e-3]))
    size, factor = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    features = draw(st.integers(1, 5))
    made: list[Case] = [
        *((op, module, shape) for op, module in _ELEMENTWISE),
        (LeakyRelu(slope), nn.LeakyReLU(slope), shape),
        (Softmax(), nn.Softmax(1), shape),
        (BatchNorm(eps), nn.BatchNorm2d(c, eps), shape),
        (LayerNorm(eps), nn.LayerNorm(c, eps), (features, c)),
        (LocalResponseNorm(size, 0.3, 0.75, 1.5), nn.LocalResponseNorm(size, 0.3, 0.75, 1.5), shape),
        (Upsample(factor), nn.Upsample(scale_factor=factor), shape),
        (Upsample(factor, "bilinear"), nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False), shape),
        (Shuffle(factor), nn.ChannelShuffle(factor), (c * factor, *shape[1:])),
        (Linear(features), nn.Linear(c, features), (c,)),
        (Linear(features, bias=False), nn.Linear(c, features, bias=False), (3, c)),
    ]
    return draw(st.sampled_from(made))  # type: ignore[no-any-return]


_ELEMENTWISE: list[tuple[Op, nn.Module]] = [
    (Relu(), nn.ReLU()),
    (Relu6(), nn.ReLU6()),
    (Sigmoid(), nn.Sigmoid()),
    (Tanh(), nn.Tanh()),
    (Swish(), nn.SiLU()),
    (HardSigmoid(), nn.Hardsigmoid()),
    (HardSwish(), nn.Hardswish()),
    (Gelu(), nn.GELU()),
]


@given(convolutions())
@settings(max_examples=30, deadline=None)
def test_convolution(case: Case) -> None:
    assert_is_module(*case)


@given(pools())
@settings(max_examples=50, deadline=None)
def test_pool(case: Case) -> None:
    assert_is_module(*case)


@given(others())
@settings(max_examples=50, deadline=None)
def test_other_modules(case: Case) -> None:
    assert_is_module(*case)
