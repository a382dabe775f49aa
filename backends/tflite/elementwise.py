"""Activations, sums, products and normalisations over the channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from archlang.backends.tflite.convolution import broadcast
from archlang.backends.tflite.schema import (
    ADD,
    L2_NORMALIZATION,
    LEAKY_RELU,
    LOCAL_RESPONSE_NORMALIZATION,
    LOGISTIC,
    MEAN,
    MUL,
    RELU,
    RELU6,
    RSQRT,
    SOFTMAX,
    SQUARED_DIFFERENCE,
    SUB,
    Activation,
    Builtin,
)
from archlang.backends.tflite.site import Site
from archlang.ops.activation import LeakyRelu, Rescale
from archlang.ops.norm import LayerNorm, LocalResponseNorm


def unary(kind: Builtin, **options: float) -> Callable[[Site], int]:
    """The emitter of an op that is one operator of one input."""

    def emit(site: Site) -> int:
        return site.emit(kind, (site.x,), site.shape_at(site.x), options)

    return emit


def leaky_relu(site: Site) -> int:
    assert isinstance(site.node.op, LeakyRelu)
    return site.emit(LEAKY_RELU, (site.x,), site.shape_at(site.x), {"alpha": site.node.op.slope})


def rescale(site: Site) -> int:
    assert isinstance(site.node.op, Rescale)
    return broadcast(site, MUL, (site.x, site.constant("factor", [site.node.op.factor])), site.shape_at(site.x))


def swish(site: Site) -> int:
    """x * sigmoid(x)."""
    shape = site.shape_at(site.x)
    return broadcast(site, MUL, (site.x, site.emit(LOGISTIC, (site.x,), shape)), shape)


def hard_sigmoid(site: Site) -> int:
    """relu6(x + 3) * (1 / 6), the first activation fused."""
    shape = site.shape_at(site.x)
    clipped = broadcast(site, ADD, (site.x, site.constant("three", [3.0])), shape, Activation.RELU6)
    return broadcast(site, MUL, (clipped, site.constant("sixth", [1 / 6])), shape)


def softmax(site: Site) -> int:
    return site.emit(SOFTMAX, (site.x,), site.shape, {"beta": 1.0})


def join(kind: Builtin) -> Callable[[Site], int]:
    """The emitter of a sum or a product of any number of tensors: a chain, whose last link has the activation."""

    def emit(site: Site) -> int:
        return _chain(site, kind, site.activation)

    return emit


def mean(site: Site) -> int:
    """The sum times 1 / n."""
    if len(site.inputs) == 1:
        return _chain(site, ADD, site.activation)
    total = _chain(site, ADD, Activation.NONE)
    return broadcast(site, MUL, (total, site.constant("share", [1 / len(site.inputs)])), site.shape, site.activation)


def _chain(site: Site, kind: Builtin, activation: Activation) -> int:
    *rest, last = site.inputs
    if not rest:
        alone = {Activation.NONE: None, Activation.RELU: RELU, Activation.RELU6: RELU6}[activation]
        return site.emit(alone, (last,), site.shape) if alone else last
    total = rest[0]
    for x in rest[1:]:
        total = broadcast(site, kind, (total, x), np.broadcast_shapes(site.shape_at(total), site.shape_at(x)))
    return broadcast(site, kind, (total, last), site.shape, activation)


def local_response_norm(site: Site) -> int:
    """TFLite multiplies the sum by alpha as it is; the Graph's alpha is divided by the number of channels."""
    op = site.node.op
    assert isinstance(op, LocalResponseNorm)
    options = {"radius": op.size // 2, "bias": op.bias, "alpha": op.alpha / op.size, "beta": op.beta}
    return site.precisely().emit(LOCAL_RESPONSE_NORMALIZATION, (site.x,), site.shape, options)


def l2_norm(site: Site) -> int:
    return site.emit(L2_NORMALIZATION, (site.x,), site.shape)


def layer_norm(site: Site) -> int:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis, in floats: eight bits lose the variance."""
    op, shape = site.node.op, site.shape
    assert isinstance(op, LayerNorm)
    site = site.precisely()
    axis, column, keep = site.indices([len(shape) - 1]), (*shape[:-1], 1), {"keep_dims": True}
    average = site.emit(MEAN, (site.x, axis), column, keep)
    variance = site.emit(MEAN, (site.emit(SQUARED_DIFFERENCE, (site.x, average), shape), axis), column, keep)
    inverse = site.emit(RSQRT, (broadcast(site, ADD, (variance, site.constant("eps", [op.eps])), column),), column)
    normal = broadcast(site, MUL, (broadcast(site, SUB, (site.x, average), shape), inverse), shape)
    scaled = broadcast(site, MUL, (normal, site.constant("weight", site.param("weight"))), shape)
    return broadcast(site, ADD, (scaled, site.constant("bias", site.param("bias"))), shape)


def radial_basis(site: Site) -> int:
    """Squared distances of a vector (1, D) to points (features, D), in floats: the sum of all is the mean times D."""
    points = site.param("weight")
    site, size = site.precisely(), points.shape[1]
    squares = site.emit(SQUARED_DIFFERENCE, (site.x, site.constant("weight", points)), points.shape)
    means = site.emit(MEAN, (squares, site.indices([1])), (len(points),), {"keep_dims": False})
    total = broadcast(site, MUL, (means, site.constant("size", [size])), (len(points),))
    return site.reshape(total, site.shape)
