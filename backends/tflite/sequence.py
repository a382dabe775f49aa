"""Sequences: class token, position embedding, attention as batched matrix products."""

from __future__ import annotations

import numpy as np

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
    """Linear layers for q, k and v, softmax(q k^T) v for each head, and a last layer. The scores' factor is in the
    weights of q."""
    op = site.node.op
    assert isinstance(op, Attention)
    tokens, features = site.type.shape
    q, k, v = _projected(site, op.heads)
    shape = (op.heads, tokens, tokens)
    scores = site.emit(BATCH_MATMUL, (q, k), shape, {"adj_y": True})
    shares = site.emit(SOFTMAX, (scores,), shape, {"beta": 1.0})
    mixed = site.emit(BATCH_MATMUL, (shares, v), (op.heads, tokens, features // op.heads))
    joined = site.reshape(transpose(site, mixed, (1, 0, 2)), site.shape)
    return fully_connected(site, joined, site.param("proj.weight"), site.param("proj.bias"), label="proj.")


def _projected(site: Site, heads: int) -> list[int]:
    """q, k and v, (heads, N, D / heads) each, from a layer each: one for all would have to quantize them alike, and is
    no faster."""
    _, tokens, features = site.shape
    factors = np.array([(features // heads) ** -0.5, 1, 1], np.float32)
    weights = site.param("qkv.weight").reshape(3, features, features) * factors[:, None, None]
    biases = site.param("qkv.bias").reshape(3, features) * factors[:, None]
    found = []
    for name, weight, bias in zip("qkv", weights, biases, strict=True):
        layer = fully_connected(site, site.x, weight, bias, label=f"{name}.")
        split = site.reshape(layer, (tokens, heads, features // heads))
        found.append(transpose(site, split, (1, 0, 2)))
    return found
