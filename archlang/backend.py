"""The Backend protocol, and the one table that names the backends. Each is imported at its first use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from archlang.errors import fail, nearest
from archlang.ir.graph import Graph

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    import numpy as np
    from numpy.typing import NDArray

    from archlang.weights import Weights

QUANTIZE_MODES = ("none", "fp16", "dynamic", "int8")


@dataclass(frozen=True)
class Request:
    """What a compilation is asked for, beside the graph.

    weights: name -> array, already checked against the graph; None: fresh ones from `seed`, where the target holds any.
    calibration: inputs of the first network input, (N, C, H, W) float32, for int8.
    origin: the spec as the user named it, for headers and metadata.
    """

    weights: Weights | None = None
    quantize: str = "none"
    calibration: NDArray[np.float32] | None = None
    seed: int = 0
    origin: str = ""


@dataclass(frozen=True)
class Artifact:
    """What a backend made. ops: operator name -> count, where the format has operators."""

    data: bytes
    ops: Mapping[str, int] = field(default_factory=dict)


class Backend(Protocol):
    """A target. suffix: of the file it writes. modes: the quantization modes it knows."""

    suffix: str
    modes: tuple[str, ...]

    def compile(self, graph: Graph, request: Request) -> Artifact:
        """The graph as a file's content. Raises ArchError where the target cannot do what the graph asks."""
        ...


_BUILT_IN = {
    "pytorch": "archlang.backends.pytorch",
    "onnx": "archlang.backends.onnx",
    "tflite": "archlang.backends.tflite",
}


def names() -> list[str]:
    """Every backend that can be asked for, third parties' (entry point group `archlang.backends`) among them."""
    return [*_BUILT_IN, *(point.name for point in _third_parties() if point.name not in _BUILT_IN)]


def get(name: str) -> Backend:
    """The backend called `name`: its module's `BACKEND`, or the object that an entry point names."""
    if name in _BUILT_IN:
        backend: Backend = import_module(_BUILT_IN[name]).BACKEND
        return backend
    for point in _third_parties():
        if point.name == name:
            loaded: Backend = point.load()
            return loaded
    raise fail("E0801", f"there is no backend `{name}`", help=nearest(name, names()))


def _third_parties() -> EntryPoints:
    from importlib.metadata import entry_points  # takes 30 ms, which `archlang cost` need not wait for

    return entry_points(group="archlang.backends")


def compile_graph(graph: Graph, target: str, request: Request) -> Artifact:
    """Compile with the backend `target`, after checking that it knows the quantization mode."""
    backend = get(target)
    if request.quantize not in backend.modes:
        raise fail(
            "E0802",
            f"the {target} backend cannot quantize to `{request.quantize}`",
            help="it knows " + ", ".join(f"`{mode}`" for mode in backend.modes),
        )
    return backend.compile(graph, request)
