"""The Backend protocol, and the one table that names the backends. Each is imported at its first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from archlang.about import About
from archlang.errors import fail, nearest
from archlang.files import Buffer, write_together
from archlang.ir.graph import Graph
from archlang.quantize.options import Options, Samples, Told, silent

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

    import numpy as np
    from numpy.typing import NDArray

    from archlang.quantize.report import Report
    from archlang.weights import Weights

QUANTIZE_MODES = ("none", "fp16", "dynamic", "int8", "int16x8")
INTEGER_MODES = ("int8", "int16x8")
"""Those that compute in integers, and so need ranges."""


@dataclass(frozen=True)
class Request:
    """What a compilation is asked for, beside the graph.

    weights: name -> array, already checked against the graph; None: fresh ones from `seed`, where the target holds any.
    calibration: inputs by the name of the network's input, (N, C, H, W) float32, for int8 and int16x8; an array alone
    is for a network of one input.
    origin: the spec as the user named it, for headers and metadata.
    file: the name of the file that will be written, for formats that may keep weights in a second file beside it.

    What only some targets know, `Backend.options`:
    opset: ONNX's version; None: the backend's own choice. batch: the size of the batch dimension; None: any size.
    keep_bn: BatchNorms stay nodes of their own, and are not multiplied into the layers before them.
    init: how the generated source makes fresh weights, one of `INITIALISATIONS`.
    zero_init: the last BatchNorm of every residual branch starts at 0, as in arXiv:1706.02677, section 5.1.
    via: who makes the file where it is not the backend itself: `tensorflow`, for TFLite.
    io: what goes in and out of a quantized TFLite model: `float`, or the integers of its mode; None: those.
    runtime: what a TFLite model has to run in: `litert`, `tflite-2.14` or `tflite-micro`; None: the first.
    quantization: how int8 and int16x8 find their ranges, and what they do for accuracy.
    qat: generated PyTorch that rounds as int8 does while it is trained: how its ranges come about, one of `qat.RANGES`.
    about: what a model file tells those who use it: normalisation, labels.

    told: is told how far a calibration or a report is.
    """

    weights: Weights | None = None
    quantize: str = "none"
    calibration: Samples | NDArray[np.float32] | None = None
    seed: int = 0
    origin: str = ""
    file: str = ""
    opset: int | None = None
    batch: int | None = None
    keep_bn: bool = False
    init: str = "paper"
    zero_init: bool = False
    via: str | None = None
    io: str | None = None
    runtime: str | None = None
    quantization: Options = Options()
    qat: str | None = None
    about: About = About()
    told: Told = field(default=silent, compare=False)

    @property
    def latency_only(self) -> bool:
        """Whether the scales of activations are plausible ones that nobody has measured."""
        return self.quantize in INTEGER_MODES and self.calibration is None


OPTIONS = ("opset", "batch", "keep_bn", "init", "zero_init", "via", "io", "runtime", "quantization", "qat", "about")
"""The fields of a Request that not every backend knows."""

INITIALISATIONS = ("paper", "he", "truncated-normal", "torch", "keras")
"""Of generated source: what the network's paper took, or one scheme for every network, or the framework's own."""

Pieces = Callable[[], Iterable[Buffer]]
"""Makes a file's content piece by piece, so that a large one need not be whole in memory."""


@dataclass(frozen=True)
class Claim:
    """That a .tflite or .onnx file computes what the graph does, as far as its numbers can.

    weights: with which; None where it only takes as long (scales that nobody has measured).
    layered: whether tensors called like a layer hold what the layer makes, but for rounding.
    learnt: whether ranges are those of a training, which may cut values off as it has found best.
    """

    weights: Weights | None
    layered: bool = True
    learnt: bool = False


@dataclass(frozen=True)
class Artifact:
    """What a backend made.

    content: of the file. ops: operator name -> count, where the format has operators.
    beside: name -> content of the files that belong in the same folder, for which the content itself has no room.
    warnings: sentences for the user. report: what quantization costs, where `Request.quantization` asks for it.
    claim: what a file that runs is meant to compute, for `verify`; None for one that cannot be checked, such as source.
    """

    content: bytes | Pieces
    ops: Mapping[str, int] = field(default_factory=dict)
    beside: Mapping[str, Pieces] = field(default_factory=dict)
    claim: Claim | None = None
    warnings: tuple[str, ...] = ()
    report: Report | None = None

    @cached_property
    def data(self) -> bytes:
        """The file's content in one piece."""
        return self.content if isinstance(self.content, bytes) else b"".join(self.content())

    def write(self, path: Path, check: Callable[[Path], None] | None = None) -> int:
        """Write the file and those beside it, all of them whole or none. How many bytes they have together.

        check: is called with the path of the whole file before it gets its name; see `verify.verification`.
        """
        files = {path.parent / name: pieces() for name, pieces in self.beside.items()}
        content = (self.content,) if isinstance(self.content, bytes) else self.content()
        return write_together({**files, path: content}, check)


class Backend(Protocol):
    """A target. suffix: of the file it writes. modes: the quantization modes it knows.

    It may also have `options`: those of `OPTIONS` that it knows; none where it has not.
    """

    suffix: str
    modes: tuple[str, ...]

    def compile(self, graph: Graph, request: Request) -> Artifact:
        """The graph as a file's content. Raises ArchError where the target cannot do what the graph asks."""
        ...


_BUILT_IN = {
    "pytorch": "archlang.backends.pytorch",
    "keras": "archlang.backends.keras",
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
    """Compile with the backend `target`, after checking that it knows the quantization mode and the options."""
    backend = get(target)
    _check_options(backend, target, request)
    if request.quantize not in backend.modes:
        raise fail(
            "E0802",
            f"the {target} backend cannot quantize to `{request.quantize}`",
            help="it knows " + ", ".join(f"`{mode}`" for mode in backend.modes),
        )
    return backend.compile(graph, request)


def _check_options(backend: Backend, target: str, request: Request) -> None:
    known = getattr(backend, "options", ())
    defaults = {field.name: field.default for field in fields(Request)}
    for option in OPTIONS:
        if getattr(request, option) != defaults[option] and option not in known:
            others = ", ".join(f"`{name}`" for name in known) or "none"
            raise fail("E0804", f"the {target} backend knows no `{option}`", help=f"of such options it knows {others}")
