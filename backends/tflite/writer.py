"""A Model as the bytes of a .tflite file, with every constant inside it. Equal models give equal bytes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from archlang.backends.tflite import schema
from archlang.backends.tflite.flatbuffer import Flatbuffer
from archlang.backends.tflite.model import Model, Operator, Quantization, Tensor
from archlang.backends.tflite.versions import version
from archlang.errors import fail

_LIMIT = 2**31 - 2**24
"""Bytes of constants that fit a flatbuffer, whose offsets are signed 32-bit numbers, beside its tables."""

_SIGNATURE_KEY = "serving_default"


def write(model: Model) -> bytes:
    """The file's content. Raises ArchError where the constants do not fit the format."""
    if not fits(model):
        held = f"{size(model) / 2**30:.1f} GiB of constants"
        help = "quantize it, or make it smaller"
        raise fail("E0813", f"{model.name} holds {held}, and a .tflite file holds less than 2", help=help)
    return _Writer(model).write()


def size(model: Model) -> int:
    """Bytes of the model's constants."""
    return sum(tensor.data.nbytes for tensor in model.tensors if tensor.data is not None)


def fits(model: Model) -> bool:
    """Whether the format has room for the model's constants."""
    return size(model) <= _LIMIT


class _Writer:
    """Each method writes one part and returns its place."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.file = Flatbuffer()
        self.codes = [(op.kind.code, version(model, op)) for op in model.operators]
        self.constants = [tensor.data for tensor in model.tensors if tensor.data is not None]

    def write(self) -> bytes:
        buffers = self.buffers()
        root = self.file.table(
            schema.MODEL,
            version=schema.SCHEMA_VERSION,
            operator_codes=self.operator_codes(),
            subgraphs=self.file.offsets([self.subgraph()]),
            description=self.file.string(self.model.description),
            buffers=buffers,
            metadata=self.metadata(),
            signature_defs=self.file.offsets([self.signature()]),
        )
        return self.file.finish(root, schema.FILE_IDENTIFIER)

    def buffers(self) -> int:
        """Buffer 0 is empty, as the format wants; then one for each constant, then the metadata."""
        contents = [*self.constants, *(np.frombuffer(data, np.uint8) for data in self.model.metadata.values())]
        filled = [
            self.file.table(schema.BUFFER, data=self.file.blob(content, schema.BUFFER_ALIGNMENT))
            for content in contents
        ]
        return self.file.offsets([self.file.table(schema.BUFFER), *filled])

    def metadata(self) -> int:
        first = 1 + len(self.constants)
        return self.file.offsets(
            [
                self.file.table(schema.METADATA, name=self.file.string(name), buffer=first + i)
                for i, name in enumerate(self.model.metadata)
            ]
        )

    def operator_codes(self) -> int:
        """Operators and their versions, in the order of first use."""
        return self.file.offsets(
            [
                self.file.table(
                    schema.OPERATOR_CODE, deprecated_builtin_code=min(code, 127), version=number, builtin_code=code
                )
                for code, number in dict.fromkeys(self.codes)
            ]
        )

    def subgraph(self) -> int:
        numbers = {code: i for i, code in enumerate(dict.fromkeys(self.codes))}
        operators = [
            self.operator(op, numbers[code]) for op, code in zip(self.model.operators, self.codes, strict=True)
        ]
        return self.file.table(
            schema.SUBGRAPH,
            tensors=self.tensors(),
            inputs=self.file.integers([index for _, index in self.model.inputs]),
            outputs=self.file.integers([index for _, index in self.model.outputs]),
            operators=self.file.offsets(operators),
            name=self.file.string(self.model.name),
        )

    def tensors(self) -> int:
        places, buffer = [], 0
        for tensor in self.model.tensors:
            buffer += tensor.data is not None
            places.append(self.tensor(tensor, buffer if tensor.data is not None else 0))
        return self.file.offsets(places)

    def tensor(self, tensor: Tensor, buffer: int) -> int:
        return self.file.table(
            schema.TENSOR,
            shape=self.file.integers(tensor.shape),
            type=schema.TENSOR_TYPES[tensor.dtype],
            buffer=buffer,
            name=self.file.string(tensor.name),
            quantization=self.quantization(tensor.quantization) if tensor.quantization else None,
            has_rank=True,
        )

    def quantization(self, quantization: Quantization) -> int:
        return self.file.table(
            schema.QUANTIZATION,
            scale=self.file.vector(quantization.scale),
            zero_point=self.file.vector(np.full(len(quantization.scale), quantization.zero_point, np.int64)),
            quantized_dimension=quantization.axis,
        )

    def operator(self, op: Operator, code: int) -> int:
        return self.file.table(
            schema.OPERATOR,
            opcode_index=code,
            inputs=self.file.integers(op.inputs),
            outputs=self.file.integers([op.output]),
            builtin_options_type=op.kind.union,
            builtin_options=self.file.table(op.kind.options, **op.options) if op.kind.union else None,
        )

    def signature(self) -> int:
        return self.file.table(
            schema.SIGNATURE,
            inputs=self.tensor_maps(self.model.inputs),
            outputs=self.tensor_maps(self.model.outputs),
            signature_key=self.file.string(_SIGNATURE_KEY),
        )

    def tensor_maps(self, names: Iterable[tuple[str, int]]) -> int:
        return self.file.offsets(
            [self.file.table(schema.TENSOR_MAP, name=self.file.string(name), tensor_index=i) for name, i in names]
        )
