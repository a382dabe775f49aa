"""The parts of TFLite's schema.fbs that are written here: tables by field number, and the built-in operators.

Numbers are those of schema version 3 and never change. A field that holds its default is left out of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT = 16
"""Bytes. The schema asks for it, so that runtimes may map the file and read weights where they lie."""


class Padding(IntEnum):
    """How a sliding window is padded. SAME: ceil(size / stride) windows, the odd row or column of padding after."""

    SAME = 0
    VALID = 1


class Activation(IntEnum):
    """The activation that an operator applies to its output."""

    NONE = 0
    RELU = 1
    RELU6 = 3


TENSOR_TYPES: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): 0,
    np.dtype(np.float16): 1,
    np.dtype(np.int32): 2,
    np.dtype(np.int64): 4,
    np.dtype(np.int16): 7,
    np.dtype(np.int8): 9,
}
"""NumPy's type -> TensorType."""


class Slot(NamedTuple):
    """A field of a table. kind: `bool`, `int8`, `int32`, `uint32`, `float32`, or `offset` to something else."""

    number: int
    kind: str
    default: float = 0


Table = dict[str, Slot]

BUFFER: Table = {"data": Slot(0, "offset")}
QUANTIZATION: Table = {
    "scale": Slot(2, "offset"),
    "zero_point": Slot(3, "offset"),
    "quantized_dimension": Slot(6, "int32"),
}
TENSOR: Table = {
    "shape": Slot(0, "offset"),
    "type": Slot(1, "int8"),
    "buffer": Slot(2, "uint32"),
    "name": Slot(3, "offset"),
    "quantization": Slot(4, "offset"),
    "has_rank": Slot(8, "bool"),
}
OPERATOR_CODE: Table = {
    "deprecated_builtin_code": Slot(0, "int8"),
    "version": Slot(2, "int32", 1),
    "builtin_code": Slot(3, "int32"),
}
OPERATOR: Table = {
    "opcode_index": Slot(0, "uint32"),
    "inputs": Slot(1, "offset"),
    "outputs": Slot(2, "offset"),
    "builtin_options_type": Slot(3, "int8"),
    "builtin_options": Slot(4, "offset"),
}
SUBGRAPH: Table = {
    "tensors": Slot(0, "offset"),
    "inputs": Slot(1, "offset"),
    "outputs": Slot(2, "offset"),
    "operators": Slot(3, "offset"),
    "name": Slot(4, "offset"),
}
METADATA: Table = {"name": Slot(0, "offset"), "buffer": Slot(1, "uint32")}
TENSOR_MAP: Table = {"name": Slot(0, "offset"), "tensor_index": Slot(1, "uint32")}
SIGNATURE: Table = {
    "inputs": Slot(0, "offset"),
    "outputs": Slot(1, "offset"),
    "signature_key": Slot(2, "offset"),
    "subgraph_index": Slot(4, "uint32"),
}
MODEL: Table = {
    "version": Slot(0, "uint32"),
    "operator_codes": Slot(1, "offset"),
    "subgraphs": Slot(2, "offset"),
    "description": Slot(3, "offset"),
    "buffers": Slot(4, "offset"),
    "metadata": Slot(6, "offset"),
    "signature_defs": Slot(7, "offset"),
}


@dataclass(frozen=True, eq=False)
class Builtin:
    """A built-in operator. code: in BuiltinOperator; union: its options' number in BuiltinOptions, 0 for none."""

    name: str
    code: int
    union: int = 0
    options: Table = field(default_factory=dict)


BUILTINS: dict[str, Builtin] = {}
"""Every operator that is written here, by its name in the schema."""


def _builtin(name: str, code: int, union: int = 0, fields: str = "") -> Builtin:
    """`fields`: the options in the schema's order, `name:kind` or `name:kind=default`, `-` for one that stays unset."""
    slots = {}
    for index, text in enumerate(fields.split()):
        if text != "-":
            label, _, kind = text.partition(":")
            kind, _, default = kind.partition("=")
            slots[label] = Slot(index, kind, float(default or 0))
    BUILTINS[name] = Builtin(name, code, union, slots)
    return BUILTINS[name]


_ACT = "activation:int8"
_POOL = f"padding:int8 stride_w:int32 stride_h:int32 filter_width:int32 filter_height:int32 {_ACT}"

_SUM = f"{_ACT} pot_scale_int16:bool=1"
"""pot_scale_int16: whether all scales of int16 sums and differences are powers of two."""

ADD = _builtin("ADD", 0, 11, _SUM)
AVERAGE_POOL_2D = _builtin("AVERAGE_POOL_2D", 1, 5, _POOL)
CONCATENATION = _builtin("CONCATENATION", 2, 10, "axis:int32")
CONV_2D = _builtin(
    "CONV_2D", 3, 1, f"padding:int8 stride_w:int32 stride_h:int32 {_ACT} dilation_w:int32=1 dilation_h:int32=1"
)
DEPTHWISE_CONV_2D = _builtin(
    "DEPTHWISE_CONV_2D",
    4,
    2,
    f"padding:int8 stride_w:int32 stride_h:int32 depth_multiplier:int32 {_ACT} dilation_w:int32=1 dilation_h:int32=1",
)
DEPTH_TO_SPACE = _builtin("DEPTH_TO_SPACE", 5, 94, "block_size:int32")
DEQUANTIZE = _builtin("DEQUANTIZE", 6)
FULLY_CONNECTED = _builtin("FULLY_CONNECTED", 9, 8, f"{_ACT} - keep_num_dims:bool")
L2_NORMALIZATION = _builtin("L2_NORMALIZATION", 11, 12, _ACT)
LOCAL_RESPONSE_NORMALIZATION = _builtin(
    "LOCAL_RESPONSE_NORMALIZATION", 13, 13, "radius:int32 bias:float32 alpha:float32 beta:float32"
)
LOGISTIC = _builtin("LOGISTIC", 14)
MAX_POOL_2D = _builtin("MAX_POOL_2D", 17, 5, _POOL)
MUL = _builtin("MUL", 18, 21, _ACT)
RELU = _builtin("RELU", 19)
RELU6 = _builtin("RELU6", 21)
RESHAPE = _builtin("RESHAPE", 22, 17)
RESIZE_BILINEAR = _builtin("RESIZE_BILINEAR", 23, 15, "- - - half_pixel_centers:bool")
SOFTMAX = _builtin("SOFTMAX", 25, 9, "beta:float32")
TANH = _builtin("TANH", 28)
PAD = _builtin("PAD", 34, 22)
TRANSPOSE = _builtin("TRANSPOSE", 39, 26)
MEAN = _builtin("MEAN", 40, 27, "keep_dims:bool")
SUB = _builtin("SUB", 41, 28, _SUM)
STRIDED_SLICE = _builtin("STRIDED_SLICE", 45, 32, "- - - - shrink_axis_mask:int32")
PADV2 = _builtin("PADV2", 60, 43)
SLICE = _builtin("SLICE", 65, 48)
RSQRT = _builtin("RSQRT", 76)
RESIZE_NEAREST_NEIGHBOR = _builtin("RESIZE_NEAREST_NEIGHBOR", 97, 74, "- half_pixel_centers:bool")
LEAKY_RELU = _builtin("LEAKY_RELU", 98, 75, "alpha:float32")
SQUARED_DIFFERENCE = _builtin("SQUARED_DIFFERENCE", 99, 76)
QUANTIZE = _builtin("QUANTIZE", 114)
HARD_SWISH = _builtin("HARD_SWISH", 117)
BATCH_MATMUL = _builtin("BATCH_MATMUL", 126, 101, "- adj_y:bool")
GELU = _builtin("GELU", 150, 116)
