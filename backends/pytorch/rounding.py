"""What quantization-aware training writes in the place of an op: layers that round as int8 will."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from archlang.backends.pytorch.lowering import LOWERINGS
from archlang.backends.source.layer import Argument, Layer, function
from archlang.ir.types import TensorType
from archlang.ops.activation import Swish
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear
from archlang.quantize.qat import FakeQuantize

Lowering = Callable[[Any, Sequence[TensorType], bool], Layer]


def _rounding_weights(kind: type[Op], module: str) -> Lowering:
    """The op's layer by a class that rounds its weights."""

    def lowering(op: Op, xs: Sequence[TensorType], by_hand: bool) -> Layer:
        layer = LOWERINGS[kind](op, xs, by_hand)
        return replace(layer, module=module, helpers=layer.helpers | {module, "rounded_weight", "rounding"})

    return lowering


def _fake_quantize(op: FakeQuantize, xs: Sequence[TensorType], by_hand: bool) -> Layer:
    if op.fixed is None:
        helpers = frozenset({"FakeQuantize", "scale_of", "rounding"})
        return Layer("fake_quantize", "FakeQuantize", stateful=True, weight="tail", helpers=helpers)
    scale, zero_point = op.fixed
    arguments = (Argument(scale, label="scale"), Argument(zero_point, label="zero_point"))
    apply = function("as_int8", "scale", "zero_point")
    helpers = frozenset({"rounding"})
    return Layer("as_int8", apply=apply, call_arguments=arguments, weight="tail", helpers=helpers)


def _swish(op: Swish, xs: Sequence[TensorType], by_hand: bool) -> Layer:
    """In a file it is two operators, with a rounding between them."""
    layer = LOWERINGS[Swish](op, xs, by_hand)
    called = Argument("silu_as_int8", label="act", role="function")
    return replace(layer, call_arguments=(called,), helpers=frozenset({"silu_as_int8", "rounding"}))


ROUNDING: dict[type[Op], Lowering] = {
    Conv2d: _rounding_weights(Conv2d, "QuantConv2d"),
    ConvTranspose2d: _rounding_weights(ConvTranspose2d, "QuantConvTranspose2d"),
    Linear: _rounding_weights(Linear, "QuantLinear"),
    Swish: _swish,
    FakeQuantize: _fake_quantize,
}
"""Before those of `LOWERINGS`."""
