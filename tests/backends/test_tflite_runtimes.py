"""The files in other runtimes than LiteRT: tflite-micro, and tflite-runtime 2.14 of 2023 where a Python has it.

What they compute is compared with LiteRT's reference kernels: floats to rounding, integers to one step.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import archlang
from archlang import weights as weights_module
from archlang.backend import Request, compile_graph
from archlang.backends.tflite import runtimes, writer
from archlang.backends.tflite.schema import BUILTINS
from archlang.device import runner
from archlang.errors import ArchError, OutsideError
from archlang.ir import Graph
from archlang.ops.activation import Gelu
from archlang.ops.base import Op
from archlang.ops.conv import Conv2d
from archlang.ops.join import Concat
from archlang.ops.norm import LocalResponseNorm
from archlang.ops.pool import AvgPool2d, MaxPool2d
from tests.backends.test_tflite_ops import IMAGE, SINGLE, Shape, one_op, samples
from tests.backends.tflite_run import channels_last, compile_tflite, interpreter, stored

OLD_PYTHON = "ARCHLANG_TFLITE_RUNTIME_PYTHON"
"""Names a Python with tflite-runtime 2.14.0, which needs Python 3.11 and numpy 1:

python3.11 -m venv old && old/bin/pip install tflite-runtime==2.14.0 'numpy<2'
"""

MODES = ("none", "fp16", "dynamic", "int8", "int16x8")


@dataclass(frozen=True)
class Ran:
    """A file, what went in as it is stored, and what came out of LiteRT's reference kernels. mode: its quantization."""

    name: str
    mode: str
    data: bytes
    given: NDArray[Any]
    wanted: NDArray[Any]
    whole: bool = False

    def check(self, found: NDArray[Any]) -> None:
        assert found.dtype == self.wanted.dtype
        assert found.shape == self.wanted.shape
        off = np.abs(found.astype(np.float64) - self.wanted).max()
        largest = 1.0 if found.dtype.kind == "i" else max(1.0, float(np.abs(self.wanted).max()))
        assert off <= self.bound * largest, f"{self.name} {self.mode}: {off} off"

    @property
    def bound(self) -> float:
        """Floats: of the largest; integers: steps. Runtimes quantize the inputs of layers in `dynamic` each in its own
        way, by which whole networks differ."""
        return 0.02 if self.whole and self.mode == "dynamic" else _BOUNDS[self.mode]


_BOUNDS = {"none": 1e-5, "fp16": 1e-5, "dynamic": 1e-5, "int8": 1, "int16x8": 1}


def ran(name: str, graph: Graph, inputs: NDArray[np.float32], mode: str, whole: bool = False) -> Ran:
    calibration = inputs if mode.startswith("int") else None
    data = compile_tflite(graph, weights_module.random(graph, 7), mode, calibration).data
    made = interpreter(data, "reference")
    detail = made.get_input_details()[0]
    given = stored(channels_last(inputs[:1]), detail)
    made.set_tensor(detail["index"], given)
    made.invoke()
    wanted = made.get_tensor(made.get_output_details()[0]["index"])
    return Ran(name, mode, data, given, wanted, whole)


# tflite-micro.

MICRO_MODES = ("none", "int8", "int16x8")


def micro(data: bytes, given: NDArray[Any]) -> NDArray[Any]:
    from tflite_micro import runtime

    made = runtime.Interpreter.from_bytes(data, arena_size=4_000_000)
    made.set_input(given, 0)
    made.invoke()
    found: NDArray[Any] = made.get_output(0)
    return found


def is_refused(graph: Graph, mode: str, runtime: str) -> bool:
    try:
        compile_graph(graph, "tflite", Request(quantize=mode, runtime=runtime))
    except ArchError as error:
        if [found.code for found in error.diagnostics] == ["E0803"]:
            return True
        raise
    return False


@pytest.mark.parametrize("mode", MICRO_MODES)
@pytest.mark.parametrize(("op", "shape"), SINGLE, ids=str)
def test_op_in_tflite_micro(op: Op, shape: Shape, mode: str) -> None:
    """It runs there, or was refused."""
    case = ran(str(op), one_op(op, shape), samples((shape,))[0], mode)
    if not is_refused(one_op(op, shape), mode, "tflite-micro"):
        case.check(micro(case.data, case.given))
        return
    with pytest.raises(RuntimeError):
        micro(case.data, case.given)


@pytest.mark.parametrize(
    ("op", "mode"),
    [
        *[(op, mode) for op in (Gelu(), LocalResponseNorm(5)) for mode in MODES],
        *[(Conv2d(32, (3, 3)), mode) for mode in ("fp16", "dynamic")],
        *[(Conv2d(160, (3, 3), groups=8), mode) for mode in ("fp16", "dynamic")],
    ],
    ids=str,
)
def test_what_tflite_micro_cannot_run_is_refused(op: Op, mode: str) -> None:
    case = ran(str(op), one_op(op, IMAGE), samples((IMAGE,))[0], mode)
    assert is_refused(one_op(op, IMAGE), mode, "tflite-micro")
    with pytest.raises(RuntimeError):
        micro(case.data, case.given)


def test_a_refusal_names_the_runtime_and_the_line() -> None:
    text = "net N:\n  input (3, 8, 8)\n  conv(8, 3)\n  gelu\n  conv(8, 3) -> gelu as last\n"
    with pytest.raises(ArchError) as caught:
        archlang.loads(text).compile("tflite", runtime="tflite-micro")
    (found,) = caught.value.diagnostics
    assert found.code == "E0803"
    assert found.message == "tflite-micro cannot run `gelu1` in `none`: it has no GELU"
    assert found.span is not None
    assert found.span.line == 4
    assert found.help == "nor can it run 1 more layers"
    assert archlang.loads(text).compile("tflite", runtime="litert").ops["GELU"] == 2


@pytest.mark.parametrize("count", [10, 11])
def test_tflite_micro_joins_ten_values(count: int) -> None:
    graph, inputs = one_op(Concat(), *[IMAGE] * count), samples((IMAGE,) * count)
    assert is_refused(graph, "none", "tflite-micro") == (count > 10)
    data = compile_tflite(graph).data
    if count > 10:
        with pytest.raises(RuntimeError):
            micro(data, channels_last(inputs[0][:1]))


def test_a_runtime_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ArchError, match="there is no TFLite runtime `tflite-micr`"):
        archlang.load("zoo:lenet").compile("tflite", runtime="tflite-micr")


def test_the_runtime_of_a_file_by_another_converter_is_not_looked_after() -> None:
    with pytest.raises(ArchError, match="`--via tensorflow` does not ask what a runtime knows"):
        archlang.load("zoo:lenet").compile("tflite", runtime="tflite-micro", via="tensorflow")


@pytest.mark.parametrize("mode", MICRO_MODES)
def test_network_in_tflite_micro_depends_on_its_input(mode: str) -> None:
    """Its constants lie inside the flatbuffer: tflite-micro takes those beside it for zeros, and says nothing."""
    graph = archlang.load("zoo:mobilenet_v2", width=0.25, res=32).graph
    inputs = samples(((3, 32, 32),), 4)[0]
    case = ran("MobileNetV2", graph, inputs, mode, whole=True)
    case.check(micro(case.data, case.given))
    assert len(np.unique(case.wanted)) > 20
    assert not np.array_equal(micro(case.data, case.given), micro(case.data, case.given[:, ::-1].copy()))


# tflite-runtime 2.14.

NETWORKS: dict[str, dict[str, Any]] = {
    "zoo:mobilenet_v3:small": {"res": 64},
    "zoo:shufflenet_v2:x0_5": {"res": 64},
    "zoo:efficientnet:b0": {"res": 32},
    "zoo:squeezenet:v1_1": {"res": 64},
    "zoo:densenet:bc100_k12": {},
    "zoo:lenet:LeNet5Original": {},
}


def test_every_operator_has_its_latest_version_in_2_14() -> None:
    assert runtimes.RUNTIMES["tflite-2.14"].versions.keys() == BUILTINS.keys()


@pytest.mark.parametrize("mode", MODES)
def test_a_newer_version_than_2_14_knows_is_refused(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is written asks for less, in every mode."""
    assert not any(is_refused(one_op(op, shape), mode, "tflite-2.14") for op, shape in SINGLE)
    monkeypatch.setattr(runtimes, "version", lambda model, op: 8 if op.kind.name == "CONV_2D" else 1)
    with pytest.raises(ArchError, match=rf"`op` in `{mode}`: it has no CONV_2D of version 8, but up to 7"):
        compile_graph(one_op(Conv2d(4, (1, 1)), IMAGE), "tflite", Request(quantize=mode, runtime="tflite-2.14"))


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get(OLD_PYTHON), reason=f"{OLD_PYTHON} names no Python with tflite-runtime 2.14")
def test_versions_are_those_that_2_14_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loads a file with an operator of the latest version, and none of the next."""
    pools = [(MaxPool2d((3, 3), (1, 1), (1, 1, 0, 0)), IMAGE), (AvgPool2d((2, 2), (2, 2)), IMAGE)]
    unseen, latest = set(BUILTINS), runtimes.RUNTIMES["tflite-2.14"].versions
    for op, shape in [*SINGLE, *pools, (LocalResponseNorm(5), IMAGE)]:
        for mode in MODES:
            for kind in unseen & compile_tflite(one_op(op, shape), None, mode).ops.keys():
                unseen.remove(kind)
                for number in (latest[kind], latest[kind] + 1):
                    with monkeypatch.context() as patch:
                        patch.setattr(
                            writer, "version", lambda model, op, k=kind, n=number: n if op.kind.name == k else 1
                        )
                        data = compile_tflite(one_op(op, shape), None, mode).data
                    (tmp_path / f"{kind}.{number}.tflite").write_bytes(data)
    assert not unseen
    script = Path(__file__).with_name("old_versions.py")
    done = subprocess.run([os.environ[OLD_PYTHON], script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == dict(latest)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get(OLD_PYTHON), reason=f"{OLD_PYTHON} names no Python with tflite-runtime 2.14")
def test_files_run_in_tflite_runtime_2_14(tmp_path: Path) -> None:
    """Every op and some networks in every mode, in its reference and in its optimized kernels."""
    cases = [ran(str(op), one_op(op, shape), samples((shape,))[0], mode) for op, shape in SINGLE for mode in MODES]
    for spec, overrides in NETWORKS.items():
        graph = archlang.load(spec, **overrides).graph
        inputs = samples((graph.nodes[graph.inputs[0]].type.shape,))[0]
        cases += [ran(spec, graph, inputs, mode, whole=True) for mode in MODES]
    for i, case in enumerate(cases):
        (tmp_path / f"{i}.tflite").write_bytes(case.data)
        np.save(tmp_path / f"{i}.npy", case.given)
    script = Path(__file__).with_name("old_runtime.py")
    done = subprocess.run([os.environ[OLD_PYTHON], script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"version": "2.14.0", "files": len(cases)}
    for i, case in enumerate(cases):
        for kernels in ("reference", "optimized"):
            case.check(np.load(tmp_path / f"{i}.{kernels}.npy"))


def test_tflite_runtime_beside_numpy_2_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Interpreter()` would end the process with a SystemError: its C++ was built against numpy 1."""
    numbers = {"tflite-runtime": "2.14.0", "numpy": "2.2.0"}
    monkeypatch.setattr(runner, "version", lambda package: numbers.get(package, ""))
    graph = archlang.load("zoo:lenet").graph
    with pytest.raises(OutsideError, match=r"tflite-runtime 2\.14\.0 works with numpy 1 only.*archlang\[tflite\]"):
        compile_tflite(graph, None, "int8", samples(((1, 32, 32),))[0])
