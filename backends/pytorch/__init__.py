"""PyTorch: the Graph as a Python file that a person would like to keep."""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archlang.backend import Artifact, Request
from archlang.backends.pytorch.source import PythonSource, generate
from archlang.errors import missing_extra
from archlang.ir.graph import Graph

if TYPE_CHECKING:
    from torch import nn

    from archlang.transfer import Transfer
    from archlang.weights import Weights


@dataclass(frozen=True)
class PyTorchBackend:
    """Writes source; weights are no part of it."""

    suffix: str = ".py"
    modes: tuple[str, ...] = ("none",)
    options: tuple[str, ...] = ("init", "zero_init", "qat")

    def compile(self, graph: Graph, request: Request) -> Artifact:
        return Artifact(generate(graph, request.origin, request.init, request.zero_init, request.qat).text.encode())


def build_module(source: str, class_name: str) -> nn.Module:
    """Run generated source and make the network that it defines, with fresh weights.

    Only for text that `generate` wrote: it is executed. class_name: the network's; where the file had to call it
    otherwise, the last class is meant.
    """
    try:
        import torch.nn  # noqa: F401
    except ImportError as error:
        raise missing_extra("making a PyTorch module", "torch") from error
    scope: dict[str, Any] = {"__name__": f"archlang_generated_{class_name}"}
    file = f"<generated {class_name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # tracebacks, torch.jit.script
    # Without this module's `from __future__ import annotations`: torch.jit.script wants types, not their names.
    exec(compile(source, file, "exec", dont_inherit=True), scope)
    classes = [value for value in scope.values() if isinstance(value, type) and value.__module__ == scope["__name__"]]
    module: nn.Module = scope.get(class_name, classes[-1])()
    return module


def prepared(module: nn.Module, arrays: Weights, transfer: Transfer | None, frozen: Sequence[str]) -> nn.Module:
    """The module with the arrays loaded and parts of it frozen; its attribute `transfer` says what was kept, if not
    all had to be."""
    import torch

    from archlang.backends.pytorch.freeze import freeze

    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    module.load_state_dict(state, strict=False)
    freeze(module, frozen)
    if transfer is not None:
        module.transfer = transfer  # type: ignore[assignment]
    return module


BACKEND = PyTorchBackend()

__all__ = ["BACKEND", "PyTorchBackend", "PythonSource", "build_module", "generate", "prepared"]
