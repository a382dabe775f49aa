"""Sequences: class token, position embedding, attention as batched matrix products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archlang.backends.tflite.convolution import broadcast, fully_connected
from archlang.backends.tflite.movement import transpose
from archlang.backends.tflite.schema import ADD, BATCH_MATMUL, CONCATENATION, SOFTMAX
from archlang.backends.tflite.site import Site
from archlang.ops.attention import Attention


def class_token(site: Site) -> int:
    token = site.constant("weight", site.param("weight")[None])
    return site.emit(CONCATENATION, (token, site.x), site.shape, {"axis": 1})


def position_embedding(site: Site) -> int:
    return broadcast(site, ADD, (site.x, site.constant("weight", site.param("weight")[None])), site.shape)


def attention(site: Site) -> int:
    """Three linear layers, softmax(q k^T) v for each head, and a fourth. The scores' factor is in the weights of q."""
    op = site.node.op
    assert isinstance(op, Attention)
    tokens, features = site.type.shape
    size = features // op.heads
    weights, biases = site.param("qkv.weight").reshape(3, features, -1), site.param("qkv.bias").reshape(3, features)
    factor = np.float32(size**-0.5)
    q = _heads(site, "q.", weights[0] * factor, biases[0] * factor, op.heads)
    k = _heads(site, "k.", weights[1], biases[1], op.heads)
    v = _heads(site, "v.", weights[2], biases[2], op.heads)
    shape = (1, op.heads, tokens, tokens)
    scores = site.emit(BATCH_MATMUL, (q, k), shape, {"adj_y": True})
    shares = site.emit(SOFTMAX, (scores,), shape, {"beta": 1.0})
    mixed = site.emit(BATCH_MATMUL, (shares, v), (1, op.heads, tokens, size))
    joined = site.reshape(transpose(site, mixed, (0, 2, 1, 3)), site.shape)
    return fully_connected(site, joined, site.param("proj.weight"), site.param("proj.bias"), label="proj.")


def _heads(site: Site, label: str, weight: NDArray[np.float32], bias: NDArray[np.float32], heads: int) -> int:
    """One of q, k and v: (1, N, D) -> (1, heads, N, D / heads)."""
    _, tokens, features = site.shape
    projected = fully_connected(site, site.x, weight, bias, label=label)
    split = site.reshape(projected, (1, tokens, heads, features // heads))
    return transpose(site, split, (0, 2, 1, 3))
