"""What a .tflite file says of its operators: their kinds, what their outputs are called, and their MACs.

The flatbuffer is read as it lies, without a runtime: tables by the field numbers of TFLite's schema.fbs, version 3,
which never change.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

from archlang.errors import fail

_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA = 1, 2, 4, 6
_GRAPH_TENSORS, _GRAPH_OPERATORS = 0, 3
_TENSOR_SHAPE, _TENSOR_NAME = 0, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_CODE_DEPRECATED, _CODE_CUSTOM, _CODE_BUILTIN = 0, 1, 3
_METADATA_NAME, _METADATA_BUFFER = 0, 1

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operator:
    """kind: TFLite's name, such as `CONV_2D`. output: the name of the tensor that it makes. macs: for batch 1 as the
    file has it, of convolutions, linear layers and matrix products."""

    kind: str
    output: str
    macs: int


def operators(content: bytes) -> tuple[Operator, ...]:
    """The operators of the first subgraph, in the file's order. Raises ArchError where the file is damaged."""
    try:
        return tuple(_operators(Table.root(content)))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise fail("E1001", "the .tflite file is damaged: its operators cannot be read") from error


def metadata(content: bytes, name: str) -> bytes:
    """What the file keeps under a name; nothing where it has no such entry, or is damaged."""
    try:
        model = Table.root(content)
        buffers = model.tables(_MODEL_BUFFERS)
        for entry in model.tables(_MODEL_METADATA):
            if entry.text(_METADATA_NAME) == name:
                return buffers[entry.number(_METADATA_BUFFER, "I")].content(0)
    except (struct.error, IndexError, UnicodeDecodeError):
        pass
    return b""


@dataclass(frozen=True)
class Table:
    """A flatbuffer's table that begins at `start`; a field that is not there has its default, 0 or nothing."""

    data: bytes
    start: int

    @classmethod
    def root(cls, data: bytes) -> Table:
        return cls(data, _unsigned(data, 0))

    def place(self, field: int) -> int:
        """Where a field lies, 0 where it does not."""
        directory = self.start - struct.unpack_from("<i", self.data, self.start)[0]
        slot = 4 + 2 * field
        if slot >= struct.unpack_from("<H", self.data, directory)[0]:
            return 0
        offset = int(struct.unpack_from("<H", self.data, directory + slot)[0])
        return self.start + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        at = self.place(field)
        return int(struct.unpack_from(f"<{kind}", self.data, at)[0]) if at else 0

    def vector(self, field: int) -> tuple[int, int]:
        """The place of a vector's first element, and how many there are."""
        at = self.place(field)
        if not at:
            return 0, 0
        at += _unsigned(self.data, at)
        return at + 4, _unsigned(self.data, at)

    def content(self, field: int) -> bytes:
        at, count = self.vector(field)
        return self.data[at : at + count]

    def text(self, field: int) -> str:
        return self.content(field).decode()

    def integers(self, field: int) -> Shape:
        at, count = self.vector(field)
        return struct.unpack_from(f"<{count}i", self.data, at) if count else ()

    def tables(self, field: int) -> list[Table]:
        at, count = self.vector(field)
        return [Table(self.data, place + _unsigned(self.data, place)) for place in range(at, at + 4 * count, 4)]


def _unsigned(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _operators(model: Table) -> Iterator[Operator]:
    kinds = [_kind(code) for code in model.tables(_MODEL_CODES)]
    graph = model.tables(_MODEL_SUBGRAPHS)[0]
    tensors = graph.tables(_GRAPH_TENSORS)
    for operator in graph.tables(_GRAPH_OPERATORS):
        kind = kinds[operator.number(_OPERATOR_CODE, "I")]
        inputs = [tensors[i].integers(_TENSOR_SHAPE) if i >= 0 else () for i in operator.integers(_OPERATOR_INPUTS)]
        made = tensors[operator.integers(_OPERATOR_OUTPUTS)[0]]
        count = _MACS[kind](inputs, made.integers(_TENSOR_SHAPE)) if kind in _MACS else 0
        yield Operator(kind, made.text(_TENSOR_NAME), count)


def _kind(code: Table) -> str:
    """Codes up to 127 are in the older field; files of either time have the larger of both."""
    number = max(code.number(_CODE_DEPRECATED, "b"), code.number(_CODE_BUILTIN, "i"))
    return code.text(_CODE_CUSTOM) or BUILTINS.get(number, f"OPERATOR_{number}")


_MACS: dict[str, Callable[[list[Shape], Shape], int]] = {
    "CONV_2D": lambda inputs, output: prod(output) * prod(inputs[1][1:]),
    "DEPTHWISE_CONV_2D": lambda inputs, output: prod(output) * prod(inputs[1][1:3]),
    "FULLY_CONNECTED": lambda inputs, output: prod(output) * inputs[1][1],
    "TRANSPOSE_CONV": lambda inputs, output: prod(inputs[2]) * prod(inputs[1][:3]),
    "BATCH_MATMUL": lambda inputs, output: prod(output) * _inner(inputs, output),
}
"""Kind -> MACs from the shapes of the inputs and of the output. Weights: (out, height, width, in / groups), (1, height,
width, channels), (out, in)."""


def _inner(inputs: list[Shape], output: Shape) -> int:
    """The size that a product of matrices sums over: what the first input has, but not the output's rows. Either input
    may lie transposed."""
    rows, columns = output[-2:]
    a, b = inputs[0][-2:], inputs[1][-2:]
    return next(inner for inner in a if inner * rows == prod(a) and inner * columns == prod(b))


_IN_ORDER = (
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP "
    "FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC "
    "LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX "
    "SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD "
    "UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE "
    "UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX "
    "DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER "
    "GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL "
    "LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT "
    "LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE "
    "RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N "
    "GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF "
    "WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL "
    "PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS "
    "HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE "
    "READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL "
    "GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM "
    "ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT"
)
BUILTINS = dict(enumerate(_IN_ORDER.split()))
"""BuiltinOperator by its number."""
