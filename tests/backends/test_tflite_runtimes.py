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
from archlang.device import runner
from archlang.errors import OutsideError
from archlang.ir import Graph
from archlang.ops.activation import Gelu
from archlang.ops.base import Op
from archlang.ops.shape import Upsample
from tests.backends.test_tflite_ops import SINGLE, Shape, one_op, samples
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

MICRO_LACKS: dict[str, type[Op]] = {"none": Gelu, "int8": Gelu, "int16x8": Gelu}
"""Mode -> the op that tflite-micro has no kernel for. And no bilinear resize of int16."""


def micro(data: bytes, given: NDArray[Any]) -> NDArray[Any]:
    from tflite_micro import runtime

    made = runtime.Interpreter.from_bytes(data, arena_size=4_000_000)
    made.set_input(given, 0)
    made.invoke()
    found: NDArray[Any] = made.get_output(0)
    return found


def _micro_knows(op: Op, mode: str) -> bool:
    bilinear = isinstance(op, Upsample) and op.mode == "bilinear" and mode == "int16x8"
    return not isinstance(op, MICRO_LACKS[mode]) and not bilinear


@pytest.mark.parametrize("mode", MICRO_LACKS)
@pytest.mark.parametrize(("op", "shape"), SINGLE, ids=str)
def test_op_in_tflite_micro(op: Op, shape: Shape, mode: str) -> None:
    case = ran(str(op), one_op(op, shape), samples((shape,))[0], mode)
    if _micro_knows(op, mode):
        case.check(micro(case.data, case.given))
        return
    with pytest.raises(RuntimeError):
        micro(case.data, case.given)


@pytest.mark.parametrize("mode", MICRO_LACKS)
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
