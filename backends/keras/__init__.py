"""Keras 3: the Graph as a Python file of functions that apply layers, for every backend of Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archlang.backend import Artifact, Request
from archlang.backends.keras.source import KerasSource, generate
from archlang.errors import missing_extra
from archlang.ir.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    import keras


@dataclass(frozen=True)
class KerasBackend:
    """Writes source; weights are no part of it."""

    suffix: str = ".py"
    modes: tuple[str, ...] = ("none",)

    def compile(self, graph: Graph, request: Request) -> Artifact:
        return Artifact(generate(graph, request.origin).text.encode())


def build_model(source: KerasSource, weights: Mapping[str, Any] | None = None, **arguments: Any) -> keras.Model:
    """Run generated source and build the network that it defines, on the Keras backend that is in use.

    Only for text that `generate` wrote: it is executed. weights: name -> array in PyTorch's layout; fresh ones where
    there are none. arguments: of the building function (`auxiliary=True`).
    """
    try:
        import keras  # noqa: F401
    except ImportError as error:
        raise missing_extra("building a Keras model", "keras") from error
    scope: dict[str, Any] = {"__name__": f"archlang_generated_{source.build}"}
    exec(compile(source.text, f"<generated {source.build}>", "exec"), scope)
    model: keras.Model = scope[source.build](**arguments)
    if weights is not None and "load_weights" in scope:
        scope["load_weights"](model, weights)
    return model


BACKEND = KerasBackend()

__all__ = ["BACKEND", "KerasBackend", "KerasSource", "build_model", "generate"]
