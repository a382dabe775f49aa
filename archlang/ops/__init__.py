"""The ops. Importing this package registers all of them in `OPS`."""

from archlang.ops import activation, attention, conv, join, norm, pool, regularize, shape
from archlang.ops.base import OPS, Cost, Op, Param, ShapeError, attribute_names, same_padding

__all__ = [
    "OPS",
    "Cost",
    "Op",
    "Param",
    "ShapeError",
    "activation",
    "attention",
    "attribute_names",
    "conv",
    "join",
    "norm",
    "pool",
    "regularize",
    "same_padding",
    "shape",
]
