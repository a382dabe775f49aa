"""PyTorch: the Graph as a Python file that a person would like to keep."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archlang.backend import Artifact, Request
from archlang.backends.pytorch.source import PythonSource, generate
from archlang.errors import missing_extra
from archlang.ir.graph import Graph

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PyTorchBackend:
    """Writes source; weights are no part of it."""

    suffix: str = ".py"
    modes: tuple[str, ...] = ("none",)

    def compile(self, graph: Graph, request: Request) -> Artifact:
        return Artifact(generate(graph, request.origin).text.encode())


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
    exec(compile(source, file, "exec"), scope)
    classes = [value for value in scope.values() if isinstance(value, type) and value.__module__ == scope["__name__"]]
    module: nn.Module = scope.get(class_name, classes[-1])()
    return module


BACKEND = PyTorchBackend()

__all__ = ["BACKEND", "PyTorchBackend", "PythonSource", "build_module", "generate"]
