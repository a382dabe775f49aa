"""Op class -> the ONNX nodes that compute it. Values have a batch dimension in front, channels first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.backends.onnx.wire import Initializer
from archlang.backends.onnx.writer import Place
from archlang.errors import ArchError, fail
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
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear, RadialBasis
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d, Pool2d
from archlang.ops.regularize import Dropout, DropPath
from archlang.ops.shape import Crop, Flatten, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample, Zero
from archlang.weights import batch_norm_affine, folded_gain, gained

Emitter = Callable[[Any, Place], None]


def _channel_axis(x: TensorType) -> int:
    return 2 if x.is_sequence else 1


# ---- convolutions and linear layers ----------------------------------------------------------------------------------


def _weight_and_bias(at: Place, transposed: bool = False) -> list[str]:
    """The initializers of a convolution or linear layer, the BatchNorm behind it multiplied in."""
    weight = at.array("weight")
    with np.errstate(invalid="ignore", over="ignore"):
        gain, bias = folded_gain(at.node, at.writer.weights)
    if gain is not None and bias is not None and not np.isfinite(gain + bias).all():
        raise _not_finite(at)

    def pieces() -> Iterator[NDArray[np.float32]]:
        """The product is made when it is written, a part at a time, and gone afterwards."""
        if transposed:
            yield (weight if gain is None else _product(at, weight, gain)).T
        elif gain is None:
            yield weight
        else:
            for part in _parts(weight):
                yield _product(at, weight[part], gain[part])

    shape = weight.shape[::-1] if transposed else weight.shape
    names = [at.writer.initializer(f"{at.node.name}.weight", Initializer(shape, weight.dtype, pieces))]
    return names if bias is None else [*names, at.weight("bias", bias)]


_PART = 2**17
"""Numbers that stay in a processor's cache until they are written."""


def _parts(weight: NDArray[np.float32]) -> Iterator[slice]:
    """The output channels, some at a time."""
    count = max(1, _PART * len(weight) // max(weight.size, 1))
    return (slice(start, start + count) for start in range(0, len(weight), count))


def _product(at: Place, weight: NDArray[np.float32], gain: NDArray[np.float32]) -> NDArray[np.float32]:
    try:
        with np.errstate(over="raise"):
            return gained(weight, gain)
    except FloatingPointError as error:
        raise _not_finite(at) from error


def _not_finite(at: Place) -> ArchError:
    message = f"the weights of `{at.node.name}` with its BatchNorm multiplied in are not finite"
    return fail("E0814", message, at.node.span, help="is its running variance negative?")


def _conv(op: Conv2d, at: Place) -> None:
    at.last(
        "Conv",
        at.x,
        *_weight_and_bias(at),
        kernel_shape=op.kernel,
        strides=op.stride,
        pads=op.padding,
        dilations=op.dilation,
        group=op.groups,
    )


def _conv_transpose(op: ConvTranspose2d, at: Place) -> None:
    bias = [at.weight("bias")] if op.bias else []
    pads = (*op.padding, *op.padding)
    at.last("ConvTranspose", at.x, at.weight("weight"), *bias, kernel_shape=op.kernel, strides=op.stride, pads=pads)


def _linear(op: Linear, at: Place) -> None:
    if at.types[0].is_vector:
        at.last("Gemm", at.x, *_weight_and_bias(at), transB=1)
        return
    weight, *bias = _weight_and_bias(at, transposed=True)
    if bias:
        at.last("Add", at.step("MatMul", at.x, weight), *bias)
    else:
        at.last("MatMul", at.x, weight)


def _radial_basis(op: RadialBasis, at: Place) -> None:
    distances = at.step("Sub", at.step("Unsqueeze", at.x, at.ints("axis", 1)), at.weight("weight"))
    if at.writer.opset < 18:
        at.last("ReduceSumSquare", distances, axes=[2], keepdims=0)
    else:
        at.last("ReduceSumSquare", distances, at.ints("axes", 2), keepdims=0)


def _attention(op: Attention, at: Place) -> None:
    tokens, features = at.types[0].shape
    size = features // op.heads
    qkv = at.step("MatMul", at.x, at.weight("qkv.weight", at.array("qkv.weight").T))
    qkv = at.step("Add", qkv, at.weight("qkv.bias"))
    qkv = at.step("Reshape", qkv, at.ints("split", 0, tokens, 3, op.heads, size))
    qkv = at.step("Transpose", qkv, perm=[2, 0, 3, 1, 4])
    q, k, v = (at.step("Gather", qkv, at.index(n), axis=0) for n in range(3))
    q = at.step("Mul", q, at.floats("scale", size**-0.5))
    scores = at.step("MatMul", q, at.step("Transpose", k, perm=[0, 1, 3, 2]))
    y = at.step("MatMul", at.step("Softmax", scores, axis=-1), v)
    y = at.step("Transpose", y, perm=[0, 2, 1, 3])
    y = at.step("Reshape", y, at.ints("merge", 0, tokens, features))
    y = at.step("MatMul", y, at.weight("proj.weight", at.array("proj.weight").T))
    at.last("Add", y, at.weight("proj.bias"))


def _class_token(op: ClassToken, at: Place) -> None:
    shape = at.step("Concat", _batch(at), at.ints("token_shape", 1, at.types[0].channels), axis=0)
    token = at.step("Expand", at.weight("weight", at.array("weight")[None]), shape)
    at.last("Concat", token, at.x, axis=1)


def _batch(at: Place) -> str:
    """The batch size as a vector of one."""
    return at.step("Shape", at.x, start=0, end=1)


# ---- normalisations --------------------------------------------------------------------------------------------------


def _batch_norm(op: BatchNorm, at: Place) -> None:
    if at.types[0].is_sequence:
        gain, offset = batch_norm_affine(at.node, at.writer.weights)
        at.last("Add", at.step("Mul", at.x, at.floats("gain", gain)), at.floats("offset", offset))
    else:
        arrays = [at.weight(local) for local in ("weight", "bias", "running_mean", "running_var")]
        at.last("BatchNormalization", at.x, *arrays, epsilon=float(op.eps))


def _layer_norm(op: LayerNorm, at: Place) -> None:
    arrays = at.weight("weight"), at.weight("bias")
    if not at.types[0].is_image:
        at.last("LayerNormalization", at.x, *arrays, axis=-1, epsilon=float(op.eps))
        return
    y = at.step("Transpose", at.x, perm=[0, 2, 3, 1])
    y = at.step("LayerNormalization", y, *arrays, axis=-1, epsilon=float(op.eps))
    at.last("Transpose", y, perm=[0, 3, 1, 2])


def _local_response_norm(op: LocalResponseNorm, at: Place) -> None:
    """For an even size ONNX's LRN looks one channel further ahead than PyTorch's, and less far back."""
    if op.size % 2:
        at.last("LRN", at.x, size=op.size, alpha=float(op.alpha), beta=float(op.beta), bias=float(op.bias))
        return
    before, after = op.size // 2, (op.size - 1) // 2
    squares = at.step("Unsqueeze", at.step("Mul", at.x, at.x), at.ints("axis", 1))
    pads = [before, 0, 0, after, 0, 0]
    mean = at.step("AveragePool", squares, kernel_shape=[op.size, 1, 1], pads=pads, count_include_pad=1)
    mean = at.step("Squeeze", mean, at.ints("axis", 1))
    base = at.step("Add", at.step("Mul", mean, at.floats("alpha", op.alpha)), at.floats("bias", op.bias))
    at.last("Div", at.x, at.step("Pow", base, at.floats("beta", op.beta)))


def _l2_norm(op: L2Norm, at: Place) -> None:
    axis = _channel_axis(at.types[0])
    if at.writer.opset < 18:
        length = at.step("ReduceL2", at.x, axes=[axis], keepdims=1)
    else:
        length = at.step("ReduceL2", at.x, at.ints("axis", axis), keepdims=1)
    at.last("Div", at.x, at.step("Max", length, at.floats("eps", op.eps)))


def _scale(op: Scale, at: Place) -> None:
    weight = at.array("weight")
    at.last("Mul", at.x, at.weight("weight", weight[:, None, None] if at.types[0].is_image else weight))


# ---- activations -----------------------------------------------------------------------------------------------------


def _plain(op_type: str) -> Emitter:
    return lambda op, at: at.last(op_type, *at.inputs)


def _relu6(op: Relu6, at: Place) -> None:
    at.last("Clip", at.x, at.floats("min", 0.0), at.floats("max", 6.0))


def _swish(op: Swish, at: Place) -> None:
    at.last("Mul", at.x, at.step("Sigmoid", at.x))


def _gelu(op: Gelu, at: Place) -> None:
    """x * (1 + erf(x / sqrt(2))) / 2, in the order that ONNX Runtime recognises."""
    erf = at.step("Erf", at.step("Div", at.x, at.floats("sqrt2", math.sqrt(2.0))))
    product = at.step("Mul", at.x, at.step("Add", erf, at.floats("one", 1.0)))
    at.last("Mul", product, at.floats("half", 0.5))


# ---- pools -----------------------------------------------------------------------------------------------------------


def _window(op: Pool2d, at: Place, padding: Sequence[int] | None = None) -> dict[str, Any]:
    """Attributes of a pool without ONNX's ceil mode, whose rule differs between versions: rounding up is padding
    after the input, as much as the last window that PyTorch keeps needs."""
    top, left, bottom, right = padding or op.padding
    ends = []
    for size, before, after, axis in ((1, top, bottom, 0), (2, left, right, 1)):
        length, out = at.types[0].shape[size], at.node.type.shape[size]
        needed = (out - 1) * op.stride[axis] + op.kernel[axis] - length - before
        ends.append(max(after, needed))
    return {"kernel_shape": op.kernel, "strides": op.stride, "pads": [top, left, *ends]}


def _max_pool(op: MaxPool2d, at: Place) -> None:
    at.last("MaxPool", at.x, **_window(op, at))


def _avg_pool(op: AvgPool2d, at: Place) -> None:
    if not op.count_pad:
        at.last("AveragePool", at.x, **_window(op, at))
        return
    window = _window(op, at)
    if tuple(window["pads"]) == op.padding:
        at.last("AveragePool", at.x, **window, count_include_pad=1)
        return
    # What rounding up adds does not count, the op's own padding does.
    extra = [0, 0, window["pads"][2] - op.padding[2], window["pads"][3] - op.padding[3]]
    top, left, bottom, right = op.padding
    padded = at.step("Pad", at.x, at.ints("pads", 0, 0, top, left, 0, 0, bottom, right))
    at.last("AveragePool", padded, kernel_shape=op.kernel, strides=op.stride, pads=extra)


def _global_avg_pool(op: GlobalAvgPool, at: Place) -> None:
    if at.types[0].is_image:
        at.last("GlobalAveragePool", at.x)
    elif at.writer.opset < 18:
        at.last("ReduceMean", at.x, axes=[1], keepdims=0)
    else:
        at.last("ReduceMean", at.x, at.ints("axis", 1), keepdims=0)


# ---- joins and movements ---------------------------------------------------------------------------------------------


def _add(op: Add, at: Place) -> None:
    if len(at.inputs) == 1:
        at.last("Identity", at.x)
    else:
        at.last("Add" if len(at.inputs) == 2 else "Sum", *at.inputs)


def _mul(op: Mul, at: Place) -> None:
    if len(at.inputs) == 1:
        at.last("Identity", at.x)
        return
    *first, last = at.inputs
    product = first[0]
    for factor in first[1:]:
        product = at.step("Mul", product, factor)
    at.last("Mul", product, last)


def _concat(op: Concat, at: Place) -> None:
    at.last("Concat", *at.inputs, axis=1 if op.axis == "tokens" else _channel_axis(at.types[0]))


def _slice(op: Slice, at: Place) -> None:
    ends = at.ints("start", op.start), at.ints("stop", op.stop)
    at.last("Slice", at.x, *ends, at.ints("axis", _channel_axis(at.types[0])))


def _shuffle(op: Shuffle, at: Place) -> None:
    c, h, w = at.types[0].shape
    y = at.step("Reshape", at.x, at.ints("groups", 0, op.groups, c // op.groups, h, w))
    y = at.step("Transpose", y, perm=[0, 2, 1, 3, 4])
    at.last("Reshape", y, at.ints("shape", 0, c, h, w))


def _upsample(op: Upsample, at: Place) -> None:
    modes = {
        "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    }
    scales = at.floats("scales", np.array([1, 1, op.factor, op.factor]))
    at.last("Resize", at.x, "", scales, **modes[op.mode])


def _every(at: Place, stride: int) -> tuple[str, ...]:
    """The inputs of a Slice that takes every stride-th row and column."""
    _, h, w = at.types[0].shape
    return at.ints("starts", 0, 0), at.ints("ends", h, w), at.ints("axes", 2, 3), at.ints("steps", stride, stride)


def _subsample(op: Subsample, at: Place) -> None:
    at.last("Slice", at.x, *_every(at, op.stride))


def _crop(op: Crop, at: Place) -> None:
    top, left = op.origin(at.types[0])
    ends = at.ints("starts", top, left), at.ints("ends", top + op.height, left + op.width)
    at.last("Slice", at.x, *ends, at.ints("axes", 2, 3))


def _shift(op: Shift, at: Place) -> None:
    """Padded first: ONNX Runtime merges a `Pad` into the pool that reads it, as if a pool's padding were zeros."""
    _, h, w = at.types[0].shape
    padded = at.step("Pad", at.x, at.ints("pads", 0, 0, 0, 0, 0, 0, op.by, op.by))
    ends = at.ints("starts", op.by, op.by), at.ints("ends", h + op.by, w + op.by)
    at.last("Slice", padded, *ends, at.ints("axes", 2, 3))


def _zero(op: Zero, at: Place) -> None:
    shape = at.step("Concat", _batch(at), at.ints("rest", *at.node.type.shape), axis=0)
    at.last("ConstantOfShape", shape)


def _tokens(op: Tokens, at: Place) -> None:
    c, h, w = at.types[0].shape
    if op.parts > 1:
        last = at.step("Transpose", at.x, perm=[0, 2, 3, 1])
        at.last("Reshape", last, at.ints("shape", 0, *at.node.type.shape))
        return
    rows = at.step("Reshape", at.x, at.ints("shape", 0, c, h * w))
    at.last("Transpose", rows, perm=[0, 2, 1])


def _take(op: Take, at: Place) -> None:
    at.last("Gather", at.x, at.index(op.index), axis=1)


LOWERINGS: dict[type[Op], Emitter] = {
    Conv2d: _conv,
    ConvTranspose2d: _conv_transpose,
    Linear: _linear,
    RadialBasis: _radial_basis,
    Attention: _attention,
    ClassToken: _class_token,
    PosEmbed: lambda op, at: at.last("Add", at.x, at.weight("weight")),
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    LocalResponseNorm: _local_response_norm,
    L2Norm: _l2_norm,
    Scale: _scale,
    Relu: _plain("Relu"),
    Relu6: _relu6,
    Rescale: lambda op, at: at.last("Mul", at.x, at.floats("factor", op.factor)),
    LeakyRelu: lambda op, at: at.last("LeakyRelu", at.x, alpha=float(op.slope)),
    Sigmoid: _plain("Sigmoid"),
    Tanh: _plain("Tanh"),
    Swish: _swish,
    HardSigmoid: lambda op, at: at.last("HardSigmoid", at.x, alpha=1 / 6, beta=0.5),
    HardSwish: _plain("HardSwish"),
    Gelu: _gelu,
    Softmax: lambda op, at: at.last("Softmax", at.x, axis=_channel_axis(at.types[0])),
    MaxPool2d: _max_pool,
    AvgPool2d: _avg_pool,
    GlobalAvgPool: _global_avg_pool,
    Add: _add,
    Mul: _mul,
    Mean: _plain("Mean"),
    Concat: _concat,
    Flatten: lambda op, at: at.last("Flatten", at.x, axis=1),
    Slice: _slice,
    Shuffle: _shuffle,
    Upsample: _upsample,
    Subsample: _subsample,
    Crop: _crop,
    Shift: _shift,
    Zero: _zero,
    Tokens: _tokens,
    Take: _take,
}
"""emitter(op, place). `input` has none: it is declared with the graph."""

UNSUPPORTED: dict[type[Op], str] = {
    Dropout: "it is the identity in evaluation mode, and gone before the model is written",
    DropPath: "it is the identity in evaluation mode, and gone before the model is written",
}
"""Op class -> why no ONNX node stands for it."""
