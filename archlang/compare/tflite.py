"""What is in a .tflite file, read by the code that its schema's authors generate from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from struct import error as StructError
from typing import Any

from archlang.compare.facts import Facts, Step, Value, peak
from archlang.errors import fail, missing_extra

_SCHEMAS = ("ai_edge_litert.schema_py_generated", "tensorflow.lite.python.schema_py_generated")


def facts(path: Path) -> Facts:
    """Of the first subgraph, which is the network."""
    content, schema = path.read_bytes(), _schema()
    try:
        return _facts(schema.Model.GetRootAs(content), schema, len(content))
    except (StructError, IndexError, ValueError, AttributeError, TypeError, UnicodeDecodeError) as error:
        raise fail("E1001", f"{path} is not a whole .tflite file") from error


def _schema() -> Any:
    for name in _SCHEMAS:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise missing_extra("reading a .tflite file", "tflite")


def _facts(model: Any, schema: Any, size: int) -> Facts:
    graph = model.Subgraphs(0)
    kinds = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    values = [_value(graph.Tensors(i), kinds) for i in range(graph.TensorsLength())]
    named = [Value(str(i), value.kind, value.shape, value.itemsize) for i, value in enumerate(values)]
    inputs, outputs = list(_indices(graph, "Inputs")), list(_indices(graph, "Outputs"))
    steps: list[Step] = [
        ([str(i) for i in _indices(op, "Inputs")], [named[i] for i in _indices(op, "Outputs")]) for op in operators
    ]
    return Facts(
        format="TFLite",
        bytes=size,
        operators=dict(Counter(_names(model, schema)[op.OpcodeIndex()] for op in operators)),
        computed=dict(Counter(made[0].kind for _, made in steps if made)),
        tensors=len(values),
        constants=sum(model.Buffers(i).DataLength() for i in _constants(graph)),
        peak_bytes=peak([named[i] for i in inputs], steps, [str(i) for i in outputs]),
        inputs=tuple(str(values[i]) for i in inputs),
        outputs=tuple(str(values[i]) for i in outputs),
        placeholders=_origin(model).get("scales") == "placeholders",
    )


def _origin(model: Any) -> dict[str, Any]:
    """What a file of archlang's own says of where it comes from."""
    for entry in (model.Metadata(i) for i in range(model.MetadataLength())):
        if entry.Name() == b"archlang":
            buffer = model.Buffers(entry.Buffer())
            found: dict[str, Any] = json.loads(bytes(buffer.DataAsNumpy()))
            return found
    return {}


_ITEMSIZES = {"float16": 2, "int16": 2, "uint16": 2, "int64": 8, "uint64": 8, "float64": 8, "complex64": 8}
_BYTES = ("int8", "uint8", "bool", "int4")


def _value(tensor: Any, kinds: dict[int, str]) -> Value:
    kind = kinds.get(tensor.Type(), "unknown")
    shape = tuple(max(1, tensor.Shape(i)) for i in range(tensor.ShapeLength()))
    return Value(tensor.Name().decode(), kind, shape, 1 if kind in _BYTES else _ITEMSIZES.get(kind, 4))


def _indices(table: Any, side: str) -> Iterator[int]:
    """Indices of tensors; -1 stands for an input that is left out."""
    count, at = getattr(table, f"{side}Length")(), getattr(table, side)
    return (index for i in range(count) if (index := int(at(i))) >= 0)


def _names(model: Any, schema: Any) -> list[str]:
    """Of each operator code. What the schema does not know yet has its number."""
    known = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    return [_name(code, known) for code in codes]


def _name(code: Any, known: dict[int, str]) -> str:
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = code.CustomCode()
    return custom.decode() if custom else known.get(number, f"operator {number}")


def _constants(graph: Any) -> set[int]:
    """The buffers that tensors point to; 0 is the empty one."""
    return {graph.Tensors(i).Buffer() for i in range(graph.TensorsLength())} - {0}
