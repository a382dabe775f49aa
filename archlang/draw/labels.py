"""What a drawing says about an op: its kind, which decides the colour, and a title with the attributes that matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from archlang.ir.types import TensorType
from archlang.ops.attention import Attention, ClassToken, PosEmbed
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, Linear, RadialBasis
from archlang.ops.join import Concat, Join
from archlang.ops.norm import BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale
from archlang.ops.pool import GlobalAvgPool, Pool2d
from archlang.ops.shape import Input, Upsample

_KINDS: tuple[tuple[tuple[type[Op], ...], str], ...] = (
    ((Input,), "terminal"),
    ((Conv2d,), "conv"),
    ((Linear, RadialBasis), "linear"),
    ((Pool2d, GlobalAvgPool), "pool"),
    ((Join, Concat), "join"),
    ((BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale), "norm"),
    ((Attention, ClassToken, PosEmbed), "attention"),
)


def kind(op: Op) -> str:
    """conv, linear, pool, join, norm, attention, terminal, activation, or shape for what only moves numbers."""
    for classes, name in _KINDS:
        if isinstance(op, classes):
            return name
    return "activation" if op.elementwise or op.training_only or op.name == "softmax" else "shape"


def title(op: Op, inputs: tuple[TensorType, ...]) -> str:
    """`conv 3x3, 64, /2`: kernel, output channels, stride, as papers write them."""
    for cls, write in _TITLES:
        if isinstance(op, cls):
            return write(op, inputs)
    parts = [f"{f.metadata.get('short', f.name)}={getattr(op, f.name)}" for f in fields(op)]
    changed = [part for part, f in zip(parts, fields(op), strict=True) if getattr(op, f.name) != f.default]
    return ", ".join([f"{op.name} {changed[0]}", *changed[1:]]) if changed else op.name


def _conv(op: Any, inputs: tuple[TensorType, ...]) -> str:
    depthwise = op.groups > 1 and op.groups == inputs[0].channels
    parts = [f"{'dwconv' if depthwise else 'conv'} {_times(op.kernel)}"]
    if not depthwise or op.channels != op.groups:
        parts.append(str(op.channels))
    parts += _stride(op.stride)
    if op.dilation != (1, 1):
        parts.append(f"dilation {_one(op.dilation)}")
    if op.groups > 1 and not depthwise:
        parts.append(f"{op.groups} groups")
    return ", ".join(parts)


def _pool(op: Any, inputs: tuple[TensorType, ...]) -> str:
    return ", ".join([f"{op.name} {_times(op.kernel)}", *_stride(op.stride)])


_TITLES: tuple[tuple[type[Op], Callable[[Any, tuple[TensorType, ...]], str]], ...] = (
    (Conv2d, _conv),
    (Pool2d, _pool),
    (Linear, lambda op, inputs: f"linear {op.features}"),
    (Input, lambda op, inputs: "input"),
    (Upsample, lambda op, inputs: f"upsample x{op.factor}"),
    (Attention, lambda op, inputs: f"attention, {op.heads} heads"),
    (LayerNorm, lambda op, inputs: op.name),
    (BatchNorm, lambda op, inputs: op.name),
    (LocalResponseNorm, lambda op, inputs: f"lrn {op.size}"),
)


def _times(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"


def _stride(pair: tuple[int, int]) -> list[str]:
    return [] if pair == (1, 1) else [f"/{_one(pair)}"]


def _one(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else _times(pair)
