"""What a Graph computes, said once more with PyTorch's functional ops and nothing of our generators.

A table, op class -> function. It is what every backend is compared with, so it is written for being read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from archlang.ir import Graph, Node
from archlang.ops.activation import (
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Relu,
    Relu6,
    Rescale,
    Sigmoid,
    Softmax,
    Swish,
    Tanh,
)
from archlang.ops.attention import Attention, ClassToken, PosEmbed
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear, RadialBasis
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d, Pool2d
from archlang.ops.regularize import Dropout, DropPath
from archlang.ops.shape import Crop, Flatten, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample, Zero

Params = Callable[[str], Tensor]
"""A node's arrays by their local name."""

Rule = Callable[[Any, Params, list[Tensor]], Tensor]


def run(
    graph: Graph, weights: Mapping[str, Any], *inputs: NDArray[Any], dtype: torch.dtype = torch.float32
) -> dict[str, NDArray[Any]]:
    """Every output of the network by its name, in evaluation mode.

    inputs: one array an input of the network, batch first, channels first. Fused nodes are evaluated part by part.
    """
    values = trace(graph, weights, *inputs, dtype=dtype)
    return {output.name: values[output.value] for output in graph.outputs}


def trace(
    graph: Graph, weights: Mapping[str, Any], *inputs: NDArray[Any], dtype: torch.dtype = torch.float32
) -> list[NDArray[Any]]:
    """Every value of the network, in the order of its nodes."""
    with torch.no_grad():
        return [value.numpy() for value in forward(graph, weights, *map(torch.as_tensor, inputs), dtype=dtype)]


def forward(
    graph: Graph, weights: Mapping[str, Any], *inputs: Tensor, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """The same as tensors; gradients flow back to those weights that are tensors and want them."""
    feed = iter(inputs)
    values: list[Tensor] = []
    for node in graph.nodes:
        if node.op.name == "input":
            values.append(next(feed).to(dtype))
        else:
            values.append(_evaluate(node, weights, [values[i] for i in node.inputs], dtype))
    return values


def _evaluate(node: Node, weights: Mapping[str, Any], xs: list[Tensor], dtype: torch.dtype) -> Tensor:
    y = _apply(node, weights, xs, dtype)
    for part in node.fused:
        y = _apply(part, weights, [y], dtype)
    assert tuple(y.shape[1:]) == node.type.shape, f"{node.name}: {tuple(y.shape)} is not {node.type}"
    return y


def _apply(node: Node, weights: Mapping[str, Any], xs: list[Tensor], dtype: torch.dtype) -> Tensor:
    def param(local: str) -> Tensor:
        return torch.as_tensor(weights[f"{node.name}.{local}"]).to(dtype)

    return RULES[type(node.op)](node.op, param, xs)


def _padded(x: Tensor, padding: tuple[int, int, int, int], value: float = 0.0) -> Tensor:
    top, left, bottom, right = padding
    return F.pad(x, (left, right, top, bottom), value=value)


def _conv(op: Conv2d, p: Params, xs: list[Tensor]) -> Tensor:
    bias = p("bias") if op.bias else None
    x = _padded(xs[0], op.padding)
    return F.conv2d(x, p("weight"), bias, op.stride, 0, op.dilation, op.groups)


_EXACT = "donot_use_mm_for_euclid_dist"
"""`torch.cdist` by differences, not by expanding the square."""


def _linear(op: Linear, p: Params, xs: list[Tensor]) -> Tensor:
    return F.linear(xs[0], p("weight"), p("bias") if op.bias else None)


def _batch_norm(op: BatchNorm, p: Params, xs: list[Tensor]) -> Tensor:
    def apply(x: Tensor) -> Tensor:
        return F.batch_norm(x, p("running_mean"), p("running_var"), p("weight"), p("bias"), eps=op.eps)

    return apply(xs[0].transpose(1, 2)).transpose(1, 2) if xs[0].ndim == 3 else apply(xs[0])


def _layer_norm(op: LayerNorm, p: Params, xs: list[Tensor]) -> Tensor:
    def apply(x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], p("weight"), p("bias"), op.eps)

    return apply(xs[0].permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if xs[0].ndim == 4 else apply(xs[0])


def _cropped(y: Tensor, op: Pool2d, x: Tensor) -> Tensor:
    """In ceil mode PyTorch starts no window in the padding after the input; padding by hand hides where that is."""
    top, left, _, _ = op.padding
    rows = -(-(x.shape[2] + top) // op.stride[0])
    columns = -(-(x.shape[3] + left) // op.stride[1])
    return y[:, :, :rows, :columns]


def _max_pool(op: MaxPool2d, p: Params, xs: list[Tensor]) -> Tensor:
    x = _padded(xs[0], op.padding, float("-inf"))
    return _cropped(F.max_pool2d(x, op.kernel, op.stride, ceil_mode=op.ceil), op, xs[0])


def _avg_pool(op: AvgPool2d, p: Params, xs: list[Tensor]) -> Tensor:
    def pool(x: Tensor) -> Tensor:
        padded = _padded(x, op.padding)
        return _cropped(F.avg_pool2d(padded, op.kernel, op.stride, ceil_mode=op.ceil), op, x)

    return pool(xs[0]) if op.count_pad else pool(xs[0]) / pool(torch.ones_like(xs[0]))


def _global_avg_pool(op: GlobalAvgPool, p: Params, xs: list[Tensor]) -> Tensor:
    return xs[0].mean((2, 3), keepdim=True) if xs[0].ndim == 4 else xs[0].mean(1)


def _channel_axis(x: Tensor) -> int:
    return 1 if x.ndim == 4 else -1


def _scale(op: Scale, p: Params, xs: list[Tensor]) -> Tensor:
    return xs[0] * (p("weight")[:, None, None] if xs[0].ndim == 4 else p("weight"))


def _add(op: Add, p: Params, xs: list[Tensor]) -> Tensor:
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def _mul(op: Mul, p: Params, xs: list[Tensor]) -> Tensor:
    product = xs[0]
    for x in xs[1:]:
        product = product * x
    return product


def _slice(op: Slice, p: Params, xs: list[Tensor]) -> Tensor:
    return xs[0].narrow(_channel_axis(xs[0]), op.start, op.stop - op.start)


def _shuffle(op: Shuffle, p: Params, xs: list[Tensor]) -> Tensor:
    return F.channel_shuffle(xs[0], op.groups) if op.groups > 1 else xs[0]


def _upsample(op: Upsample, p: Params, xs: list[Tensor]) -> Tensor:
    if op.mode == "nearest":  # said without a division, which `interpolate` rounds wrongly for some factors (41)
        return xs[0].repeat_interleave(op.factor, 2).repeat_interleave(op.factor, 3)
    return F.interpolate(xs[0], scale_factor=op.factor, mode="bilinear", align_corners=False)


def _crop(op: Crop, p: Params, xs: list[Tensor]) -> Tensor:
    rows, columns = (n - size for n, size in zip(xs[0].shape[2:], (op.height, op.width), strict=True))
    return xs[0].narrow(2, rows // 2, op.height).narrow(3, columns // 2, op.width)


def _conv_transpose(op: ConvTranspose2d, p: Params, xs: list[Tensor]) -> Tensor:
    bias = p("bias") if op.bias else None
    return F.conv_transpose2d(xs[0], p("weight"), bias, op.stride, op.padding)


def _shift(op: Shift, p: Params, xs: list[Tensor]) -> Tensor:
    return F.pad(xs[0], (0, op.by, 0, op.by))[:, :, op.by :, op.by :]


def _tokens(op: Tokens, p: Params, xs: list[Tensor]) -> Tensor:
    """One part of the channels after the other at each position, said with a loop."""
    parts = xs[0].chunk(op.parts, dim=1)
    return torch.stack([part.flatten(2).transpose(1, 2) for part in parts], dim=2).flatten(1, 2)


def _zero(op: Zero, p: Params, xs: list[Tensor]) -> Tensor:
    x = xs[0][:, :, :: op.stride, :: op.stride] if op.stride > 1 else xs[0]
    return torch.zeros_like(x)


def _attention(op: Attention, p: Params, xs: list[Tensor]) -> Tensor:
    batch, tokens, features = xs[0].shape
    qkv = F.linear(xs[0], p("qkv.weight"), p("qkv.bias"))
    q, k, v = qkv.reshape(batch, tokens, 3, op.heads, features // op.heads).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, features)
    return F.linear(y, p("proj.weight"), p("proj.bias"))


def _class_token(op: ClassToken, p: Params, xs: list[Tensor]) -> Tensor:
    return torch.cat([p("weight").expand(len(xs[0]), 1, -1), xs[0]], dim=1)


RULES: dict[type[Op], Rule] = {
    Conv2d: _conv,
    ConvTranspose2d: _conv_transpose,
    Linear: _linear,
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    LocalResponseNorm: lambda op, _p, xs: F.local_response_norm(xs[0], op.size, op.alpha, op.beta, op.bias),
    L2Norm: lambda op, _p, xs: xs[0] / xs[0].square().sum(_channel_axis(xs[0]), keepdim=True).sqrt().clamp(min=op.eps),
    Scale: _scale,
    Relu: lambda _op, _p, xs: F.relu(xs[0]),
    Relu6: lambda _op, _p, xs: F.relu6(xs[0]),
    Rescale: lambda op, _p, xs: op.factor * xs[0],
    RadialBasis: lambda op, p, xs: torch.cdist(xs[0], p("weight"), compute_mode=_EXACT) ** 2,
    LeakyRelu: lambda op, _p, xs: F.leaky_relu(xs[0], op.slope),
    Sigmoid: lambda _op, _p, xs: torch.sigmoid(xs[0]),
    Tanh: lambda _op, _p, xs: torch.tanh(xs[0]),
    Swish: lambda _op, _p, xs: F.silu(xs[0]),
    HardSigmoid: lambda _op, _p, xs: F.hardsigmoid(xs[0]),
    HardSwish: lambda _op, _p, xs: F.hardswish(xs[0]),
    Gelu: lambda _op, _p, xs: F.gelu(xs[0]),
    Softmax: lambda _op, _p, xs: F.softmax(xs[0], _channel_axis(xs[0])),
    MaxPool2d: _max_pool,
    AvgPool2d: _avg_pool,
    GlobalAvgPool: _global_avg_pool,
    Add: _add,
    Mul: _mul,
    Mean: lambda _op, _p, xs: torch.stack(xs).mean(0),
    Concat: lambda op, _p, xs: torch.cat(xs, 1 if op.axis == "tokens" else _channel_axis(xs[0])),
    Dropout: lambda _op, _p, xs: xs[0],
    DropPath: lambda _op, _p, xs: xs[0],
    Flatten: lambda _op, _p, xs: xs[0].flatten(1),
    Slice: _slice,
    Shuffle: _shuffle,
    Upsample: _upsample,
    Subsample: lambda op, _p, xs: xs[0][:, :, :: op.stride, :: op.stride],
    Crop: _crop,
    Shift: _shift,
    Zero: _zero,
    Tokens: _tokens,
    Take: lambda op, _p, xs: xs[0][:, op.index],
    Attention: _attention,
    ClassToken: _class_token,
    PosEmbed: lambda _op, p, xs: xs[0] + p("weight"),
}
"""Op class -> its meaning. `input` has none: it is fed."""
