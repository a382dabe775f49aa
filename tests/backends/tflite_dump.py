"""Reads a .tflite file back, by the code that LiteRT's authors generated from the schema, and prints it as text.

mobile: Tiny, written by archlang
%0 x int8[1,8,8,3] *0.0314 +0
...
CONV_2D.3{padding=SAME, stride_w=2, stride_h=2, activation=RELU6}(%0, %1, %2) -> %3
serving_default(x=%0) -> y=%3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64, 7: np.int16, 9: np.int8}


@dataclass(frozen=True)
class FileTensor:
    """data: of a constant. scale, zero_point: empty where it is not quantized, several along `axis`."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: NDArray[Any] | None
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int

    @property
    def parameters(self) -> tuple[float, int]:
        """Scale and zero point of a tensor that has one of each."""
        assert len(self.scale) == len(self.zero_point) == 1
        return float(self.scale[0]), int(self.zero_point[0])


@dataclass(frozen=True)
class FileOperator:
    name: str
    version: int
    inputs: tuple[int, ...]
    output: int
    options: dict[str, Any]


@dataclass(frozen=True)
class FileModel:
    description: str
    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    signature: tuple[dict[str, int], dict[str, int]]
    metadata: dict[str, bytes]

    def find(self, name: str) -> FileTensor:
        return next(tensor for tensor in self.tensors if tensor.name == name)


def parse(data: bytes) -> FileModel:
    model = schema.ModelT.InitFromPackedBuf(data)
    assert len(model.subgraphs) == 1
    graph = model.subgraphs[0]
    contents = [_content(buffer) for buffer in model.buffers]
    assert contents[0] is None
    return FileModel(
        model.description.decode(),
        tuple(_tensor(tensor, contents) for tensor in graph.tensors),
        tuple(_operator(op, model.operatorCodes) for op in graph.operators),
        tuple(int(i) for i in graph.inputs),
        tuple(int(i) for i in graph.outputs),
        _signature(model.signatureDefs[0]),
        {item.name.decode(): bytes(contents[item.buffer]) for item in model.metadata},
    )


def _content(buffer: Any) -> NDArray[np.uint8] | None:
    return None if buffer.data is None else np.asarray(buffer.data, np.uint8)


def _tensor(tensor: Any, contents: list[Any]) -> FileTensor:
    dtype, shape = np.dtype(_DTYPES[tensor.type]), tuple(int(n) for n in tensor.shape)
    content = contents[tensor.buffer]
    data = None if content is None else content.view(dtype).reshape(shape)
    found = tensor.quantization or schema.QuantizationParametersT()
    scale = np.asarray(() if found.scale is None else found.scale, np.float32)
    points = np.asarray(() if found.zeroPoint is None else found.zeroPoint, np.int64)
    return FileTensor(tensor.name.decode(), shape, dtype, data, scale, points, int(found.quantizedDimension))


def _operator(op: Any, codes: list[Any]) -> FileOperator:
    code = codes[op.opcodeIndex]
    assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)
    options = {} if op.builtinOptions is None else vars(op.builtinOptions)
    assert len(op.outputs) == 1
    return FileOperator(
        _NAMES[code.builtinCode], code.version, tuple(int(i) for i in op.inputs), int(op.outputs[0]), dict(options)
    )


def _signature(signature: Any) -> tuple[dict[str, int], dict[str, int]]:
    assert signature.signatureKey == b"serving_default"
    into, out = signature.inputs, signature.outputs
    return (
        {item.name.decode(): int(item.tensorIndex) for item in into},
        {item.name.decode(): int(item.tensorIndex) for item in out},
    )


_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
_WORDS: dict[str, dict[Any, Any]] = {
    "padding": {0: "SAME", 1: "VALID"},
    "fusedActivationFunction": {0: None, 1: "RELU", 3: "RELU6"},
}
_PLAIN = {"dilationHFactor": 1, "dilationWFactor": 1, "strideH": 1, "strideW": 1, "potScaleInt16": True}
"""Options that are not printed at these values, beside those that are 0 or absent."""


def dump(data: bytes) -> str:
    """The file as text, without the contents of constants."""
    model = parse(data)
    lines = [model.description]
    lines += [f"%{i} {_tensor_text(tensor)}" for i, tensor in enumerate(model.tensors)]
    lines += [_operator_text(op) for op in model.operators]
    into, out = (", ".join(f"{name}=%{index}" for name, index in side.items()) for side in model.signature)
    return "\n".join([*lines, f"serving_default({into}) -> {out}"]) + "\n"


def _tensor_text(tensor: FileTensor) -> str:
    text = f"{tensor.name} {tensor.dtype}[{','.join(map(str, tensor.shape))}]"
    if len(tensor.scale) == 1:
        text += f" *{tensor.scale[0]:.3g}{int(tensor.zero_point[0]):+d}"
    elif len(tensor.scale):
        text += f" *{len(tensor.scale)} scales along {tensor.axis}"
    return text if tensor.data is None else f"{text} constant"


def _operator_text(op: FileOperator) -> str:
    shown = {key: _WORDS.get(key, {}).get(value, value) for key, value in op.options.items()}
    shown = {key: value for key, value in shown.items() if value and value != _PLAIN.get(key)}
    options = "{" + ", ".join(f"{key}={_text(value)}" for key, value in shown.items()) + "}" if shown else ""
    return f"{op.name}.{op.version}{options}({', '.join(f'%{i}' for i in op.inputs)}) -> %{op.output}"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
