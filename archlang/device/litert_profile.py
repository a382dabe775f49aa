"""Time per operator of a .tflite model: LiteRT's profiler, by its C library, which the Python package ships.

The library's functions are called through ctypes, and their signatures may change with a release: so this is a
process of its own, as the runner is, and an answer that makes no sense is refused. Headers: google-ai-edge/LiteRT,
litert/c/litert_{environment,model,options,compiled_model,tensor_buffer,profiler,profiler_event}.h.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from ctypes import Structure, byref, c_char_p, c_int, c_size_t, c_uint8, c_uint64, c_void_p
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from archlang.device.runner import Failure, serve

WARMUP = 10
RUNS = 50
CPU = 1
OPERATOR_EVENTS = (2, 4, 8)
"""Kinds of events: an operator of TFLite, one within a delegate, one within a delegate that stands for the former."""


class Memory(Structure):
    _fields_ = (("allocated", c_size_t), ("in_use", c_size_t), ("private", c_size_t))


class Event(Structure):
    """ProfiledEventData. elapsed: microseconds. index: of the operator within its graph."""

    _fields_ = (
        ("tag", c_char_p),
        ("kind", c_int),
        ("start", c_uint64),
        ("elapsed", c_uint64),
        ("before", Memory),
        ("after", Memory),
        ("index", c_uint64),
        ("graph", c_uint64),
        ("source", c_int),
    )


TensorType = c_uint8 * 72


class Library:
    """LiteRT's C library; a call that returns a status other than 0 is a Failure."""

    def __init__(self) -> None:
        package = find_spec("ai_edge_litert")
        folders = [] if package is None else list(package.submodule_search_locations or [])
        paths = [path for folder in folders if (path := Path(folder, "libLiteRt.so")).exists()]
        if not paths:
            raise Failure("profile", "the time of single operators is told by ai-edge-litert 2 and later only")
        self._library = ctypes.CDLL(str(paths[0]))
        self._c = ctypes.CDLL(None)
        self._c.strdup.restype = c_void_p
        self._free = ctypes.CFUNCTYPE(None, c_void_p)(("free", self._c))

    def __call__(self, name: str, *arguments: Any) -> None:
        try:
            status = getattr(self._library, f"LiteRt{name}")(*arguments)
        except AttributeError as error:
            raise Failure("profile", f"this release of ai-edge-litert has no {name}, which profiling needs") from error
        if status != 0:
            raise Failure("profile", f"LiteRT cannot profile this model ({name}: status {status})")

    def made(self, name: str, *arguments: Any) -> c_void_p:
        """The object that a function makes or finds in its last argument."""
        found = c_void_p()
        self(name, *arguments, byref(found))
        return found

    def set_option(self, options: c_void_p, identifier: bytes, text: bytes) -> None:
        """Add options as TOML text, which the library frees."""
        payload = c_void_p(self._c.strdup(text))
        self("AddOpaqueOptions", options, self.made("CreateOpaqueOptions", identifier, payload, self._free))


def profile(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request: the median time of each operator, in the order of evaluation."""
    library = Library()
    environment = library.made("CreateEnvironment", 0, None)
    model = library.made("CreateModelFromFile", environment, request["model"].encode())
    options = library.made("CreateOptions")
    library("SetOptionsHardwareAccelerators", options, CPU)
    library.set_option(options, b"runtime_options_string", b"enable_profiling = true\n")
    library.set_option(options, b"xnnpack", f"num_threads = {request['threads']}\n".encode())
    compiled = library.made("CreateCompiledModel", environment, model, options)
    run = _invocation(library, environment, model, compiled)
    for _ in range(WARMUP):
        run()
    profiler = library.made("CompiledModelGetProfiler", compiled)
    runs, total = _profiled_runs(library, profiler, run)
    return {"ops": _operators(runs, total)}


def _invocation(library: Library, environment: c_void_p, model: c_void_p, compiled: c_void_p) -> Callable[[], None]:
    """A run on inputs as they were allocated: the time of a dense operator does not depend on its values."""
    graph = library.made("GetModelSubgraph", model, c_size_t(0))

    def buffers(side: str) -> Iterator[c_void_p]:
        count = c_size_t()
        library(f"GetNumSubgraph{side}s", graph, byref(count))
        for i in range(count.value):
            tensor = library.made(f"GetSubgraph{side}", graph, c_size_t(i))
            type_ = TensorType()
            library("GetRankedTensorType", tensor, byref(type_))
            needs = library.made(f"GetCompiledModel{side}BufferRequirements", compiled, c_size_t(0), c_size_t(i))
            yield library.made("CreateManagedTensorBufferFromRequirements", environment, byref(type_), needs)

    sides = [list(buffers(side)) for side in ("Input", "Output")]
    inputs, outputs = ((c_void_p * len(side))(*side) for side in sides)
    counts = [c_size_t(len(side)) for side in sides]
    return lambda: library("RunCompiledModel", compiled, c_size_t(0), counts[0], inputs, counts[1], outputs)


def _profiled_runs(library: Library, profiler: c_void_p, run: Callable[[], None]) -> tuple[list[list[Event]], float]:
    """The operator events of each run, and the milliseconds that all runs took by our own clock."""
    runs = []
    start = time.perf_counter()
    for _ in range(RUNS):
        library("ResetProfiler", profiler)
        library("StartProfiler", profiler)
        run()
        library("StopProfiler", profiler)
        count = c_int()
        library("GetNumProfilerEvents", profiler, byref(count))
        events = (Event * count.value)()
        library("GetProfilerEvents", profiler, count, events)
        runs.append([event for event in events if event.kind in OPERATOR_EVENTS and not _is_delegate(event)])
    return runs, (time.perf_counter() - start) * 1e3


def _is_delegate(event: Event) -> bool:
    """A delegate as a whole, whose own operators are there too."""
    return b"Delegate" in (event.tag or b"")


def _operators(runs: list[list[Event]], total: float) -> list[dict[str, Any]]:
    """Medians over the runs. Refuses events that are not the same in each run, or last longer than the runs did."""
    names = [[event.tag for event in run] for run in runs]
    elapsed = sum(event.elapsed for run in runs for event in run) / 1e3
    if not names[0] or any(other != names[0] for other in names) or not 0 < elapsed < 1.1 * total:
        raise Failure("profile", "LiteRT's profile cannot be read: another release of ai-edge-litert is needed")
    kinds = [(tag or b"").decode(errors="replace") for tag in names[0]]
    times = [sorted(run[i].elapsed for run in runs)[len(runs) // 2] / 1e3 for i in range(len(kinds))]
    return [{"name": f"{i:03d}", "op": op, "ms": ms} for i, (op, ms) in enumerate(zip(kinds, times, strict=True))]


if __name__ == "__main__":
    serve(profile)
