"""What tflite-micro and Vela say of a model, against what they print themselves."""

from __future__ import annotations

import csv
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import archlang
from archlang import weights
from archlang.backend import Request, compile_graph
from archlang.device import ethos_u, tflm
from archlang.device.estimate import Estimated
from archlang.device.ethos_u import EthosDevice
from archlang.device.tflm import TflmDevice
from archlang.device.transport import Settings
from archlang.errors import ArchError, OutsideError
from tests.device.conftest import TEXT
from tests.e2e.program import archlang as run

VELA = ethos_u._command("vela")
needs_vela = pytest.mark.skipif(VELA is None, reason="no vela here (pip install ethos-u-vela)")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = archlang.loads(TEXT).graph
    x = np.random.default_rng(0).random((8, 3, 16, 16), np.float32)
    path = tmp_path_factory.mktemp("int8") / "small_int8.tflite"
    request = Request(weights.random(graph), quantize="int8", calibration=x)
    path.write_bytes(compile_graph(graph, "tflite", request).data)
    return path


def test_the_arena_is_the_smallest_that_will_do(quantized: Path) -> None:
    runtime = pytest.importorskip("tflite_micro").runtime
    found = TflmDevice(arena=100_000).estimate(quantized)
    content = quantized.read_bytes()
    runtime.Interpreter.from_bytes(content, arena_size=found.ram_bytes)
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_bytes(content, arena_size=found.ram_bytes - 16)
    assert found.fits
    assert not TflmDevice(arena=1000).estimate(quantized).fits
    assert found.flash_bytes == len(content)
    assert found.ms is None


def test_the_parts_of_the_arena(quantized: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runtime = pytest.importorskip("tflite_micro").runtime
    interpreter = runtime.Interpreter.from_bytes(quantized.read_bytes(), arena_size=1_000_000)
    capfd.readouterr()
    interpreter.print_allocations()
    printed = dict(re.findall(r"Arena allocation (\w+) (\d+) bytes", capfd.readouterr().err))
    parts = dict(TflmDevice().estimate(quantized).parts)
    assert parts == {"activations": int(printed["head"]), "persistent": int(printed["tail"])}


def test_an_operator_that_tflite_micro_does_not_know(tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    net = archlang.loads("net A:\n  input 3x8x8\n  conv(4, 3) -> gelu\n")
    net.to_tflite(tmp_path / "gelu.tflite")
    with pytest.raises(ArchError, match=r"E1001.*does not run on a microcontroller.*GELU"):
        TflmDevice().estimate(tmp_path / "gelu.tflite")


def test_a_damaged_file(tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    (tmp_path / "damaged.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    with pytest.raises(ArchError, match=r"E100[12]"):
        TflmDevice().estimate(tmp_path / "damaged.tflite")


def test_tflite_micro_tells_no_time(quantized: Path) -> None:
    pytest.importorskip("tflite_micro")
    with pytest.raises(OutsideError, match="memory, not time"):
        Estimated("mcu", TflmDevice()).run(quantized, Settings())


def test_without_the_package(quantized: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text('print(\'{"error": "missing", "message": "tflite-micro is not installed"}\')')
    monkeypatch.setattr(tflm, "SCRIPT", script)
    with pytest.raises(OutsideError, match=r"archlang\[tflm\]"):
        TflmDevice().estimate(quantized)


# ---- Vela ------------------------------------------------------------------------------------------------------------


@needs_vela
def test_the_figures_are_those_of_vela(quantized: Path, tmp_path: Path) -> None:
    found = EthosDevice().estimate(quantized)
    assert VELA is not None
    flags = ["--output-dir", str(tmp_path), "--accelerator-config", "ethos-u55-128", "--verbose-cycle-estimate"]
    done = subprocess.run([VELA, str(quantized), *flags], capture_output=True, text=True, check=True)
    printed = re.search(r"Batch Inference time\s+([\d.]+) (ms|us)", done.stdout)
    used = re.search(r"Total SRAM used\s+([\d.]+) KiB", done.stdout)
    assert printed is not None
    assert used is not None
    assert found.ms == pytest.approx(float(printed[1]) / {"ms": 1, "us": 1000}[printed[2]], abs=0.005)
    assert found.ram_bytes == pytest.approx(1024 * float(used[1]), abs=6)
    with next(tmp_path.glob("*_summary_*.csv")).open() as file:
        (row,) = csv.DictReader(file)
    assert found.cycles == round(float(row["cycles_total"])) == sum(layer.cycles for layer in found.layers)
    assert sum(layer.macs for layer in found.layers) == int(float(row["nn_macs"]))
    assert found.fallback == ()


@needs_vela
def test_what_the_cpu_has_to_do_is_counted(tmp_path: Path) -> None:
    """Vela counts no cycles for it: float convolutions all run on the CPU, and no time is told."""
    archlang.loads(TEXT).to_tflite(tmp_path / "float.tflite")
    found = EthosDevice().estimate(tmp_path / "float.tflite")
    assert len(found.fallback) == len(found.layers) > 3
    assert {"Conv2D", "DepthwiseConv2D", "FullyConnected"} <= {op for op, _ in found.fallback}
    assert found.ms is None
    with pytest.raises(OutsideError, match="not time"):
        Estimated("npu", EthosDevice()).run(tmp_path / "float.tflite", Settings())


@needs_vela
def test_bench_shows_an_estimate_as_one(quantized: Path, tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(f'[npu]\nkind = "ethos-u"\nvela = "{VELA}"\nsram = 100\n')
    words = ("bench", str(quantized), "--device", "npu", "--devices", str(file))
    found = run(*words, "--json").document
    assert (found["estimate"], found["device"], found["fits"], found["fallback_ops"]) == (True, "npu", False, 0)
    assert found["median_ms"] > 0
    shown = run(*words).out
    assert "npu: an estimate by Vela" in shown
    assert "IT DOES NOT FIT" in shown
    sampled = Estimated("npu", EthosDevice(vela=str(VELA))).run(quantized, Settings(profile=True))
    assert sampled.estimate
    assert sampled.samples_ms == (found["median_ms"],)
    assert sampled.ops is not None
    assert sum(op.ms for op in sampled.ops) == pytest.approx(found["median_ms"])


@needs_vela
def test_a_configuration_that_vela_does_not_know(quantized: Path) -> None:
    with pytest.raises(ArchError, match="Vela does not compile"):
        EthosDevice(system="Ethos_U99").estimate(quantized)


def test_no_vela(quantized: Path) -> None:
    with pytest.raises(OutsideError, match=r"archlang\[ethos-u\]"):
        EthosDevice(vela="/nowhere/vela").estimate(quantized)
