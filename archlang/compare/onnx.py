"""What is in an .onnx file, shapes as the package onnx infers them for batch 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archlang.compare.facts import Facts, Step, Value, peak
from archlang.errors import fail, missing_extra

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto


def facts(path: Path) -> Facts:
    try:
        import onnx
    except ImportError as error:
        raise missing_extra("reading an .onnx file", "onnx") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own kinds share no base class
        raise fail("E1001", f"{path} is not a whole .onnx file: {error}") from error
    beside = {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    sizes = [(path.parent / name).stat().st_size for name in beside if (path.parent / name).is_file()]
    return _facts(model, path.stat().st_size + sum(sizes))


def _facts(model: ModelProto, size: int) -> Facts:
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    values = _values(_inferred(model))
    inputs = [values[value.name] for value in graph.input if value.name not in constants]
    outputs = [values[value.name] for value in graph.output]
    steps: list[Step] = [
        (list(node.input), [values.get(name, Value(name, "unknown", None, 4)) for name in node.output if name])
        for node in graph.node
    ]
    return Facts(
        format="ONNX",
        bytes=size,
        operators=dict(Counter(node.op_type for node in graph.node)),
        computed=dict(Counter(made[0].kind for _, made in steps if made)),
        tensors=len(constants) + len(inputs) + sum(len(made) for _, made in steps),
        constants=sum(_nbytes(tensor) for tensor in graph.initializer),
        peak_bytes=peak(inputs, steps, [value.name for value in outputs]),
        inputs=tuple(map(str, inputs)),
        outputs=tuple(map(str, outputs)),
    )


def _inferred(model: ModelProto) -> GraphProto:
    """The graph with the shape of every value, for batch 1."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = 1
    try:
        return onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError):  # too large, or of operators that it does not know
        return fixed.graph


def _values(graph: GraphProto) -> dict[str, Value]:
    described: Iterable[Any] = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: _value(value) for value in described}


def _value(value: Any) -> Value:
    import onnx

    kind = value.type.tensor_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    except KeyError:
        return Value(value.name, "unknown", None, 4)
    sizes = [dim.dim_value for dim in kind.shape.dim]
    known = kind.HasField("shape") and all(sizes)
    return Value(value.name, str(dtype), tuple(sizes) if known else None, dtype.itemsize)


def _nbytes(tensor: TensorProto) -> int:
    import onnx

    count = 1
    for size in tensor.dims:
        count *= size
    return int(count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
