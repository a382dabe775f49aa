"""Weights for files whose latency is all that is asked for: of the right size, made at once."""

from __future__ import annotations

import zlib
from math import prod

import numpy as np
from numpy.typing import NDArray

from archlang import archives
from archlang.ir.graph import Graph
from archlang.ops.base import Param
from archlang.weights import MAX_BYTES, Array, constant, deviation, possible

_TABLE_SIZE = 1 << 16


def placeholders(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Weights that keep values at their size from layer to layer, cut from one table of normal numbers.

    Drawing millions of numbers would take longer than all the rest. And fresh weights (`weights.initial`), which rely
    on BatchNorm's statistics to be learnt, let values vanish or explode without them.
    """
    room = min(4 * MAX_BYTES, archives.limit())  # in the file they are bytes
    table = np.random.default_rng(seed).standard_normal(_TABLE_SIZE, np.float32)
    twice = np.concatenate([table, table])
    return {name: _placeholder(name, param, twice) for name, param in possible(graph, room).items()}


def _placeholder(name: str, param: Param, twice: NDArray[np.float32]) -> Array:
    if param.init == "signs":
        return np.sign(np.resize(twice, param.shape))
    if deviation(param) is None:
        return constant(param)
    spread = (2 / prod(param.shape[1:])) ** 0.5  # He et al., fan in
    start = zlib.crc32(name.encode()) % _TABLE_SIZE
    turned = twice[start : start + min(prod(param.shape), _TABLE_SIZE)] * np.float32(spread)
    return np.resize(turned, param.shape)
