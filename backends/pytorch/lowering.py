"""Op class -> the layer that it becomes in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from archlang.backends.source.layer import (
    IDENTITY,
    Apply,
    Argument,
    Layer,
    Texts,
    call_module,
    function,
    pair,
    symmetric,
)
from archlang.backends.source.layout import Call, Chain, Expression, call, chained, flat, joined
from archlang.ir.types import TensorType
from archlang.ops.activation import (
    Activation,
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
from archlang.ops.base import Op, conv_out
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear, Pad4, RadialBasis
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d, Pool2d
from archlang.ops.regularize import Dropout, DropPath
from archlang.ops.shape import Crop, Flatten, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample, Zero

Types = Sequence[TensorType]


def pads_by_hand(op: Op) -> bool:
    """Whether the padding is more than the layer's own argument can say."""
    if isinstance(op, Conv2d):
        return symmetric(op.padding) is None
    if isinstance(op, Pool2d):
        too_much = any(2 * p > k for p, k in zip(op.padding, (*op.kernel, *op.kernel), strict=True))
        return symmetric(op.padding) is None or too_much
    return False


def _pad_argument(padding: Pad4) -> Argument:
    top, left, bottom, right = padding
    return Argument((left, right, top, bottom), label="pad")


def _padding_arguments(padding: Pad4, by_hand: bool) -> tuple[Argument, ...]:
    value = 0 if by_hand else symmetric(padding)
    return (Argument(value, "padding", 0, role="padding"),)


def _padded(x: Expression, pad: Expression | None, value: str = "") -> Expression:
    assert pad is not None
    return call("F.pad", x, pad, f"value={value}") if value else call("F.pad", x, pad)


def _call_padded(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
    return call(module, _padded(inputs[0], arguments["pad"]))


def _conv(op: Conv2d, xs: Types, by_hand: bool) -> Layer:
    arguments = (
        Argument(xs[0].channels, label="in_channels", role="in"),
        Argument(op.channels, label="channels", role="out"),
        Argument(pair(op.kernel), label="kernel", role="kernel"),
        Argument(pair(op.stride), "stride", 1, role="stride"),
        *_padding_arguments(op.padding, by_hand),
        Argument(pair(op.dilation), "dilation", 1, role="dilation"),
        Argument(op.groups, "groups", 1, role="groups"),
        Argument(op.bias, "bias", True),
    )
    layer = Layer("conv", "nn.Conv2d", arguments, stateful=True, writable=True)
    if not by_hand:
        return layer
    return replace(layer, kind="padded conv", apply=_call_padded, call_arguments=(_pad_argument(op.padding),))


def _conv_transpose(op: ConvTranspose2d, xs: Types, by_hand: bool) -> Layer:
    arguments = (
        Argument(xs[0].channels, label="in_channels", role="in"),
        Argument(op.channels, label="channels", role="out"),
        Argument(pair(op.kernel), label="kernel", role="kernel"),
        Argument(pair(op.stride), "stride", 1, role="stride"),
        Argument(pair(op.padding), "padding", 0, role="padding"),
        Argument(op.bias, "bias", True),
    )
    return Layer("conv_transpose", "nn.ConvTranspose2d", arguments, stateful=True, writable=True)


def _linear(op: Linear, xs: Types, by_hand: bool) -> Layer:
    arguments = (
        Argument(xs[0].channels, label="in_features", role="in"),
        Argument(op.features, label="features", role="out"),
        Argument(op.bias, "bias", True),
    )
    return Layer("linear", "nn.Linear", arguments, stateful=True, writable=True)


def _over_tokens(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
    """nn.BatchNorm1d wants the features before the tokens."""
    return joined(module, "(", inputs[0], ".transpose(1, 2)).transpose(1, 2)")


def _radial_basis(op: RadialBasis, xs: Types, by_hand: bool) -> Layer:
    arguments = (
        Argument(xs[0].channels, label="in_features", role="in"),
        Argument(op.features, label="features", role="out"),
    )
    return Layer("rbf", "RadialBasis", arguments, stateful=True, helpers=frozenset({"RadialBasis"}))


def _batch_norm(op: BatchNorm, xs: Types, by_hand: bool) -> Layer:
    arguments = (
        Argument(xs[0].channels, label="channels", role="in"),
        Argument(op.eps, "eps", 1e-5),
        Argument(op.momentum, "momentum", 0.1),
    )
    module = "nn.BatchNorm2d" if xs[0].is_image else "nn.BatchNorm1d"
    layer = Layer("bn", module, arguments, stateful=True, weight="tail", writable=True)
    return replace(layer, kind="bn over tokens", apply=_over_tokens) if xs[0].is_sequence else layer


def _layer_norm(op: LayerNorm, xs: Types, by_hand: bool) -> Layer:
    arguments = (Argument(xs[0].channels, label="channels", role="in"), Argument(op.eps, "eps", 1e-5))
    if xs[0].is_image:
        helper = frozenset({"LayerNorm2d"})
        return Layer("image norm", "LayerNorm2d", arguments, stateful=True, weight="tail", helpers=helper)
    return Layer("layernorm", "nn.LayerNorm", arguments, stateful=True, weight="tail")


def _local_response_norm(op: LocalResponseNorm, xs: Types, by_hand: bool) -> Layer:
    arguments = (
        Argument(op.size, label="size"),
        Argument(op.alpha, "alpha", 1e-4),
        Argument(op.beta, "beta", 0.75),
        Argument(op.bias, "k", 1.0),
    )
    return _function("lrn", function("F.local_response_norm", "size"), arguments)


def _function(kind: str, apply: Apply, arguments: tuple[Argument, ...] = (), weight: str = "head") -> Layer:
    return Layer(kind, apply=apply, call_arguments=arguments, weight=weight)


def _plain_activation(name: str, in_place: bool = False) -> Callable[[Op, Types, bool], Layer]:
    """An activation without attributes: which one it is counts as an argument, so that a block can be given it."""

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        act = arguments["act"]
        assert act is not None
        return Call(flat(act), tuple(inputs))

    argument = Argument(name, label="act", role="function")
    layer = Layer("activation", apply=apply, call_arguments=(argument,), weight="tail", in_place=in_place)
    return lambda op, xs, by_hand: layer


def _leaky_relu(op: LeakyRelu, xs: Types, by_hand: bool) -> Layer:
    slope = Argument(op.slope, "negative_slope", 0.01)
    return replace(_function("leaky_relu", function("F.leaky_relu"), (slope,), "tail"), in_place=True)


def _rescale(op: Rescale, xs: Types, by_hand: bool) -> Layer:
    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        factor = arguments["factor"]
        assert factor is not None
        return chained("*", [*inputs, factor])

    return _function("rescale", apply, (Argument(op.factor, label="factor"),), "tail")


def _channel_axis(x: TensorType) -> str:
    return "-1" if x.is_sequence else "1"


def _softmax(op: Softmax, xs: Types, by_hand: bool) -> Layer:
    axis = _channel_axis(xs[0])
    return _function(f"softmax {axis}", lambda module, arguments, inputs: call("F.softmax", *inputs, axis), (), "tail")


def _crop(op: Pool2d, x: TensorType, by_hand: bool) -> str:
    """In ceil mode no window may start in the padding after the input; the layer cannot know padding by hand."""
    if not (op.ceil and by_hand):
        return ""
    top, left, bottom, right = op.padding
    height = conv_out(x.height + top + bottom, op.kernel[0], op.stride[0], 1, 0, 0, ceil=True)
    width = conv_out(x.width + left + right, op.kernel[1], op.stride[1], 1, 0, 0, ceil=True)
    right_size = op.infer(x)
    same = (height, width) == (right_size.height, right_size.width)
    return "" if same else f"[:, :, :{right_size.height}, :{right_size.width}]"


def _pool_arguments(op: Pool2d, by_hand: bool) -> tuple[Argument, ...]:
    pad = (_pad_argument(op.padding),) if by_hand else ()
    return (
        *pad,
        Argument(pair(op.kernel), label="kernel", role="kernel"),
        Argument(pair(op.stride), "stride", pair(op.kernel), role="stride"),
        *_padding_arguments(op.padding, by_hand),
        Argument(op.ceil, "ceil_mode", False),
    )


def _max_pool(op: MaxPool2d, xs: Types, by_hand: bool) -> Layer:
    pool, crop = function("F.max_pool2d", "kernel"), _crop(op, xs[0], by_hand)

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        given = dict(arguments)
        x = _padded(inputs[0], given.pop("pad"), 'float("-inf")') if by_hand else inputs[0]
        return pool(module, given, [x])

    return _function(f"maxpool {crop} {by_hand}", _cropped(apply, crop), _pool_arguments(op, by_hand))


def _avg_pool(op: AvgPool2d, xs: Types, by_hand: bool) -> Layer:
    """Padding by hand counts in F.avg_pool2d; where it must not, the file's own function takes it out again."""
    arguments, crop = _pool_arguments(op, by_hand), _crop(op, xs[0], by_hand)
    if not by_hand:
        counted = () if symmetric(op.padding) == 0 else (Argument(op.count_pad, "count_include_pad", True),)
        return _function("avgpool", function("F.avg_pool2d", "kernel"), (*arguments, *counted))
    if not op.count_pad:
        pool = function("unpadded_avg_pool2d", "pad", "kernel")
        layer = _function(f"unpadded avgpool {crop}", _cropped(pool, crop), arguments)
        return replace(layer, helpers=frozenset({"unpadded_avg_pool2d"}))
    pool = function("F.avg_pool2d", "kernel")

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        given = dict(arguments)
        return pool(module, given, [_padded(inputs[0], given.pop("pad"))])

    return _function(f"padded avgpool {crop}", _cropped(apply, crop), arguments)


def _cropped(apply: Apply, crop: str) -> Apply:
    if not crop:
        return apply
    return lambda module, arguments, inputs: joined(apply(module, arguments, inputs), crop)


def _global_avg_pool(op: GlobalAvgPool, xs: Types, by_hand: bool) -> Layer:
    if xs[0].is_image:
        pool = _function(
            "gap", lambda module, arguments, inputs: call("F.adaptive_avg_pool2d", *inputs, "1"), (), "light"
        )
        return replace(pool, flattened=_mean_over_positions())
    return _function("gap over tokens", lambda module, arguments, inputs: joined(*inputs, ".mean(1)"), (), "light")


def _mean_over_positions() -> Layer:
    """Global average pooling and flattening in one."""
    return _function("mean", lambda module, arguments, inputs: joined(*inputs, ".mean((2, 3))"), (), "light")


def _l2_norm(op: L2Norm, xs: Types, by_hand: bool) -> Layer:
    axis = () if _channel_axis(xs[0]) == "1" else (Argument(-1, "dim"),)
    eps = Argument(op.eps, "eps", 1e-12)
    return _function(f"l2norm {len(axis)}", function("F.normalize"), (*axis, eps), "tail")


def _scale(op: Scale, xs: Types, by_hand: bool) -> Layer:
    shape = "(-1, 1, 1)" if xs[0].is_image else "(-1,)"
    arguments = (Argument(xs[0].channels, label="channels", role="in"), Argument(op.init, label="init"))
    if xs[0].is_image:
        helper = frozenset({"Scale2d"})
        return Layer(f"scale {shape}", "Scale2d", arguments, stateful=True, weight="tail", helpers=helper)
    helper = frozenset({"Scale"})
    return Layer(f"scale {shape}", "Scale", arguments, stateful=True, weight="tail", helpers=helper)


def _operator(kind: str, operator: str) -> Callable[[Op, Types, bool], Layer]:
    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        return chained(operator, inputs)

    layer = Layer(kind, apply=apply, weight="join", writable=kind == "add")
    return lambda op, xs, by_hand: layer if len(xs) > 1 else IDENTITY


def _mean(op: Mean, xs: Types, by_hand: bool) -> Layer:
    if len(xs) == 1:
        return IDENTITY
    if op.drop_path or op.single_column:
        return _drop_path_mean(op, len(xs))

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        return Chain("+", tuple(inputs), divisor=str(len(inputs)))

    return Layer("mean", apply=apply, weight="join")


def _drop_path_mean(op: Mean, paths: int) -> Layer:
    """Which column a pass takes is the network's decision: a hook draws it for all joins."""

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        return call(module, Call("", tuple(inputs), "[]"))

    arguments = (
        Argument(op.drop_path, label="p"),
        Argument(paths if op.single_column else 0, "paths", 0),
        Argument(op.single_column, "single_column", 0.0),
    )
    helpers = {"DropPathMean", "draw_column"} if op.single_column else {"DropPathMean"}
    return Layer("mean of paths", "DropPathMean", arguments, apply, weight="join", helpers=frozenset(helpers))


def _concat(op: Concat, xs: Types, by_hand: bool) -> Layer:
    if len(xs) == 1:
        return IDENTITY
    axis = "1" if op.axis == "tokens" else _channel_axis(xs[0])

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        return call("torch.cat", Call("", tuple(inputs), "[]"), axis)

    return Layer(f"concat {axis}", apply=apply, weight="join")


def _dropout(op: Dropout, xs: Types, by_hand: bool) -> Layer:
    return Layer("dropout", "nn.Dropout", (Argument(op.p, label="p", role="drop"),), weight="tail")


def _drop_path(op: DropPath, xs: Types, by_hand: bool) -> Layer:
    arguments = (Argument(op.p, label="p", role="drop_path"),)
    return Layer("drop_path", "DropPath", arguments, weight="tail", helpers=frozenset({"DropPath"}))


def _view(kind: str, *parts: str) -> Callable[[Any, Types, bool], Layer]:
    """A cheap view: the input with text around it."""
    before, after = parts
    layer = _function(kind, lambda module, arguments, inputs: joined(before, *inputs, after), (), "light")
    return lambda op, xs, by_hand: layer


def _slice(op: Slice, xs: Types, by_hand: bool) -> Layer:
    before = "..., " if xs[0].is_sequence else ":, "
    to_end = op.stop == xs[0].channels

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        ends = [arguments["start"], None if to_end else arguments["stop"]]
        return joined(*inputs, f"[{before}{_colon(*(flat(end) if end else '' for end in ends))}]")

    ends = (Argument(op.start, label="start", default=0, role="out"), Argument(op.stop, label="stop", role="out"))
    return _function(f"slice {before}{to_end}", apply, ends[:1] if to_end else ends, "light")


def _colon(start: str, stop: str) -> str:
    """`start:stop`, with Black's spaces around the colon where an end is more than a name or a number."""
    simple = all(end.isidentifier() or end.isdigit() or not end for end in (start, stop))
    if simple:
        return f"{start}:{stop}"
    return f"{start} :{' ' if stop else ''}{stop}" if start else f": {stop}"


def _shuffle(op: Shuffle, xs: Types, by_hand: bool) -> Layer:
    if op.groups == 1:
        return IDENTITY
    groups = Argument(op.groups, label="groups")
    return _function("shuffle", function("F.channel_shuffle", "groups"), (groups,))


def _upsample(op: Upsample, xs: Types, by_hand: bool) -> Layer:
    if op.factor == 1:
        return IDENTITY
    align = (Argument(False, "align_corners"),) if op.mode == "bilinear" else ()
    arguments = (
        Argument(float(op.factor), "scale_factor"),
        Argument(repr(op.mode).replace("'", '"'), "mode", role="text"),
    )
    return _function(f"upsample {op.mode}", function("F.interpolate"), (*arguments, *align))


def _subsample(op: Subsample, xs: Types, by_hand: bool) -> Layer:
    if op.stride == 1:
        return IDENTITY
    return _view(f"subsample {op.stride}", "", f"[:, :, ::{op.stride}, ::{op.stride}]")(op, xs, by_hand)


def _crop_middle(op: Crop, xs: Types, by_hand: bool) -> Layer:
    if op.infer(xs[0]) == xs[0]:
        return IDENTITY
    arguments = (Argument(op.height, label="height"), Argument(op.width, label="width"))
    layer = _function("crop", function("centre_crop", "height", "width"), arguments, "light")
    return replace(layer, helpers=frozenset({"centre_crop"}))


def _shift(op: Shift, xs: Types, by_hand: bool) -> Layer:
    if op.by == 0:
        return IDENTITY
    after = f", (0, {op.by}, 0, {op.by}))[:, :, {op.by}:, {op.by}:]"
    return _view(f"shift {op.by}", "F.pad(", after)(op, xs, by_hand)


def _zero(op: Zero, xs: Types, by_hand: bool) -> Layer:
    rows = f"[:, :, ::{op.stride}, ::{op.stride}]" if op.stride > 1 else ""
    return _view(f"zero {op.stride}", "torch.zeros_like(", f"{rows})")(op, xs, by_hand)


def _tokens(op: Tokens, xs: Types, by_hand: bool) -> Layer:
    if op.parts == 1:
        return _view("tokens", "", ".flatten(2).transpose(1, 2)")(op, xs, by_hand)

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        features = arguments["features"]
        assert features is not None
        return joined(*inputs, ".permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, ", features, "))")

    features = Argument(xs[0].channels // op.parts, label="features", role="out")
    return _function("tokens of parts", apply, (features,))


def _take(op: Take, xs: Types, by_hand: bool) -> Layer:
    return _view(f"take {op.index}", "", f"[:, {op.index}]")(op, xs, by_hand)


def _attention(op: Attention, xs: Types, by_hand: bool) -> Layer:
    arguments = (Argument(xs[0].channels, label="features", role="in"), Argument(op.heads, label="heads"))
    return Layer("attention", "Attention", arguments, stateful=True, helpers=frozenset({"Attention"}))


def _class_token(op: ClassToken, xs: Types, by_hand: bool) -> Layer:
    arguments = (Argument(xs[0].channels, label="features", role="in"),)
    return Layer("class_token", "ClassToken", arguments, stateful=True, helpers=frozenset({"ClassToken"}))


def _pos_embed(op: PosEmbed, xs: Types, by_hand: bool) -> Layer:
    tokens, features = xs[0].shape
    arguments = (Argument(tokens, label="tokens"), Argument(features, label="features", role="in"))
    return Layer("pos_embed", "PosEmbed", arguments, stateful=True, helpers=frozenset({"PosEmbed"}))


LOWERINGS: dict[type[Op], Callable[[Any, Types, bool], Layer]] = {
    Conv2d: _conv,
    ConvTranspose2d: _conv_transpose,
    Linear: _linear,
    RadialBasis: _radial_basis,
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    LocalResponseNorm: _local_response_norm,
    L2Norm: _l2_norm,
    Scale: _scale,
    Relu: _plain_activation("F.relu", in_place=True),
    Relu6: _plain_activation("F.relu6", in_place=True),
    LeakyRelu: _leaky_relu,
    Rescale: _rescale,
    Sigmoid: _plain_activation("torch.sigmoid"),
    Tanh: _plain_activation("torch.tanh"),
    Swish: _plain_activation("F.silu"),
    HardSigmoid: _plain_activation("F.hardsigmoid"),
    HardSwish: _plain_activation("F.hardswish"),
    Gelu: _plain_activation("F.gelu"),
    Softmax: _softmax,
    MaxPool2d: _max_pool,
    AvgPool2d: _avg_pool,
    GlobalAvgPool: _global_avg_pool,
    Add: _operator("add", "+"),
    Mul: _operator("mul", "*"),
    Mean: _mean,
    Concat: _concat,
    Dropout: _dropout,
    DropPath: _drop_path,
    Flatten: _view("flatten", "", ".flatten(1)"),
    Slice: _slice,
    Shuffle: _shuffle,
    Upsample: _upsample,
    Subsample: _subsample,
    Crop: _crop_middle,
    Shift: _shift,
    Zero: _zero,
    Tokens: _tokens,
    Take: _take,
    Attention: _attention,
    ClassToken: _class_token,
    PosEmbed: _pos_embed,
}
"""lowering(op, types of the inputs, pads by hand) -> Layer. `input` has none: it is an argument of forward."""

UNSUPPORTED: dict[type[Op], str] = {}
"""Op class -> why PyTorch cannot do it."""


_MODULES: dict[type[Op], str] = {
    Relu: "nn.ReLU",
    Relu6: "nn.ReLU6",
    LeakyRelu: "nn.LeakyReLU",
    Sigmoid: "nn.Sigmoid",
    Tanh: "nn.Tanh",
    Swish: "nn.SiLU",
    HardSigmoid: "nn.Hardsigmoid",
    HardSwish: "nn.Hardswish",
    Gelu: "nn.GELU",
    MaxPool2d: "nn.MaxPool2d",
    AvgPool2d: "nn.AvgPool2d",
    Flatten: "nn.Flatten",
    Shuffle: "nn.ChannelShuffle",
    Upsample: "nn.Upsample",
    LocalResponseNorm: "nn.LocalResponseNorm",
}
"""The class that does what the function does, with the same arguments."""


def as_module(op: Op, layer: Layer) -> Layer | None:
    """The layer in a form that nn.Sequential takes, None where there is none."""
    if layer is IDENTITY:
        return Layer("identity module", "nn.Identity")
    if layer.module:
        return layer if layer.apply is call_module else None
    if isinstance(op, Pool2d) and any(argument.name == "pad" for argument in layer.call_arguments):
        return None
    if isinstance(op, GlobalAvgPool) and layer.kind == "gap":
        return Layer("gap module", "nn.AdaptiveAvgPool2d", (Argument(1, label="size"),))
    if type(op) not in _MODULES:
        return None
    arguments = () if isinstance(op, Activation) and not isinstance(op, LeakyRelu) else layer.call_arguments
    kind = f"{op.name} module"
    return Layer(kind, _MODULES[type(op)], arguments, weight=layer.weight)
