"""What the runtimes that a file can be meant for do not know of the operators that are written here.

`litert` is the newest and knows them all. tflite-runtime 2.14 was the last of its name; the versions are those that its
wheel registers (`core/kernels/register.cc`). tflite-micro looks at no versions: its interpreter has no kernel for some
operators (`micro_mutable_op_resolver.h`), and some kernels refuse some types (`micro/kernels`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from archlang.backend import Request
from archlang.backends.tflite.model import FLOAT, INT8, INT16, Model, Operator
from archlang.backends.tflite.specification import WEIGHTED
from archlang.backends.tflite.versions import version
from archlang.errors import fail, nearest

HALF = np.dtype(np.float16)

Types = tuple[np.dtype[np.generic], ...]
"""Of the first inputs of an operator."""


@dataclass(frozen=True)
class Runtime:
    """versions: operator -> the latest version that it takes; empty where it takes any.
    lacks: operator -> the types that its kernel refuses; with no types in them, there is no kernel.
    most_inputs: operator -> how many its kernel takes, where that is not any number."""

    title: str
    versions: Mapping[str, int] = field(default_factory=dict)
    lacks: Mapping[str, tuple[Types, ...]] = field(default_factory=dict)
    most_inputs: Mapping[str, int] = field(default_factory=dict)

    def refusal(self, model: Model, op: Operator) -> str:
        """What it has not and the operator needs; empty where nothing is missing."""
        latest, needed = self.versions.get(op.kind.name), version(model, op)
        if latest is not None and needed > latest:
            return f"no {op.kind.name} of version {needed}, but up to {latest}"
        most = self.most_inputs.get(op.kind.name, len(op.inputs))
        if len(op.inputs) > most:
            return f"no {op.kind.name} of {len(op.inputs)} inputs, but of {most} at most"
        types = tuple(model.tensors[x].dtype for x in op.inputs)
        for refused in self.lacks.get(op.kind.name, ()):
            if types[: len(refused)] == refused:
                return f"no {op.kind.name}" + (f" of {' with '.join(map(str, refused))}" if refused else "")
        return ""


_VERSIONS_2_14 = {
    "ADD": 5,
    "AVERAGE_POOL_2D": 3,
    "BATCH_MATMUL": 4,
    "CONCATENATION": 4,
    "CONV_2D": 7,
    "DEPTHWISE_CONV_2D": 7,
    "DEPTH_TO_SPACE": 2,
    "DEQUANTIZE": 5,
    "FULLY_CONNECTED": 10,
    "GELU": 2,
    "HARD_SWISH": 1,
    "L2_NORMALIZATION": 2,
    "LEAKY_RELU": 2,
    "LOCAL_RESPONSE_NORMALIZATION": 1,
    "LOGISTIC": 3,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MUL": 7,
    "PAD": 4,
    "PADV2": 4,
    "QUANTIZE": 3,
    "RELU": 3,
    "RELU6": 3,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "RSQRT": 2,
    "SLICE": 6,
    "SOFTMAX": 3,
    "SQUARED_DIFFERENCE": 2,
    "STRIDED_SLICE": 8,
    "SUB": 5,
    "TANH": 3,
    "TRANSPOSE": 6,
}

_LACKS_MICRO: dict[str, tuple[Types, ...]] = {
    "DEQUANTIZE": ((HALF,),),
    "GELU": ((),),
    "LOCAL_RESPONSE_NORMALIZATION": ((),),
    "RESIZE_BILINEAR": ((INT16,),),
    **dict.fromkeys(WEIGHTED, ((FLOAT, INT8),)),
}

RUNTIMES: Mapping[str, Runtime] = {
    "litert": Runtime("LiteRT"),
    "tflite-2.14": Runtime("tflite-runtime 2.14", versions=_VERSIONS_2_14),
    "tflite-micro": Runtime("tflite-micro", lacks=_LACKS_MICRO, most_inputs={"CONCATENATION": 10}),
}
"""What `Request.runtime` can be."""


def named(request: Request) -> Runtime:
    """The runtime that is asked for. Raises ArchError where there is none of the name, or where it cannot be looked
    after."""
    name = request.runtime or "litert"
    if name not in RUNTIMES:
        raise fail("E0804", f"there is no TFLite runtime `{name}`", help=nearest(name, RUNTIMES))
    if request.runtime and request.via:
        message = f"`--via {request.via}` does not ask what a runtime knows, so that `--runtime` means nothing there"
        raise fail("E0804", message, help="leave out one of the two")
    return RUNTIMES[name]


def check(model: Model, runtime: Runtime, mode: str) -> None:
    """Raises ArchError, at the first line that asks for something which the runtime has not."""
    found = [(op, missing) for op in model.operators if (missing := runtime.refusal(model, op))]
    if not found:
        return
    op, missing = found[0]
    others = len({op.node.name for op, _ in found}) - 1
    raise fail(
        "E0803",
        f"{runtime.title} cannot run `{op.node.name}` in `{mode}`: it has {missing}",
        op.node.span,
        help=f"nor can it run {others} more layers" if others else "",
    )
