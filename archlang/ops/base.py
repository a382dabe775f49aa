"""What an op is: attributes, a shape rule, a cost rule, parameters. One class an op; the fields are the attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, field, fields
from typing import Any, ClassVar

from archlang.ir.types import TensorType
from archlang.records import record


class ShapeError(ValueError):
    """An op does not accept its inputs. The lowering turns it into a located diagnostic.

    message: what is wrong, `help`: what to write instead, `code`: the diagnostic's code.
    """

    def __init__(self, message: str, help: str = "", code: str = "E0301") -> None:
        super().__init__(message)
        self.message, self.help, self.code = message, help, code


@record(frozen=True, slots=True)
class Cost:
    """What an op costs for one input (batch 1). Additive.

    params: trainable parameters. macs: multiply-accumulates of convolutions, linear layers and attention products.
    flops: every arithmetic operation, a MAC being two.
    """

    params: int = 0
    macs: int = 0
    flops: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs, self.flops + other.flops)


@record(frozen=True, slots=True)
class Param:
    """An array that belongs to an op.

    shape: PyTorch's layout (convolution: out, in / groups, height, width; linear: out, in).
    init: `he` (He et al., arXiv:1502.01852, fan out), `linear` (normal, standard deviation 0.01), `zeros`, `ones`,
    `normal` (standard deviation 0.02), `signs` (+1 or -1, as likely), or a number as text.
    """

    shape: tuple[int, ...]
    init: str
    trainable: bool = True


OPS: dict[str, type[Op]] = {}
"""Every op class by its name in the Graph's text."""


def attr(short: str = "", default: Any = MISSING) -> Any:
    """A dataclass field that is an attribute of the op, called `short` in the language where that differs."""
    metadata = {"short": short} if short else {}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


@record(frozen=True)
class Op:
    """Base of all ops. A subclass is a record; `class Relu(Op, name="relu")` registers it.

    arity: how many tensors it takes, None for one or more.
    elementwise: whether output[i] depends on input[i] alone, the shape staying as it is.
    training_only: whether it is the identity in evaluation mode (dropout).
    keeps_float: whether int8 models compute it in floats, since eight bits would lose too much.
    """

    name: ClassVar[str] = ""
    arity: ClassVar[int | None] = 1
    elementwise: ClassVar[bool] = False
    training_only: ClassVar[bool] = False
    keeps_float: ClassVar[bool] = False

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name:
            cls.name = name
            assert name not in OPS, f"two ops are called {name}"
            OPS[name] = cls

    def infer(self, *xs: TensorType) -> TensorType:
        """The output's type. Raises ShapeError where the inputs do not fit."""
        return xs[0]

    def params(self, *xs: TensorType) -> dict[str, Param]:
        """The op's arrays by their local name (`weight`, `bias`, `running_mean`, ...)."""
        return {}

    def cost(self, xs: Sequence[TensorType], y: TensorType) -> Cost:
        """Cost for inputs of types `xs` and an output of type `y`."""
        return Cost(flops=y.size)

    def trainable(self, *xs: TensorType) -> int:
        """Number of trainable parameters."""
        count = 0
        for param in self.params(*xs).values():
            if param.trainable:
                size = 1
                for n in param.shape:
                    size *= n
                count += size
        return count


def attribute_names(cls: type[Op]) -> dict[str, str]:
    """The language's name of each attribute -> the dataclass field's name."""
    return {f.metadata.get("short", f.name): f.name for f in fields(cls)}


def conv_out(size: int, kernel: int, stride: int, dilation: int, before: int, after: int, ceil: bool = False) -> int:
    """Output length of a sliding window along one axis (Dumoulin and Visin, arXiv:1603.07285, relationship 6).

    ceil: round up, but never start a window in the padding after the input (PyTorch's rule).
    """
    span = size + before + after - dilation * (kernel - 1) - 1
    if span < 0:
        raise ShapeError(
            f"the kernel covers {dilation * (kernel - 1) + 1} but the padded input is only {size + before + after}",
            "use a smaller kernel, more padding, or fewer strides before it",
            code="E0302",
        )
    if not ceil:
        return span // stride + 1
    out = -(-span // stride) + 1
    return out - 1 if (out - 1) * stride >= size + before else out


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's SAME padding along one axis: the odd one goes after. (before, after)."""
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + dilation * (kernel - 1) + 1 - size)
    return total // 2, total - total // 2


def need_image(op: Op, x: TensorType) -> None:
    if not x.is_image:
        raise ShapeError(f"`{op.name}` needs an image (channels, height, width), but its input is {x}", code="E0303")


def positive(op: Op, **values: int) -> None:
    """Raise ShapeError unless every value is at least 1."""
    for name, value in values.items():
        if value < 1:
            raise ShapeError(f"`{name}` of `{op.name}` must be at least 1, not {value}", code="E0304")
