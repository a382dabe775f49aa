"""Which tensors of a model must have one scale and one zero point."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from archlang.backends.tflite.estimate import Range
from archlang.backends.tflite.fences import Draft
from archlang.backends.tflite.model import FLOAT, Model, Operator
from archlang.backends.tflite.schema import QUANTIZE
from archlang.backends.tflite.specification import SHARED, SYMMETRIC, Parameters, Scheme


@dataclass
class Groups:
    """Disjoint sets of tensors, each named by one of them. fixed: parameters that cannot be chosen; symmetric: sets
    whose zero point should be 0."""

    parent: dict[int, int] = field(default_factory=dict)
    fixed: dict[int, Parameters] = field(default_factory=dict)
    symmetric: set[int] = field(default_factory=set)

    def find(self, x: int) -> int:
        while x in self.parent:
            x = self.parent[x]
        return x

    def unite(self, x: int, y: int) -> None:
        x, y = self.find(x), self.find(y)
        if x == y:
            return
        self.parent[y] = x
        if y in self.fixed:
            self.fixed[x] = self.fixed.pop(y)


def grouped(model: Model, ranges: dict[int, Range], scheme: Scheme) -> tuple[Model, dict[int, Range], Groups]:
    """The groups, and the model with what they need: a concatenation of a tensor whose scale is fixed with others gets
    that tensor quantized once more."""
    groups, draft = Groups(), Draft(list(model.tensors), dict(ranges))
    integers = [op for op in model.operators if not op.precise]
    for op in integers:
        if op.kind.name in scheme.fixed:
            groups.fixed[groups.find(op.output)] = scheme.fixed[op.kind.name]
        elif op.kind.name in SHARED and op.kind.name != "CONCATENATION":
            _unite(groups, draft, op)
    for op in model.operators:
        if op.kind.name == "CONCATENATION" and not op.precise:
            op = _freed(op, draft, groups, scheme)
            _unite(groups, draft, op)
        draft.operators.append(op)
    groups.symmetric = {groups.find(op.inputs[SYMMETRIC[op.kind.name]]) for op in integers if op.kind.name in SYMMETRIC}
    return replace(model, tensors=tuple(draft.tensors), operators=tuple(draft.operators)), draft.ranges, groups


def _unite(groups: Groups, draft: Draft, op: Operator) -> None:
    for x in op.inputs:
        if draft.tensors[x].dtype == FLOAT:
            groups.unite(op.output, x)


def _freed(op: Operator, draft: Draft, groups: Groups, scheme: Scheme) -> Operator:
    """The concatenation, with inputs that can share a scale."""
    fixed = [groups.fixed.get(groups.find(x)) for x in op.inputs]
    if len(set(fixed)) == 1:
        return op
    inputs = []
    for x, parameters in zip(op.inputs, fixed, strict=True):
        if parameters is not None:
            draft.ranges[x] = scheme.range_of(*parameters)
            x = draft.convert(QUANTIZE, x, op, False)
        inputs.append(x)
    return replace(op, inputs=tuple(inputs))
