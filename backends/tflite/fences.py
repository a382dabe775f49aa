"""Borders between the operators that are quantized and those that keep floats."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from archlang.backends.tflite.estimate import Range
from archlang.backends.tflite.model import Model, Operator, Tensor
from archlang.backends.tflite.schema import DEQUANTIZE, QUANTIZE, Builtin


@dataclass
class Draft:
    """A model that is being rewritten operator by operator, and the ranges of its tensors."""

    tensors: list[Tensor]
    ranges: dict[int, Range]
    operators: list[Operator] = field(default_factory=list)

    def convert(self, kind: Builtin, x: int, op: Operator, precise: bool) -> int:
        """A QUANTIZE or DEQUANTIZE of x, made for op; the tensor that it makes, of the same range."""
        tensor = self.tensors[x]
        output = len(self.tensors)
        self.tensors.append(replace(tensor, name=f"{tensor.name}/{kind.name.lower()}_{output}"))
        if x in self.ranges:
            self.ranges[output] = self.ranges[x]
        self.operators.append(Operator(kind, (x,), output, {}, op.node, precise))
        return output


def fenced(model: Model, ranges: dict[int, Range], float_ends: bool = False) -> tuple[Model, dict[int, Range]]:
    """The model with conversions at the borders of its precise operators. A DEQUANTIZE is itself one of them: what a
    precise operator makes is float, and all else is integers; float_ends: but for the inputs and outputs."""
    return _Fence(model, Draft(list(model.tensors), dict(ranges)), float_ends).build()


class _Fence:
    def __init__(self, model: Model, draft: Draft, float_ends: bool) -> None:
        self.model, self.draft, self.float_ends = model, draft, float_ends
        self.floats = {x for _, x in model.inputs} if float_ends else set[int]()
        """Tensors of the new model that hold floats."""
        self.makers: dict[int, Operator] = {}
        self.converted: dict[int, int] = {}

    def build(self) -> tuple[Model, dict[int, Range]]:
        for op in self.model.operators:
            inputs = tuple(self.across(x, op, op.precise) for x in op.inputs)
            self.draft.operators.append(replace(op, inputs=inputs))
            self.makers[op.output] = op
            if op.precise:
                self.floats.add(op.output)
        outputs = tuple((name, self.across(x, self.makers[x], self.float_ends)) for name, x in self.model.outputs)
        tensors, operators = tuple(self.draft.tensors), tuple(self.draft.operators)
        return replace(self.model, tensors=tensors, operators=operators, outputs=outputs), self.draft.ranges

    def across(self, x: int, op: Operator, precise: bool) -> int:
        """x on the side of the border where `op` wants it."""
        if self.draft.tensors[x].data is not None or (x in self.floats) == precise:
            return x
        if x not in self.converted:
            self.converted[x] = self.draft.convert(DEQUANTIZE if precise else QUANTIZE, x, op, precise)
        return self.converted[x]
