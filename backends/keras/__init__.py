"""Keras 3: the Graph as a Python file of functions that apply layers, for every backend of Keras."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from archlang.backend import Artifact, Request
from archlang.backends.keras.source import KerasSource, conversions, generate
from archlang.errors import fail, missing_extra, nearest
from archlang.ir.graph import Graph

if TYPE_CHECKING:
    import keras

    from archlang.transfer import Transfer
    from archlang.weights import Weights


@dataclass(frozen=True)
class KerasBackend:
    """Writes source; weights are no part of it."""

    suffix: str = ".py"
    modes: tuple[str, ...] = ("none",)
    options: tuple[str, ...] = ("init", "zero_init")

    def compile(self, graph: Graph, request: Request) -> Artifact:
        return Artifact(generate(graph, request.origin, request.init, request.zero_init).text.encode())


def build_model(source: KerasSource, weights: Mapping[str, Any] | None = None, **arguments: Any) -> keras.Model:
    """Run generated source and build the network that it defines, on the Keras backend that is in use.

    Only for text that `generate` wrote: it is executed. weights: name -> array in PyTorch's layout; fresh ones where
    there are none. arguments: of the building function (`auxiliary=True`).
    """
    scope = _run(source.text, f"<generated {source.build}>")
    with _room_for_deep_networks():
        model: keras.Model = scope[source.build](**arguments)
    if weights is not None and "load_weights" in scope:
        scope["load_weights"](model, weights)
    return model


@contextmanager
def _room_for_deep_networks() -> Iterator[None]:
    """Keras goes from the outputs to the inputs by recursion, two calls a layer: a thousand layers need more than the
    usual 1,000."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 20_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _run(text: str, file: str) -> dict[str, Any]:
    """What generated text defines."""
    try:
        import keras  # noqa: F401
    except ImportError as error:
        raise missing_extra("building a Keras model", "keras") from error
    scope: dict[str, Any] = {"__name__": file}
    exec(compile(text, file, "exec"), scope)
    return scope


def prepared(model: keras.Model, arrays: Weights, transfer: Transfer | None, frozen: Sequence[str]) -> keras.Model:
    """The model with the arrays loaded and parts of it frozen; its attribute `transfer` says what was kept, if not
    all had to be."""
    load_weights(model, {**state_dict(model), **arrays})
    freeze(model, frozen)
    if transfer is not None:
        model.transfer = transfer
    return model


def load_weights(model: keras.Model, arrays: Mapping[str, Any]) -> None:
    """Set the weights of a model that generated source built, from arrays with PyTorch's names and layouts. Raises
    KeyError for one that is missing; others are passed over."""
    _conversions()["load_weights"](model, arrays)


def state_dict(model: keras.Model) -> Weights:
    """The weights of a model that generated source built, as every target takes them: name -> array in PyTorch's
    layout."""
    arrays: Weights = _conversions()["state_dict"](model)
    return arrays


@cache
def _conversions() -> dict[str, Any]:
    """The functions that generated files have for the purpose, able to convert whatever there is."""
    return _run(conversions(), "<generated conversions>")


def freeze(model: keras.Model, parts: Iterable[str]) -> None:
    """Freeze the stages, modules and arrays called so, and all below them: no gradients, and BatchNorms stay in
    evaluation mode. Raises ArchError where there is no part of the name."""
    layers = {layer.name.replace("-", "."): layer for layer in model.layers}
    for part in parts:
        found = [layer for name, layer in layers.items() if _is_in(name, part)]
        if not part or not found:
            raise fail("E0613", f"there is no part `{part}` to freeze", help=nearest(part, _prefixes(layers)))
        for layer in found:
            layer.trainable = False


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _prefixes(names: Iterable[str]) -> list[str]:
    """Each name, and the stages that it is in."""
    found = [name[:end] for name in names for end in (*(dot.start() for dot in re.finditer(r"\.", name)), len(name))]
    return list(dict.fromkeys(found))


BACKEND = KerasBackend()

__all__ = [
    "BACKEND",
    "KerasBackend",
    "KerasSource",
    "build_model",
    "generate",
    "load_weights",
    "prepared",
    "state_dict",
]
