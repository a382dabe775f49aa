"""Op class -> the layer that it becomes in Keras. Channels are last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from archlang.backends.keras.layer import (
    KerasLayer,
    Site,
    Step,
    Steps,
    expression,
    function,
    made,
)
from archlang.backends.keras.layout import Applied
from archlang.backends.keras.place import Padding, Place, is_sliced, op_windows
from archlang.backends.source.layer import IDENTITY, Argument, pair, symmetric
from archlang.backends.source.layout import Call, Chain, call, chained
from archlang.ir.types import TensorType
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
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear, Pad4, RadialBasis
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d, Pool2d
from archlang.ops.regularize import Dropout, DropPath
from archlang.ops.shape import Crop, Flatten, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample, Zero
from archlang.ops.window import Window

Types = Sequence[TensorType]
Lowering = Callable[[Any, Types, Place], Any]

_UNITS = "channels"


def _layer(
    kind: str,
    steps: Steps,
    arguments: tuple[Argument, ...] = (),
    stateful: bool = False,
    weight: str = "head",
    helpers: tuple[str, ...] = (),
) -> KerasLayer:
    """A layer of one value. weight: `tail` where it finishes what came before."""
    return KerasLayer(kind, kind, arguments, stateful=stateful, weight=weight, helpers=frozenset(helpers), steps=steps)


# ---- padding ---------------------------------------------------------------------------------------------------------


def _pad_value(padding: Pad4) -> Any:
    """As ZeroPadding2D takes it."""
    top, left, bottom, right = padding
    even = symmetric(padding)
    return ((top, bottom), (left, right)) if even is None else even


def _pad(padding: Pad4) -> Argument:
    return Argument(_pad_value(padding), label="pad", role="padding")


def _named_padding(place: Place) -> Argument:
    return Argument('"valid"' if place.padding in (Padding.VALID, Padding.HAND) else '"same"', "padding", '"valid"')


def _zeros(site: Site) -> Step:
    return Step(Applied(call("layers.ZeroPadding2D", site["pad"]), site.inputs[0]))


def _padded(module: str) -> Steps:
    """Zeros around the input, then the layer."""

    def steps(site: Site) -> Iterator[Step]:
        yield _zeros(site)
        yield Step(Applied(site.made(module, named=True, without=("pad",)), site.target))

    return steps


def _padded_if_strided(module: str) -> Steps:
    """Keras' `same` is what the network wants where the stride is 1."""

    def steps(site: Site) -> Iterator[Step]:
        stride = site.get("strides", "1")
        if stride == "1":
            yield Step(Applied(site.made(module, named=True, without=("pad",)), site.inputs[0]))
        elif not stride.isidentifier():
            yield _zeros(site)
            yield Step(Applied(site.made(module, named=True, without=("pad", "padding")), site.target))
        else:
            yield replace(_zeros(site), condition=f"{stride} != 1")
            named = f'"same" if {stride} == 1 else "valid"'
            yield Step(Applied(site.made(module, named=True, without=("pad",), padding=named), site.target))

    return steps


def _window_steps(module: str, place: Place) -> Steps:
    if place.padding is Padding.HAND:
        return _padded(module)
    return _padded_if_strided(module) if place.padding is Padding.HAND_IF_STRIDED else made(module, named=True)


# ---- convolutions and linear layers ----------------------------------------------------------------------------------


def _conv(op: Conv2d, xs: Types, place: Place) -> KerasLayer:
    depthwise, sliced = op.is_depthwise(xs[0]), is_sliced(op, xs[0])
    module = "layers.DepthwiseConv2D" if depthwise else "layers.Conv2D"
    filters = () if depthwise else (Argument(op.channels, label=_UNITS, role="out"),)
    stride = 1 if sliced else pair(op.stride)
    arguments = (
        *filters,
        Argument(pair(op.kernel), label="kernel", role="kernel"),
        Argument(stride, "strides", 1, role="stride"),
        _named_padding(place),
        *_multiplicity(op, xs[0]),
        Argument(pair(op.dilation), "dilation_rate", 1, role="dilation"),
        Argument(op.bias, "use_bias", True),
    )
    if place.padding in (Padding.HAND, Padding.HAND_IF_STRIDED):
        arguments = (*arguments, _pad(op.padding))
    steps = _window_steps(module, place)
    if sliced:
        steps = _then_sliced(steps, *op.stride)
    kind = f"{module} {place.padding.value}" + (f" {op.stride}" if sliced else "")
    return KerasLayer(kind, module, arguments, stateful=True, steps=steps)


def _multiplicity(op: Conv2d, x: TensorType) -> tuple[Argument, ...]:
    if op.is_depthwise(x):
        return (Argument(op.channels // x.channels, "depth_multiplier", 1),)
    return (Argument(op.groups, "groups", 1, role="groups"),)


def _then_sliced(steps: Steps, rows: int, columns: int) -> Steps:
    def more(site: Site) -> Iterator[Step]:
        yield from steps(site)
        yield Step(f"{site.target}[:, ::{rows}, ::{columns}]")

    return more


def _conv_transpose(op: ConvTranspose2d, xs: Types, place: Place) -> KerasLayer:
    """Keras' result is at least stride times the input; PyTorch's ends where the last kernel does."""
    arguments: tuple[Argument, ...] = (
        Argument(op.channels, label=_UNITS, role="out"),
        Argument(pair(op.kernel), label="kernel", role="kernel"),
        Argument(pair(op.stride), "strides", 1, role="stride"),
        Argument(op.bias, "use_bias", True),
    )
    more = [max(s - k, 0) for s, k in zip(op.stride, op.kernel, strict=True)]
    cut = (op.padding[0], op.padding[1], op.padding[0] + more[0], op.padding[1] + more[1])
    steps = made("layers.Conv2DTranspose", named=True)
    if not any(cut):
        return KerasLayer("transposed", "layers.Conv2DTranspose", arguments, stateful=True, steps=steps)
    arguments = (*arguments, Argument(_pad_value(cut), label="cut", role="padding"))
    return KerasLayer("cut transposed", "layers.Conv2DTranspose", arguments, stateful=True, steps=_cut_transposed)


def _cut_transposed(site: Site) -> Iterator[Step]:
    yield Step(Applied(site.made("layers.Conv2DTranspose", named=True, without=("cut",)), site.inputs[0]))
    yield Step(Applied(call("layers.Cropping2D", site["cut"]), site.target))


def _linear(op: Linear, xs: Types, place: Place) -> KerasLayer:
    arguments = (Argument(op.features, label="features", role="out"), Argument(op.bias, "use_bias", True))
    return _layer("layers.Dense", made("layers.Dense", named=True), arguments, stateful=True)


def _own(
    module: str, *arguments: Callable[[Any], Argument], weight: str = "head"
) -> Callable[[Op, Types, Place], KerasLayer]:
    """A layer with weights that the file defines itself."""
    steps = made(module, named=True)
    return lambda op, xs, place: _layer(
        module, steps, tuple(argument(op) for argument in arguments), True, weight, helpers=(module,)
    )


# ---- norms and activations -------------------------------------------------------------------------------------------


def _batch_norm(op: BatchNorm, xs: Types, place: Place) -> KerasLayer:
    """Keras' momentum is the share of the old statistics, PyTorch's that of the new."""
    arguments = (
        Argument(round(1 - op.momentum, 12), "momentum", 0.99),
        Argument(op.eps, "epsilon", 1e-3),
    )
    name = "layers.BatchNormalization"
    return _layer(name, made(name, named=True), arguments, stateful=True, weight="tail")


def _layer_norm(op: LayerNorm, xs: Types, place: Place) -> KerasLayer:
    name = "layers.LayerNormalization"
    return _layer(name, made(name, named=True), (Argument(op.eps, "epsilon", 1e-3),), stateful=True, weight="tail")


def _local_response_norm(op: LocalResponseNorm, xs: Types, place: Place) -> KerasLayer:
    arguments = (
        Argument(op.size, label="size"),
        Argument(op.alpha, "alpha", 1e-4),
        Argument(op.beta, "beta", 0.75),
        Argument(op.bias, "bias", 1.0),
    )
    name = "local_response_norm"
    return _layer(name, function(name), arguments, weight="tail", helpers=(name,))


def _l2_norm(op: L2Norm, xs: Types, place: Place) -> KerasLayer:
    arguments = (Argument(op.eps, "epsilon"),)
    return _layer("ops.normalize", function("ops.normalize"), arguments, weight="tail")


def _activation(name: str) -> Callable[[Op, Types, Place], KerasLayer]:
    """An activation without attributes: which one it is counts as an argument, so that a block can be given it."""
    arguments = (Argument(f'"{name}"', label="act", role="function"),)
    layer = _layer("layers.Activation", made("layers.Activation"), arguments, weight="tail")
    return lambda op, xs, place: layer


def _leaky_relu(op: LeakyRelu, xs: Types, place: Place) -> KerasLayer:
    slope = Argument(op.slope, "negative_slope", 0.3)
    return _layer("layers.LeakyReLU", made("layers.LeakyReLU"), (slope,), weight="tail")


def _rescale(op: Rescale, xs: Types, place: Place) -> KerasLayer:
    """A layer: Keras takes a number times a value for a sparse one, which its layers on TensorFlow refuse."""
    return _layer("layers.Rescaling", made("layers.Rescaling"), (Argument(op.factor, label="factor"),), weight="tail")


# ---- pooling ---------------------------------------------------------------------------------------------------------


def _reach(op: Pool2d, rows: Window, columns: Window) -> Pad4:
    """The padding that is wanted: in ceil mode windows may reach into more than the network names, or into less."""
    return (rows.before, columns.before, rows.after, columns.after) if op.ceil else op.padding


def _pool_arguments(op: Pool2d, named: tuple[Argument, ...] = ()) -> tuple[Argument, ...]:
    return (
        Argument(pair(op.kernel), label="kernel", role="kernel"),
        Argument(pair(op.stride), "strides", pair(op.kernel), role="stride"),
        *named,
    )


def _max_pool(op: MaxPool2d, xs: Types, place: Place) -> KerasLayer:
    name = "layers.MaxPooling2D"
    if place.padding is not Padding.HAND:
        return _layer(name, made(name), _pool_arguments(op, (_named_padding(place),)))
    arguments = (*_pool_arguments(op), _pad(_reach(op, *op_windows(op, xs[0]))))
    if place.nonnegative:
        return _layer("padded max pool", _padded_pool(name), arguments)
    return _layer("max pool over lowest", _pool_over_lowest, arguments, helpers=("pad_with_lowest",))


def _padded_pool(module: str) -> Steps:
    def steps(site: Site) -> Iterator[Step]:
        yield _zeros(site)
        yield Step(Applied(site.made(module, without=("pad",)), site.target))

    return steps


def _pool_over_lowest(site: Site) -> Iterator[Step]:
    yield Step(call("pad_with_lowest", site.inputs[0], site["pad"]))
    yield Step(Applied(site.made("layers.MaxPooling2D", without=("pad",)), site.target))


def _avg_pool(op: AvgPool2d, xs: Types, place: Place) -> KerasLayer:
    """Padding does not count in Keras' `same`; zeros put there before do."""
    name = "layers.AveragePooling2D"
    if place.padding is not Padding.HAND:
        return _layer(name, made(name), _pool_arguments(op, (_named_padding(place),)))
    rows, columns = op_windows(op, xs[0])
    if not op.count_pad:
        return _uncounted_pool(op, _reach(op, rows, columns))
    top, left, bottom, right = op.padding
    rows, columns = rows.padded(top, bottom), columns.padded(left, right)
    if rows.is_valid and columns.is_valid:
        return _layer("padded average pool", _padded_pool(name), (*_pool_arguments(op), _pad(op.padding)))
    pool = _uncounted_pool(op, (0, 0, rows.after, columns.after))
    zeros = Argument(_pad_value(op.padding), label="zeros", role="padding")
    return replace(pool, kind="twice padded average pool", arguments=(zeros, *pool.arguments), steps=_twice_padded)


def _uncounted_pool(op: AvgPool2d, padding: Pad4) -> KerasLayer:
    name = "unpadded_average_pool"
    arguments = (
        Argument(pair(op.kernel), label="kernel", role="kernel"),
        Argument(pair(op.stride), label="strides", role="stride"),
        _pad(padding),
    )
    return _layer(name, function(name), arguments, helpers=(name,))


def _twice_padded(site: Site) -> Iterator[Step]:
    """In ceil mode windows overhang the padding that counts."""
    yield Step(Applied(call("layers.ZeroPadding2D", site["zeros"]), site.inputs[0]))
    arguments = site.made("", without=("zeros",)).arguments
    yield Step(call("unpadded_average_pool", site.target, *arguments))


def _global_avg_pool(op: GlobalAvgPool, xs: Types, place: Place) -> KerasLayer:
    if xs[0].is_sequence:
        return _layer("global pool of tokens", made("layers.GlobalAveragePooling1D"))
    arguments = (Argument(not place.is_vector, "keepdims", False),)
    return _layer("global pool", made("layers.GlobalAveragePooling2D"), arguments)


# ---- joins and regularisation ----------------------------------------------------------------------------------------


def _join(kind: str, write: Callable[[Sequence[str]], Any]) -> Lowering:
    def steps(site: Site) -> Iterator[Step]:
        yield Step(write(site.inputs))

    layer = KerasLayer(kind, weight="join", steps=steps)
    return lambda op, xs, place: layer if len(xs) > 1 else IDENTITY


def _concat(op: Concat, xs: Types, place: Place) -> Any:
    if len(xs) == 1:
        return IDENTITY
    axis = (1,) if op.axis == "tokens" else ()

    def steps(site: Site) -> Iterator[Step]:
        yield Step(Applied(call("layers.Concatenate", *map(str, axis)), Call("", site.inputs, "[]")))

    return KerasLayer(f"concat {axis}", weight="join", steps=steps)


def _mean(op: Mean, xs: Types, place: Place) -> Any:
    if len(xs) == 1:
        return IDENTITY
    if op.drop_path or op.single_column:
        return _drop_path_mean(op, place)

    def steps(site: Site) -> Iterator[Step]:
        yield Step(Chain("+", site.inputs, divisor=str(len(site.inputs))))

    return KerasLayer("mean", weight="join", steps=steps)


def _drop_path_mean(op: Mean, place: Place) -> KerasLayer:
    arguments = (
        Argument(op.drop_path, label="p"),
        Argument(op.single_column, "single_column", 0.0),
        Argument(place.columns if op.single_column else 0, "columns", 0),
    )

    def steps(site: Site) -> Iterator[Step]:
        yield Step(Applied(site.made("DropPathMean"), Call("", site.inputs, "[]")))

    helpers = frozenset({"DropPathMean"})
    return KerasLayer("mean of paths", call_arguments=arguments, weight="join", helpers=helpers, steps=steps)


def _dropout(op: Dropout, xs: Types, place: Place) -> KerasLayer:
    arguments = (Argument(op.p, label="p", role="drop"),)
    return _layer("dropout", made("layers.Dropout"), arguments, weight="tail")


def _drop_path(op: DropPath, xs: Types, place: Place) -> KerasLayer:
    """Dropout with one decision for a whole sample."""
    shape = f"(None, {', '.join(['1'] * xs[0].rank)})"
    arguments = (Argument(op.p, label="p", role="drop_path"), Argument(shape, "noise_shape"))
    return _layer("drop_path", made("layers.Dropout"), arguments, weight="tail")


# ---- movement --------------------------------------------------------------------------------------------------------


def _flatten(op: Flatten, xs: Types, place: Place) -> Any:
    """The order of the values is channel, row, column."""
    if place.is_vector or xs[0].is_vector:
        return IDENTITY
    if not xs[0].is_image or xs[0].channels == 1 or xs[0].shape[1:] == (1, 1):
        return _layer("layers.Flatten", made("layers.Flatten"))
    return _layer("channels first", _channels_first)


def _channels_first(site: Site) -> Iterator[Step]:
    yield Step(Applied(Call("layers.Permute", ("(3, 1, 2)",)), site.inputs[0]))
    yield Step(Applied(Call("layers.Flatten"), site.target))


def _slice(op: Slice, xs: Types, place: Place) -> KerasLayer:
    to_end = op.stop == xs[0].channels
    ends = (Argument(op.start, label="start", default=0, role="out"), Argument(op.stop, label="stop", role="out"))

    def write(site: Site, x: str) -> str:
        stop = "" if to_end else site["stop"]
        return f"{x}[..., {_colon(site.get('start', ''), stop)}]"

    return _layer(f"slice {to_end}", expression(write), ends[:1] if to_end else ends)


def _colon(start: str, stop: str) -> str:
    """`a:b`, with spaces where an end is more than a name or a number, as formatters want it."""
    space = " " if any(end and not end.isalnum() and not end.isidentifier() for end in (start, stop)) else ""
    return f"{start}{space if start else ''}:{space if stop else ''}{stop}"


def _shuffle(op: Shuffle, xs: Types, place: Place) -> Any:
    if op.groups in (1, xs[0].channels):
        return IDENTITY
    name = "channel_shuffle"
    return _layer(name, function(name), (Argument(op.groups, label="groups", role="groups"),), helpers=(name,))


def _upsample(op: Upsample, xs: Types, place: Place) -> KerasLayer:
    assert op.mode in ("nearest", "bilinear")
    arguments = (Argument(op.factor, label="factor"), Argument(f'"{op.mode}"', "interpolation", '"nearest"'))
    return _layer("layers.UpSampling2D", made("layers.UpSampling2D"), arguments)


def _subsample(op: Subsample, xs: Types, place: Place) -> KerasLayer:
    stride = Argument(op.stride, label="stride", role="stride")
    return _layer("subsample", expression(lambda site, x: f"{x}[:, ::{site['stride']}, ::{site['stride']}]"), (stride,))


def _crop(op: Crop, xs: Types, place: Place) -> Any:
    top, left = op.origin(xs[0])
    cut = (top, left, xs[0].height - op.height - top, xs[0].width - op.width - left)
    if not any(cut):
        return IDENTITY
    return _layer("crop", made("layers.Cropping2D"), (Argument(_pad_value(cut), label="cut"),))


def _shift(op: Shift, xs: Types, place: Place) -> Any:
    return _layer("shift", _shift_steps, (Argument(op.by, label="by"),)) if op.by else IDENTITY


def _shift_steps(site: Site) -> Iterator[Step]:
    by = site["by"]
    yield Step(Applied(call("layers.Cropping2D", f"(({by}, 0), ({by}, 0))"), site.inputs[0]))
    yield Step(Applied(call("layers.ZeroPadding2D", f"((0, {by}), (0, {by}))"), site.target))


def _zero(op: Zero, xs: Types, place: Place) -> KerasLayer:
    rows = f"[:, ::{op.stride}, ::{op.stride}]" if op.stride > 1 else ""
    return _layer(f"zero {op.stride}", expression(lambda site, x: call("ops.zeros_like", f"{x}{rows}")))


def _tokens(op: Tokens, xs: Types, place: Place) -> KerasLayer:
    features = Argument(xs[0].channels // op.parts, label="features", role="out")
    return _layer("tokens", _rows_of_features, (features,))


def _rows_of_features(site: Site) -> Iterator[Step]:
    yield Step(Applied(call("layers.Reshape", f"(-1, {site['features']})"), site.inputs[0]))


def _take(op: Take, xs: Types, place: Place) -> KerasLayer:
    index = Argument(op.index, label="index")
    return _layer("take", expression(lambda site, x: f"{x}[:, {site['index']}]"), (index,))


LOWERINGS: dict[type[Op], Lowering] = {
    Conv2d: _conv,
    ConvTranspose2d: _conv_transpose,
    Linear: _linear,
    RadialBasis: _own("RadialBasis", lambda op: Argument(op.features, label="features", role="out")),
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    LocalResponseNorm: _local_response_norm,
    L2Norm: _l2_norm,
    Scale: _own("Scale", lambda op: Argument(op.init, label="init", default=1.0), weight="tail"),
    Relu: _activation("relu"),
    Relu6: _activation("relu6"),
    LeakyRelu: _leaky_relu,
    Rescale: _rescale,
    Sigmoid: _activation("sigmoid"),
    Tanh: _activation("tanh"),
    Swish: _activation("silu"),
    HardSigmoid: _activation("hard_sigmoid"),
    HardSwish: _activation("hard_silu"),
    Gelu: _activation("gelu"),
    Softmax: _activation("softmax"),
    MaxPool2d: _max_pool,
    AvgPool2d: _avg_pool,
    GlobalAvgPool: _global_avg_pool,
    Add: _join("add", lambda xs: chained("+", xs)),
    Mul: _join("mul", lambda xs: chained("*", xs)),
    Mean: _mean,
    Concat: _concat,
    Dropout: _dropout,
    DropPath: _drop_path,
    Flatten: _flatten,
    Slice: _slice,
    Shuffle: _shuffle,
    Upsample: _upsample,
    Subsample: _subsample,
    Crop: _crop,
    Shift: _shift,
    Zero: _zero,
    Tokens: _tokens,
    Take: _take,
    Attention: _own("Attention", lambda op: Argument(op.heads, label="heads")),
    ClassToken: _own("ClassToken"),
    PosEmbed: _own("PosEmbed"),
}
"""lowering(op, types of the inputs, place) -> KerasLayer. `input` has none: the file makes it with keras.Input."""

UNSUPPORTED: dict[type[Op], str] = {}
"""Op class -> why Keras cannot do it."""
