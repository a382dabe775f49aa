"""Runs one model and times it: a script of its own that needs nothing of archlang, only numpy and a runtime.

It runs on Python 3.7 and later, since boards have what they have.

It reads a request as JSON on stdin and writes the answer as JSON on stdout. The host transport starts it as a
process, so that a runtime that crashes or hangs takes nothing else with it; other transports can copy it to a device.

Request: model (path), threads, warmup_runs, warmup_secs, runs, min_secs, profile, seed; reference (the path of a model
that is run in turns with it, or null), usual_ms (what that takes on the undisturbed device, 0 if that is not known),
patience_secs (for how long at most to wait for it to be undisturbed).
Answer: runtime, delegate, samples_ms, warmup_runs, ops (null, or a list of {name, op, ms}, which only ONNX Runtime
and PyTorch give here), references_ms, stretches and waited_secs (see `in_turns`); or error (`missing`, `model` or
`profile`) and message.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[], object]

PROFILE_WARMUP = 3
PROFILE_RUNS = 20

STRETCH_SECS = 0.03
REFERENCE_SECS = 0.015
"""In turns with the reference: so short that what disturbs the one disturbs the other."""

CALM = 1.06
"""How many times its usual time the reference may take. Undisturbed processes differ by up to 4.5 %."""

USUAL = 10
"""Percentile of the reference's times that is its usual one."""

MOST = 2
"""How many times the time that was asked for is spent to see the device undisturbed."""


PAUSE_SECS = 0.1
"""Between two looks at the reference while the device is disturbed. Calm moments may be as short as a second."""


class Failure(Exception):
    """What the answer's `error` and `message` say."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def serve(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read a request on stdin, write the answer on stdout, end when the caller does."""
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the runtimes print on stdout
    threading.Thread(target=end_with_parent, daemon=True).start()
    request = json.load(sys.stdin)
    try:
        answer = handle(request)
    except Failure as failure:
        answer = {"error": failure.kind, "message": str(failure)}
    json.dump(answer, answer_to)
    answer_to.flush()


def end_with_parent() -> None:
    """A killed caller must not leave a measurement behind that disturbs the next. It says who it is: it may be gone
    before this begins."""
    parent = int(os.environ.get("ARCHLANG_PARENT") or os.getppid())
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request."""
    suffix = os.path.splitext(request["model"])[1]
    run, runtime, delegate = loaded(request["model"], request)
    if request.get("reference"):
        told = in_turns(run, loaded(request["reference"], request)[0], request)
    else:
        warmup, samples = timed(run, request)
        told = {"samples_ms": samples, "warmup_runs": len(warmup) + 1}
        told |= {"references_ms": [], "stretches": [], "waited_secs": 0.0}
    profile = PROFILES.get(suffix) if request["profile"] else None
    ops = profile(request["model"], request["threads"], request["seed"]) if profile else None
    return {"runtime": runtime, "delegate": delegate, "ops": ops, **told}


def loaded(model: str, request: dict[str, Any]) -> tuple[Run, str, str]:
    """A run of the model, which has succeeded once; the runtime, and its delegate."""
    run, runtime, delegate = LOADERS[os.path.splitext(model)[1]](model, request["threads"], request["seed"])
    try:
        run()
    except Exception as error:
        raise Failure("model", f"{runtime} cannot run it: {_first_line(error)}") from error
    return run, runtime, delegate


def in_turns(
    run: Run,
    other: Run,
    request: dict[str, Any],
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Stretches of the candidate between stretches of the reference, until enough of them met an undisturbed device,
    or `MOST` times the time has passed. While the reference says that it is disturbed, and patience lasts, it waits.

    stretches: how many of the samples each has; 0, where it waited instead. references_ms: the median of each stretch
    of the reference, one more. waited_secs: how long it has waited in all.
    """
    gc.collect()
    gc.disable()
    warmup = repeat(run, request["warmup_runs"], request["warmup_secs"], clock)
    repeat(other, request["warmup_runs"], min(request["warmup_secs"], REFERENCE_SECS), clock)
    references = [_median(stretch(other, REFERENCE_SECS, clock))]
    stretches: list[list[float]] = []
    waited = 0.0
    while not enough(stretches, references, request):
        start = clock()
        waits = waited < request.get("patience_secs", 0.0) and 0 < CALM * request["usual_ms"] < references[-1]
        if waits:
            sleep(PAUSE_SECS)
            repeat(other, 1, REFERENCE_SECS, clock)  # the caches forget, and clocks slow down
        stretches.append([] if waits else stretch(run, STRETCH_SECS, clock))
        references.append(_median(stretch(other, REFERENCE_SECS, clock)))
        waited += (clock() - start) / 1e9 if waits else 0.0
    samples = [ms for each in stretches for ms in each]
    counts = {"warmup_runs": len(warmup) + 1, "stretches": [len(each) for each in stretches]}
    return {"samples_ms": samples, "references_ms": references, "waited_secs": waited, **counts}


def stretch(run: Run, secs: float, clock: Callable[[], int]) -> list[float]:
    """Without the first run where there are several: it finds its caches taken by the other model."""
    samples = repeat(run, 1, secs, clock)
    return samples[1:] or samples


def enough(stretches: list[list[float]], references: list[float], request: dict[str, Any]) -> bool:
    """Whether what was asked for was measured on an undisturbed device, or it took too long."""
    runs, least_ms = request["runs"], 1e3 * request["min_secs"]
    if sum(map(len, stretches)) < runs:
        return False
    if sum(ms for each in stretches for ms in each) >= MOST * least_ms:
        return True
    limit = CALM * usual(references, request["usual_ms"])
    calm = [each for i, each in enumerate(stretches) if max(references[i : i + 2]) <= limit]
    return sum(map(len, calm)) >= runs and bool(sum(ms for each in calm for ms in each) >= least_ms)


def usual(references: list[float], known: float) -> float:
    """What the reference takes where nothing disturbs it, as far as it is known."""
    here = sorted(references)[len(references) * USUAL // 100]
    return min(here, known) if known else here


def timed(run: Run, request: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Times of the warm-up and of the measured runs, in milliseconds, without the garbage collector."""
    gc.collect()
    gc.disable()
    warmup = repeat(run, request["warmup_runs"], request["warmup_secs"])
    return warmup, repeat(run, request["runs"], request["min_secs"])


def repeat(
    run: Run, minimum_runs: int, minimum_secs: float, clock: Callable[[], int] = time.perf_counter_ns
) -> list[float]:
    """Run until both a number of runs and a time have passed; each run's time in milliseconds."""
    samples: list[float] = []
    enough = clock() + int(minimum_secs * 1e9)
    while len(samples) < minimum_runs or clock() < enough:
        start = clock()
        run()
        samples.append((clock() - start) / 1e6)
    return samples


# TFLite

TFLITE_RUNTIMES = (
    ("ai_edge_litert.interpreter", "LiteRT", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime", "tflite-runtime"),
    ("tensorflow.lite", "TensorFlow Lite", "tensorflow"),
)
"""Module with an `Interpreter`, name, package; the first that is installed is taken."""


def load_tflite(model: str, threads: int, seed: int) -> tuple[Run, str, str]:
    """An invocation of the model on random inputs, the runtime's name and version, and the delegate that it uses."""
    make, runtime = interpreter_class()
    try:
        interpreter = make(model_path=model, num_threads=threads)
        interpreter.allocate_tensors()
    except Exception as error:
        raise Failure("model", f"{runtime} does not accept it: {_first_line(error)}") from error
    for index, value in enumerate(tflite_inputs(interpreter, seed)):
        interpreter.set_tensor(interpreter.get_input_details()[index]["index"], value)
    return interpreter.invoke, runtime, tflite_delegate(interpreter)


def tflite_delegate(interpreter: Any) -> str:
    """`XNNPACK` where a part of the model is run by it, which is the only delegate that is there unasked."""
    try:
        names = [op["op_name"] for op in interpreter._get_ops_details()]
    except AttributeError:  # a release that does not tell
        return ""
    return "XNNPACK" if "DELEGATE" in names or "TfLiteXNNPackDelegate" in names else ""


def interpreter_class() -> tuple[Callable[..., Any], str]:
    reason = "no TFLite runtime is installed"
    for module, title, package in TFLITE_RUNTIMES:
        number = version(package)
        if not number:
            continue
        if package == "tflite-runtime" and int(version("numpy").split(".")[0]) >= 2:
            # 2.14, its last release, was built against numpy 1 and kills the process with numpy 2
            reason = f"tflite-runtime {number} works with numpy 1 only"
            continue
        try:
            return import_module(module).Interpreter, f"{title} {number}"
        except ImportError as error:
            reason = f"{package} {number} cannot be imported: {_first_line(error)}"
    raise Failure("missing", reason)


def version(package: str) -> str:
    """The version of an installed package; empty where it is not installed."""
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        found = {entry.key: entry.version for entry in import_module("pkg_resources").working_set}
        return str(found.get(package, ""))
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def tflite_inputs(interpreter: Any, seed: int) -> list[Any]:
    """One random array for each input; -1 in a shape, which TFLite has for a free size, is already 1 there."""
    return [random_input(d["dtype"], tuple(d["shape"]), seed) for d in interpreter.get_input_details()]


def random_input(dtype: Any, shape: tuple[int, ...], seed: int) -> Any:
    """Floats in 0..1, whole 8-bit integers over their range, other integers 0, which is an index that exists."""
    import numpy as np

    generator = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return generator.random(shape).astype(kind)
    if kind in (np.int8, np.uint8):
        limits = np.iinfo(kind)
        return generator.integers(limits.min, limits.max, shape, kind, endpoint=True)
    return np.zeros(shape, kind)


# ONNX Runtime

ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


def load_onnx(model: str, threads: int, seed: int) -> tuple[Run, str, str]:
    """As `load_tflite`, with ONNX Runtime on the CPU."""
    ort, runtime = onnx_runtime()
    session = onnx_session(ort, runtime, model, threads)
    feeds = onnx_feeds(session, seed)
    return lambda: session.run(None, feeds), runtime, "CPU"


def onnx_runtime() -> tuple[Any, str]:
    try:
        ort = import_module("onnxruntime")
    except ImportError as error:
        raise Failure("missing", "ONNX Runtime is not installed") from error
    return ort, f"ONNX Runtime {ort.__version__}"


def onnx_session(ort: Any, runtime: str, model: str, threads: int, profile_to: str = "") -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile_to:
        options.enable_profiling = True
        options.profile_file_prefix = profile_to
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Failure("model", f"{runtime} does not accept it: {_first_line(error)}") from error


def onnx_feeds(session: Any, seed: int) -> dict[str, Any]:
    """Random inputs; a free dimension is 1."""
    feeds = {}
    for value in session.get_inputs():
        if value.type not in ONNX_TYPES:
            raise Failure("model", f"the input `{value.name}` is a {value.type}, for which no random one can be made")
        shape = tuple(n if isinstance(n, int) and n > 0 else 1 for n in value.shape)
        feeds[value.name] = random_input(ONNX_TYPES[value.type], shape, seed)
    return feeds


# Time per operator, from runs of their own: profiling slows them


def onnx_profile(model: str, threads: int, seed: int) -> list[dict[str, Any]]:
    """Median time of each operator, in the order of evaluation."""
    import tempfile

    ort, runtime = onnx_runtime()
    with tempfile.TemporaryDirectory() as folder:
        session = onnx_session(ort, runtime, model, threads, os.path.join(folder, "profile"))
        feeds = onnx_feeds(session, seed)
        for _ in range(PROFILE_WARMUP + PROFILE_RUNS):
            session.run(None, feeds)
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    return onnx_operators(events, PROFILE_WARMUP)


def onnx_operators(events: list[dict[str, Any]], warmup: int) -> list[dict[str, Any]]:
    """The operators of an ONNX Runtime profile (Chrome trace events; a kernel's ends in `_kernel_time`, in us)."""
    times: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            name = name[: -len("_kernel_time")]
            times.setdefault(name, []).append(event["dur"] / 1e3)
            kinds[name] = event.get("args", {}).get("op_name", "")
    return [{"name": name, "op": kinds[name], "ms": _median(ms[warmup:])} for name, ms in times.items()]


# PyTorch


def load_torch(model: str, threads: int, seed: int) -> tuple[Run, str, str]:
    """As `load_tflite`, with a module in eager mode: a file of Python whose `MEASURED` names the class, and whose
    `INPUTS` are the shapes of its inputs."""
    torch, network, inputs = torch_network(model, threads, seed)

    def run() -> object:
        with torch.inference_mode():
            return network(*inputs)

    return run, f"PyTorch {torch.__version__}", "CPU"


def torch_network(model: str, threads: int, seed: int) -> tuple[Any, Any, list[Any]]:
    """PyTorch, the module with fresh weights, and its inputs."""
    try:
        torch = import_module("torch")
    except ImportError as error:
        raise Failure("missing", "PyTorch is not installed") from error
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    try:
        spec = spec_from_file_location("measured_network", model)
        assert spec is not None
        assert spec.loader is not None
        source = module_from_spec(spec)
        spec.loader.exec_module(source)
        network = network_class(source)().eval()
        inputs = [torch.from_numpy(random_input("float32", shape, seed)) for shape in source.INPUTS]
    except Exception as error:
        raise Failure("model", f"PyTorch does not accept it: {_first_line(error)}") from error
    return torch, network, inputs


def network_class(source: Any) -> Any:
    """The class that the file names, or its last one, where the generator had to call it otherwise."""
    own = [each for each in vars(source).values() if isinstance(each, type) and each.__module__ == source.__name__]
    return getattr(source, source.MEASURED, own[-1])


def torch_profile(model: str, threads: int, seed: int) -> list[dict[str, Any]]:
    """The time of each layer that is a module, in the order of evaluation; before them that of what is none
    (activations, sums, reshapes), together."""
    torch, network, inputs = torch_network(model, threads, seed)
    layers = {name: each for name, each in network.named_modules() if name and not list(each.children())}
    watches = {name: _Watch(each) for name, each in layers.items()}
    outside: list[float] = []

    def run() -> None:
        before, start = sum(watch.total for watch in watches.values()), time.perf_counter_ns()
        network(*inputs)
        taken = (time.perf_counter_ns() - start) / 1e6
        outside.append(taken - sum(watch.total for watch in watches.values()) + before)

    with torch.inference_mode():
        repeat(run, PROFILE_WARMUP + PROFILE_RUNS, 0.0)
    called = [name for name, watch in watches.items() if watch.times]
    ops = [{"name": name, "op": type(layers[name]).__name__, "ms": _per_run(watches[name].times)} for name in called]
    return [{"name": "outside of modules", "op": "functional", "ms": _median(outside[PROFILE_WARMUP:])}, *ops]


class _Watch:
    """Times the calls of a module, in milliseconds."""

    def __init__(self, module: Any) -> None:
        self.times: list[float] = []
        self.total = 0.0
        self._start = 0
        module.register_forward_pre_hook(self._begin)
        module.register_forward_hook(self._end)

    def _begin(self, *_: object) -> None:
        self._start = time.perf_counter_ns()

    def _end(self, *_: object) -> None:
        self.times.append((time.perf_counter_ns() - self._start) / 1e6)
        self.total += self.times[-1]


def _per_run(times: list[float]) -> float:
    """A layer may be called several times in a run."""
    calls = len(times) // (PROFILE_WARMUP + PROFILE_RUNS)
    return calls * _median(times[calls * PROFILE_WARMUP :])


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


LOADERS = {".tflite": load_tflite, ".onnx": load_onnx, ".py": load_torch}
PROFILES = {".onnx": onnx_profile, ".py": torch_profile}
"""What is told here of each operator; litert_profile.py does it for .tflite."""


if __name__ == "__main__":
    serve(measure)
