"""What the language knows by itself: ops as steps, functions on numbers, names of modes.

Most ops become built-ins from their class alone: the fields are the parameters. `conv` and its kin also take `norm` and
`act`, which become ops of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from archlang.errors import fail
from archlang.ir.types import TensorType
from archlang.lower.values import Builtin, Function, Late, Parameter, Tensor, Value, kind_of, show
from archlang.ops import OPS, Op, attribute_names, conv, join, pool, regularize, same_padding, shape
from archlang.source import Span

if TYPE_CHECKING:
    from archlang.lower.steps import Steps

Arguments = dict[str, Value]

_ALIASES = {
    "channels": "c",
    "out_channels": "c",
    "filters": "c",
    "kernel": "k",
    "kernel_size": "k",
    "stride": "s",
    "strides": "s",
    "padding": "pad",
    "activation": "act",
    "normalization": "norm",
    "units": "features",
    "rate": "p",
}


MAX_SIZE = 2**31
"""Of what counts or measures: the formats of model files hold no more."""

# ---- from language values to attributes ------------------------------------------------------------------------------


def whole(value: Value, what: str, span: Span) -> int:
    """A whole number; 32.0 counts as one."""
    if type(value) is int and -MAX_SIZE < value < MAX_SIZE:
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= MAX_SIZE:
            raise fail("E0403", f"{what} is too large: sizes and counts stay under 2**31", span)
        return value
    seen = show(value) if isinstance(value, float) else kind_of(value)
    hint = "write `//` for a whole quotient, or `int(...)`" if isinstance(value, float) else ""
    raise fail("E0206", f"{what} must be a whole number, not {seen}", span, help=hint)


def real(value: Value, what: str, span: Span) -> Any:
    if type(value) is float or isinstance(value, Late):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise fail("E0206", f"{what} must be a number, not {kind_of(value)}", span)


def pair(value: Value, what: str, span: Span) -> tuple[int, int]:
    """A number for both axes, or (height, width)."""
    if isinstance(value, tuple):
        if len(value) != 2:
            raise fail("E0206", f"{what} takes one number or two, not {len(value)}", span, help="1x7 is (1, 7)")
        return whole(value[0], what, span), whole(value[1], what, span)
    number = whole(value, what, span)
    return number, number


def flag(value: Value, what: str, span: Span) -> bool:
    if value in (0, 1):
        return bool(value)
    raise fail("E0206", f"{what} is either 0 or 1, not {show(value)}", span)


def text(value: Value, what: str, span: Span) -> str:
    if isinstance(value, str):
        return value
    raise fail("E0206", f"{what} must be a name or a string, not {kind_of(value)}", span)


_CONVERT: dict[str, Callable[[Value, str, Span], Any]] = {
    "int": whole,
    "float": real,
    "bool": flag,
    "str": text,
    "tuple[int, int]": pair,
}


def padding(
    value: Value,
    default: tuple[int, int],
    x: TensorType,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    span: Span,
) -> conv.Pad4:
    """Explicit padding (top, left, bottom, right) from what was written: nothing, `same`, `valid`, one number, two
    (per axis), or four."""
    if value is None:
        value = default
    if value == "valid":
        value = 0
    if value == "same":
        if not x.is_image:
            return (0, 0, 0, 0)
        top, bottom = same_padding(x.height, kernel[0], stride[0], dilation[0])
        left, right = same_padding(x.width, kernel[1], stride[1], dilation[1])
        return top, left, bottom, right
    if isinstance(value, tuple) and len(value) == 4:
        sides = [whole(v, "`pad`", span) for v in value]
        result = (sides[0], sides[1], sides[2], sides[3])
    elif isinstance(value, str):
        raise fail("E0206", f"`pad` knows no mode `{value}`", span, help="use a number, `same`, or `valid`")
    else:
        height, width = pair(value, "`pad`", span)
        result = (height, width, height, width)
    if min(result) < 0:
        raise fail("E0206", "`pad` must not be negative", span)
    return result


# ---- ops as built-ins ------------------------------------------------------------------------------------------------


def _op_params(cls: type[Op]) -> tuple[Parameter, ...]:
    found = []
    for f in fields(cls):
        required = f.default is MISSING
        name = f.metadata.get("short", f.name)
        default = None if required or name == "pad" else f.default
        found.append(Parameter(name, default, required, once=name == "s"))
    return tuple(found)


_Field = tuple[str, str, Callable[[Value, str, Span], Any], str]
"""Its name, the name in the language, the conversion, and how messages call it."""

_FIELDS: dict[type[Op], list[_Field]] = {}


def _fields(cls: type[Op]) -> list[_Field]:
    """An op's fields but for padding, found out once."""
    if cls not in _FIELDS:
        named = [(f.name, f.metadata.get("short", f.name), str(f.type)) for f in fields(cls)]
        _FIELDS[cls] = [
            (n, short, _CONVERT[t], f"`{short}` of `{cls.name}`") for n, short, t in named if short != "pad"
        ]
    return _FIELDS[cls]


def _attributes(cls: type[Op], given: Arguments, span: Span) -> dict[str, Any]:
    """The op's fields from the language's arguments, but for padding, which needs the input."""
    values = {}
    for name, short, convert, what in _fields(cls):
        if short in given:
            value = given[short]
            if isinstance(value, Late) and not cls.training_only:
                raise fail("E0210", f"{what} cannot depend on `pos`", span)
            values[name] = convert(value, what, span)
    return values


Types = Sequence[TensorType]


def _plain(cls: type[Op]) -> Builtin:
    def build(given: Arguments, xs: Types, span: Span) -> Op:
        return cls(**_attributes(cls, given, span))

    return Builtin(cls.name, _op_params(cls), build, inputs=cls.arity, aliases=_ALIASES)


def _pool(cls: type[pool.Pool2d]) -> Builtin:
    def build(given: Arguments, xs: Types, span: Span) -> Op:
        values = _attributes(cls, given, span)
        kernel = values["kernel"]
        default = tuple(k // 2 if k % 2 else 0 for k in kernel)
        pad = padding(given["pad"], (default[0], default[1]), xs[0], kernel, values["stride"], (1, 1), span)
        return cls(**values, padding=pad)

    return Builtin(cls.name, _op_params(cls), build, aliases=_ALIASES)


_CONV_PARAMS = (
    *(p for p in _op_params(conv.Conv2d) if p.name != "bias"),
    Parameter("bias"),
    Parameter("norm"),
    Parameter("act"),
)


def _with_bias(given: Arguments) -> Arguments:
    """A bias exactly where there is no norm, unless `bias` says otherwise."""
    return {**given, "bias": given["norm"] is None} if given["bias"] is None else given


def _conv(given: Arguments, xs: Types, span: Span) -> Op:
    values = _attributes(conv.Conv2d, _with_bias(given), span)
    kernel, dilation = values["kernel"], values["dilation"]
    default = (dilation[0] * (kernel[0] - 1) + 1) // 2, (dilation[1] * (kernel[1] - 1) + 1) // 2
    return conv.Conv2d(
        **values, padding=padding(given["pad"], default, xs[0], kernel, values["stride"], dilation, span)
    )


def _dwconv(given: Arguments, xs: Types, span: Span) -> Op:
    """A depthwise convolution: groups are the input's channels, `mult` filters for each."""
    channels = xs[0].channels
    filters = channels * whole(given["mult"], "`mult` of `dwconv`", span)
    return _conv({**given, "c": filters, "groups": channels}, xs, span)


_TRANSPOSE_PARAMS = (
    *(p for p in _op_params(conv.ConvTranspose2d) if p.name not in ("pad", "bias")),
    Parameter("pad", 0),
    Parameter("bias"),
    Parameter("norm"),
    Parameter("act"),
)


def _conv_transpose(given: Arguments, xs: Types, span: Span) -> Op:
    values = _attributes(conv.ConvTranspose2d, _with_bias(given), span)
    pad = pair(given["pad"], "`pad` of `conv_transpose`", span)
    if min(pad) < 0:
        raise fail("E0206", "`pad` must not be negative", span)
    return conv.ConvTranspose2d(**values, padding=pad)


def _emit_linear(body: Steps, tensors: tuple[Tensor, ...], given: Arguments, span: Span, label: str) -> Value:
    """A linear layer; an image of one pixel is taken as the vector of its channels."""
    x = tensors[0]
    if x.type.is_image and x.type.shape[1:] == (1, 1):
        x = body.emit(shape.Flatten(), (x,), span)
    name = label or body.fresh("linear")
    out = body.emit(conv.Linear(**_attributes(conv.Linear, _with_bias(given), span)), (x,), span, name)
    return body.follow(out, given["norm"], given["act"], span, name)


def _emit_skip(body: Steps, tensors: tuple[Tensor, ...], given: Arguments, span: Span, label: str) -> Tensor:
    return tensors[0]


def _emit_split(body: Steps, tensors: tuple[Tensor, ...], given: Arguments, span: Span, label: str) -> Value:
    """Equal parts along the channels, or parts of the sizes given as a list."""
    (x,) = tensors
    parts = given["parts"]
    if isinstance(parts, tuple):
        sizes = [whole(size, "`parts` of `split`", span) for size in parts]
    else:
        count = whole(parts, "`parts` of `split`", span)
        if count < 1 or x.type.channels % count:
            raise fail("E0305", f"{x.type.channels} channels do not split into {count} equal parts", span)
        sizes = [x.type.channels // count] * count
    if sum(sizes) != x.type.channels:
        raise fail("E0305", f"the parts have {sum(sizes)} channels together, the input {x.type.channels}", span)
    ends = list(accumulate(sizes))
    return tuple(body.emit(shape.Slice(end - size, end), (x,), span) for size, end in zip(sizes, ends, strict=True))


def _emit_rearrange(body: Steps, tensors: tuple[Tensor, ...], given: Arguments, span: Span, label: str) -> Tensor:
    """A token for each position, or `a` of them, which lie one after the other in the channels."""
    pattern = " ".join(text(given["pattern"], "the pattern of `rearrange`", span).replace("->", " -> ").split())
    if pattern == "b c h w -> b (h w) c":
        return body.emit(shape.Tokens(), tensors, span, label)
    if pattern != "b (a c) h w -> b (h w a) c":
        known = '`rearrange` knows "b c h w -> b (h w) c" and "b (a c) h w -> b (h w a) c"'
        raise fail("E0304", f"`rearrange` knows no pattern {pattern!r}", span, help=known)
    if given["a"] is None:
        raise fail("E0212", "`rearrange` needs `a`, the number of tokens at each position", span)
    return body.emit(shape.Tokens(whole(given["a"], "`a` of `rearrange`", span)), tensors, span, label)


def _drop_path(given: Arguments, xs: Types, span: Span) -> Op:
    return regularize.DropPath(real(given["p"], "`p` of `drop_path`", span))


_FOLLOW = (Parameter("norm"), Parameter("act"))

_SPECIAL = (
    Builtin("conv", _CONV_PARAMS, _conv, aliases=_ALIASES),
    Builtin(
        "dwconv",
        (*(p for p in _CONV_PARAMS if p.name not in ("c", "groups")), Parameter("mult", 1)),
        _dwconv,
        like=("conv",),
        aliases=_ALIASES,
    ),
    Builtin("conv_transpose", _TRANSPOSE_PARAMS, _conv_transpose, aliases=_ALIASES),
    Builtin(
        "linear",
        (Parameter("features", required=True), Parameter("bias"), *_FOLLOW),
        emit=_emit_linear,
        aliases=_ALIASES,
    ),
    Builtin("skip", (), emit=_emit_skip),
    Builtin("split", (Parameter("parts", required=True),), emit=_emit_split),
    Builtin("rearrange", (Parameter("pattern", required=True), Parameter("a")), emit=_emit_rearrange),
    Builtin("drop_path", (Parameter("p", required=True),), _drop_path),
    _pool(pool.MaxPool2d),
    _pool(pool.AvgPool2d),
)

_HIDDEN = {"input", "slice", "tokens"}

STEPS: dict[str, Builtin] = {
    **{name: _plain(cls) for name, cls in OPS.items() if name not in _HIDDEN},
    **{builtin.name: builtin for builtin in _SPECIAL},
}
"""Every built-in step by its name in the language."""

GROUPS = frozenset(("add", "concat", "mul", "mean", "residual", "branch"))
"""Names that head a group."""

JOINS: dict[str, type[Op]] = {"add": join.Add, "concat": join.Concat, "mul": join.Mul, "mean": join.Mean}


def joining(name: str, options: Arguments, span: Span) -> Op:
    """The op that ends the group `name:`; the group's options are its attributes."""
    return JOINS[name](**_attributes(JOINS[name], options, span))


def joining_options(name: str) -> tuple[str, ...]:
    """The options of the group `name:`."""
    return tuple(attribute_names(JOINS[name]))


# ---- functions on numbers --------------------------------------------------------------------------------------------


def round_to(value: float, multiple: int) -> int:
    """The nearest multiple, at least one, and never more than 10 % down (MobileNet's rule for channels)."""
    nearest = max(multiple, int(value + multiple / 2) // multiple * multiple)
    return nearest + multiple if nearest < 0.9 * value else nearest


def _range(*bounds: int) -> Value:
    if len(range(*bounds)) > MAX_LIST:
        raise OverflowError
    return tuple(range(*bounds))


MAX_LIST = 100_000

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("max", lambda *values: max(*values)),
        Function("min", lambda *values: min(*values)),
        Function("ceil", lambda value: math.ceil(value)),
        Function("floor", lambda value: math.floor(value)),
        Function("int", lambda value: int(value)),
        Function("round", lambda value: math.floor(value + 0.5)),
        Function("sqrt", lambda value: math.sqrt(value)),
        Function("abs", lambda value: abs(value)),
        Function("sum", lambda values: sum(values)),
        Function("len", lambda values: len(values)),
        Function("zip", lambda *lists: tuple(zip(*lists, strict=False))),
        Function("enumerate", lambda values: tuple(enumerate(values))),
        Function("range", _range),
        Function("reversed", lambda values: tuple(reversed(values))),
        Function("round_to", round_to),
    )
}

CONSTANTS: dict[str, Value] = {
    "none": None,
    "true": True,
    "false": False,
    "pos": Late(),
    **{name: name for name in ("same", "valid", "nearest", "bilinear", "fits", "tokens")},
}

NAMES: dict[str, Value] = {**FUNCTIONS, **STEPS, **CONSTANTS}
"""Everything that a name means where the file says nothing else."""
