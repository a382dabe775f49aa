"""Layers of changing width, kernel and stride: the largest, which the constructor makes, and what forward tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from archlang.backends.pytorch.supernet.union import Column, Rows, Step
from archlang.backends.source.layer import Argument, Layer, Texts
from archlang.backends.source.layout import Call, Expression, Keyword


class Rigid(Exception):
    """What changes has no elastic layer."""


@dataclass(frozen=True)
class Parts:
    """A step for writing. layers: path -> the largest layer of the instance, without what forward tells; host: the
    same for all, with it. told: argument of forward -> its values in the rows."""

    host: Layer
    layers: dict[str, Layer]
    told: dict[str, Column]


def parts(step: Step, rows: Rows, variants: Mapping[str, Sequence[Layer]]) -> Parts:
    """variants: path -> all that the step is there. Raises Rigid where a varying argument cannot be told."""
    first = next(layer for layer in step.layers if layer)
    changing = [k for k in range(len(first.arguments)) if rows.varies(step.constructor(k))]
    told = {a.name: tuple(step.called(k)) for k, a in enumerate(first.call_arguments) if rows.varies(step.called(k))}
    if changing and first.module not in ELASTIC:
        raise Rigid(f"`{first.module}` of changing {first.arguments[changing[0]].name}")  # type: ignore[union-attr]
    elastic = ELASTIC[first.module](step, rows, changing) if changing else _Elastic(first.module, {})
    largest = {path: _largest(variants[path], elastic) for path in rows.paths if variants[path]}
    host = next(iter(largest.values()))
    told = {**told, **elastic.told}
    calls = (*(a for a in host.call_arguments if a.name not in told), *(Argument(None, label=name) for name in told))
    layers = {path: replace(layer, call_arguments=_untold(layer, told)) for path, layer in largest.items()}
    apply = _telling(tuple(elastic.told)) if elastic.told else host.apply
    return Parts(replace(host, call_arguments=calls, apply=apply), layers, told)


def _untold(layer: Layer, told: dict[str, Column]) -> tuple[Argument, ...]:
    return tuple(argument for argument in layer.call_arguments if argument.name not in told)


@dataclass(frozen=True)
class _Elastic:
    """module: the class of the layer; told: see Parts."""

    module: str
    told: dict[str, Column]


def _largest(there: Sequence[Layer], elastic: _Elastic) -> Layer:
    """The layer of one instance with the largest of every argument; a padding that belongs to the largest kernel."""
    arguments = tuple(_maximum([layer.arguments[k] for layer in there]) for k in range(len(there[0].arguments)))
    if elastic.module == there[0].module:
        return replace(there[0], arguments=arguments)
    helpers = frozenset({elastic.module})
    return replace(there[0], kind=elastic.module, module=elastic.module, arguments=arguments, helpers=helpers)


def _maximum(arguments: Sequence[Argument | Layer]) -> Argument | Layer:
    first = arguments[0]
    if isinstance(first, Layer):
        return first
    plain = [argument for argument in arguments if isinstance(argument, Argument)]
    return max(plain, key=lambda argument: _number(argument.value))


def _number(value: Any) -> Any:
    return sum(value) if isinstance(value, tuple) else value


def _telling(names: tuple[str, ...]) -> Callable[[str, Texts, Sequence[Expression]], Expression]:
    """`self.conv1(x, channels, kernel=k)`: the channels by position, the others by keyword."""

    def apply(module: str, arguments: Texts, inputs: Sequence[Expression]) -> Expression:
        given: list[Expression] = list(inputs)
        for name in names:
            text = arguments[name]
            assert text is not None
            given.append(text if name in ("channels", "features") else Keyword(name, text))
        return Call(module, tuple(given))

    return apply


# ---- kinds of layers -------------------------------------------------------------------------------------------------

IN, OUT, KERNEL, STRIDE, PADDING, DILATION, GROUPS = range(7)


def _conv(step: Step, rows: Rows, changing: Sequence[int]) -> _Elastic:
    if not set(changing) <= {IN, OUT, KERNEL, STRIDE, PADDING, GROUPS}:
        raise Rigid("a convolution of changing dilation or bias")
    _check_padding(step, rows)
    told = {"kernel": tuple(step.constructor(KERNEL))} if KERNEL in changing else {}
    if STRIDE in changing:
        told["stride"] = tuple(step.constructor(STRIDE))
    if any(isinstance(value, tuple) for column in told.values() for value in column):
        raise Rigid("a convolution of changing kernel that is not square")
    if GROUPS in changing or _is_depthwise(step):
        if not _is_depthwise(step):
            raise Rigid("a grouped convolution of changing width")
        return _Elastic("ElasticDepthwiseConv2d", told)
    channels = {"channels": tuple(step.constructor(OUT))} if OUT in changing else {}
    return _Elastic("ElasticConv2d", {**channels, **told})


def _is_depthwise(step: Step) -> bool:
    sizes = zip(step.constructor(IN), step.constructor(OUT), step.constructor(GROUPS), strict=True)
    return all(i == o == g for i, o, g in sizes)


def _check_padding(step: Step, rows: Rows) -> None:
    """A smaller kernel is the centre of the largest: its padding is smaller by what is cut off on each side."""
    columns = [step.constructor(k) for k in (KERNEL, PADDING, DILATION)]
    for path in rows.paths:
        found = {tuple(map(_pair, values)) for i in rows.of(path) if None not in (values := [c[i] for c in columns])}
        shifts = {tuple(k // 2 * d - p for k, p, d in zip(*each, strict=True)) for each in found}
        if len(shifts) > 1 or len({k % 2 for each in found for k in each[0]}) > 1:
            raise Rigid("a convolution whose padding does not follow its kernel")


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _norm(step: Step, rows: Rows, changing: Sequence[int]) -> _Elastic:
    if list(changing) != [0]:
        raise Rigid("a BatchNorm of changing eps or momentum")
    first = next(layer for layer in step.layers if layer)
    return _Elastic(first.module.replace("nn.", "Elastic"), {})


def _linear(step: Step, rows: Rows, changing: Sequence[int]) -> _Elastic:
    if not set(changing) <= {IN, OUT}:
        raise Rigid("a linear layer of changing bias")
    told = {"features": tuple(step.constructor(OUT))} if OUT in changing else {}
    return _Elastic("ElasticLinear", told)


ELASTIC: dict[str, Callable[[Step, Rows, Sequence[int]], _Elastic]] = {
    "nn.Conv2d": _conv,
    "nn.BatchNorm2d": _norm,
    "nn.BatchNorm1d": _norm,
    "nn.Linear": _linear,
}
"""Class of a layer -> how it becomes elastic. ElasticBatchNorm1d takes what nn.BatchNorm1d takes."""
