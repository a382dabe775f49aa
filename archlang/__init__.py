"""archlang: a compiler-style language for neural network architectures.

    net = archlang.load("specs/resnet.arch:r50")
    net.cost(); net.graph; net.to_torch(); net.to_tflite("r50.tflite", quantize="int8")
    archlang.bench("r50.tflite")

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archlang.device import bench
    from archlang.net import Net, load, loads

__version__ = "0.1.0"

_LAZY = {
    "Net": "archlang.net",
    "load": "archlang.net",
    "loads": "archlang.net",
    "bench": "archlang.device",
}

__all__ = ["Net", "__version__", "bench", "load", "loads"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'archlang' has no attribute {name!r}")
