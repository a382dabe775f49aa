"""What may be wrong with weights, inputs and disks: a clear error or a warning, never a file that is silently wrong."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

import archlang
from archlang import weights as weights_module
from archlang.verify.agreement import agreement
from archlang.weights import Array
from tests.backends import reference
from tests.backends.tflite_run import run_tflite
from tests.e2e.program import Done
from tests.e2e.program import archlang as run
from tests.e2e.programs import TINY

MODES = ("none", "fp16", "dynamic", "int8", "int16x8")
INTEGERS = ("int8", "int16x8")
OLD = b"what was there before"

Arrays = dict[str, Array]
Change = Callable[[Array], NDArray[Any]]


@pytest.fixture
def arrays(folder: Path) -> Arrays:
    """Random weights, and statistics of BatchNorm that are not those of a fresh one."""
    return dict(weights_module.random(archlang.loads(TINY).graph, 5))


def inputs(count: int = 16) -> NDArray[np.float32]:
    return np.random.default_rng(8).standard_normal((count, 3, 8, 8)).astype(np.float32)


def compiled(arrays: Arrays, mode: str = "none", x: NDArray[Any] | None = None, target: str = "tflite") -> Done:
    """`compile` with these weights, onto a file that is there: it must become the new one, or stay as it was."""
    save_file(arrays, "w.safetensors")
    calibration = []
    if mode in INTEGERS:
        np.save("x.npy", inputs() if x is None else x)
        calibration = ["--calibration", "x.npy"]
    out = Path(f"m.{target}")
    out.write_bytes(OLD)
    before = set(Path.cwd().iterdir())
    options: list[str | Path] = ["--weights", "w.safetensors", "--quantize", mode, "-o", out, *calibration]
    done = run("compile", "tiny.arch", "--to", target, "--json", *options)
    assert set(Path.cwd().iterdir()) == before
    assert (out.read_bytes() == OLD) == bool(done.status)
    return done


def wrong(done: Done) -> tuple[int, str]:
    (error,) = done.document["errors"]
    return done.status, error["code"]


def outputs(arrays: Arrays) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of the written file, and of PyTorch."""
    x = inputs(4)
    graph = archlang.loads(TINY).graph
    found = run_tflite(Path("m.tflite").read_bytes(), x)["output"]
    return found, reference.run(graph, arrays, x)["output"]


# Weights.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(mode: str, value: float, arrays: Arrays) -> None:
    arrays["conv2.weight"][0, 0, 0, 0] = value
    assert wrong(compiled(arrays, mode)) == (1, "E0603")


@pytest.mark.parametrize("mode", MODES)
def test_statistics_that_cannot_be(mode: str, arrays: Arrays) -> None:
    arrays["bn1.running_var"][3] = -1.0
    assert wrong(compiled(arrays, mode)) == (1, "E0814")


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.bool_])
def test_weights_that_are_no_real_numbers(kind: Any, arrays: Arrays) -> None:
    changed: dict[str, Any] = {**arrays, "conv2.weight": (arrays["conv2.weight"] * 50).astype(kind)}
    done = compiled(changed)
    assert wrong(done) == (1, "E0614")
    assert str(np.dtype(kind)) in done.out


@pytest.mark.parametrize(("kind", "bound"), [(torch.float64, 1e-6), (torch.float16, 5e-3), (torch.bfloat16, 5e-2)])
def test_weights_of_other_precisions(kind: torch.dtype, bound: float, arrays: Arrays) -> None:
    save_tensors({name: torch.from_numpy(value).to(kind) for name, value in arrays.items()}, "w.safetensors")
    options = ("--weights", "w.safetensors", "-o", "m.tflite")
    assert run("compile", "tiny.arch", "--to", "tflite", *options).status == 0
    found, wanted = outputs(arrays)
    assert np.abs(found - wanted).max() <= bound * np.abs(wanted).max()
    rounded = {name: np.asarray(torch.from_numpy(value).to(kind).float()) for name, value in arrays.items()}
    np.testing.assert_allclose(
        found, reference.run(archlang.loads(TINY).graph, rounded, inputs(4))["output"], atol=1e-6
    )


def test_weights_of_eight_bits(folder: Path, arrays: Arrays) -> None:
    tensors = {name: torch.from_numpy(value).to(torch.float8_e4m3fn) for name, value in arrays.items()}
    save_tensors(tensors, "w.safetensors")
    done = run("compile", "tiny.arch", "--to", "tflite", "--weights", "w.safetensors", "--json")
    assert wrong(done) == (1, "E0614")


def _set(index: Any, value: float) -> Change:
    def change(array: Array) -> Array:
        changed = array.copy()
        changed[index] = value
        return changed

    return change


HARD: dict[str, dict[str, Change]] = {
    "dead channels": {"conv1.weight": _set(slice(0, 3), 0.0), "bn1.bias": _set(slice(0, 3), 0.0)},
    "dead channels by their norm": {"bn2.weight": _set(slice(None, None, 2), 0.0)},
    "a dead layer": {"conv2.weight": _set(..., 0.0)},
    "constant activations": {"conv1.weight": _set(..., 0.0), "bn1.bias": _set(..., 0.5)},
    "activations that are all zero": {"bn1.weight": _set(..., 0.0), "bn1.bias": _set(..., -1.0)},
    "a classifier of zeros": {"linear1.weight": _set(..., 0.0)},
    "tiny weights": {"conv1.weight": lambda array: array * 1e-12},
    "large weights": {"conv2.weight": lambda array: array * 1e4},
    "tiny variances": {"bn1.running_var": lambda array: array * 0 + 1e-12},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", HARD)
def test_hard_weights(name: str, mode: str, arrays: Arrays) -> None:
    """The file is written, has been checked, and computes what PyTorch does, as far as the mode lets it: a part of the
    outputs' size, of which eight bits lose a tenth where seven of eight channels meet one scale."""
    assert HARD[name].keys() <= arrays.keys()
    changed = {key: np.asarray(HARD[name].get(key, np.copy)(array), np.float32) for key, array in arrays.items()}
    done = compiled(changed, mode)
    assert done.status == 0
    assert done.document["verification"]["status"] == ("equal" if mode == "none" else "near")
    found, wanted = outputs(changed)
    bound = {"none": 1e-5, "fp16": 1e-2, "dynamic": 0.1, "int8": 0.1, "int16x8": 0.05}[mode]
    assert np.abs(found - wanted).max() <= bound * np.abs(wanted).max()


@pytest.mark.parametrize("mode", INTEGERS)
def test_infinite_ranges(mode: str, arrays: Arrays) -> None:
    for name in ("conv1.weight", "conv2.weight", "conv3.weight"):
        arrays[name] = arrays[name] * np.float32(1e15)
    assert wrong(compiled(arrays, mode)) == (1, "E0812")


def test_values_that_overflow_in_float_are_warned_of(folder: Path) -> None:
    Path("tiny.arch").write_text(TINY.replace("relu6", "relu"))
    arrays = dict(weights_module.random(archlang.load("tiny.arch").graph))
    for name in ("conv1.weight", "conv2.weight", "conv3.weight"):
        arrays[name] = np.abs(arrays[name]) * np.float32(1e16)
    done = compiled(arrays)
    assert done.status == 0
    assert "not finite" in done.document["verification"]["warning"]


# Inputs.


@pytest.mark.parametrize("mode", INTEGERS)
@pytest.mark.parametrize(
    ("x", "code"),
    [
        (inputs().transpose(0, 2, 3, 1), "E0609"),
        (inputs()[0], "E0609"),
        (inputs()[:0], "E0609"),
        (np.resize(inputs(), (4, 3, 9, 9)), "E0609"),
        (inputs().astype(np.complex64), "E0609"),
        (inputs() * np.nan, "E0603"),
        (inputs() * 0 + 1, "E0811"),
    ],
    ids=["channels last", "no batch", "no samples", "another size", "complex", "NaN", "constant"],
)
def test_calibration_inputs_that_do_not_fit(x: NDArray[Any], code: str, mode: str, arrays: Arrays) -> None:
    assert wrong(compiled(arrays, mode, x)) == (1, code)


@pytest.mark.parametrize("mode", INTEGERS)
def test_calibration_inputs_of_another_scale_are_warned_of(mode: str, arrays: Arrays) -> None:
    """The network is trained on 0..1: the statistics of its first norm are those that such inputs make."""
    x = np.random.default_rng(1).random((64, 3, 8, 8)).astype(np.float32)
    convolve: Any = torch.nn.functional.conv2d
    first = convolve(torch.from_numpy(x), torch.from_numpy(arrays["conv1.weight"]), None, 2, 1)
    arrays["bn1.running_mean"] = first.mean((0, 2, 3)).numpy()
    arrays["bn1.running_var"] = first.var((0, 2, 3)).numpy()
    assert compiled(arrays, mode, x[:16]).document["warnings"] == []
    (warning,) = compiled(arrays, mode, x[:16] * 255).document["warnings"]
    for bound in ("0 to 1", "255") if "0 to 1" in warning else ("1", "25"):
        assert bound in warning


# Too large.


@pytest.mark.parametrize("mode", MODES)
def test_model_beyond_two_gigabytes_is_refused_before_the_work(mode: str, folder: Path) -> None:
    (folder / "huge.arch").write_text("net Huge:\n  input 3x8x8\n  flatten -> linear(60000) -> linear(60000)\n")
    done = run("compile", "huge.arch", "--to", "tflite", "--quantize", mode, "--json")
    assert wrong(done) == (1, "E0813")
    assert {path.name for path in folder.iterdir()} == {"tiny.arch", "space.arch", "huge.arch"}


# Disks.


def limited(folder: Path, size: int) -> subprocess.CompletedProcess[str]:
    """`compile` of a network of 100 kB, in a process that may write files of `size` bytes only: what follows a full
    disk, too, is an OSError in the middle of writing."""
    (folder / "wide.arch").write_text("net Wide:\n  input 3x8x8\n  flatten -> linear(128)\n")
    return subprocess.run(
        [sys.executable, "-m", "archlang", "compile", "wide.arch", "--to", "tflite", "-o", "m.tflite"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def test_full_disk(folder: Path) -> None:
    (folder / "m.tflite").write_bytes(OLD)
    done = limited(folder, 50_000)
    assert done.returncode == 1
    assert "error[E0608]: cannot write m.tflite: " in done.stderr
    assert (folder / "m.tflite").read_bytes() == OLD
    assert not [path for path in folder.iterdir() if path.name.startswith(".m.tflite")]
    assert limited(folder, 1_000_000).returncode == 0


@pytest.mark.parametrize("out", ["none/m.tflite", "tiny.arch/m.tflite", ".", "/dev/full", "/dev/null"])
def test_output_that_cannot_be_written(out: str, folder: Path) -> None:
    before = {path: path.lstat().st_mode for path in (*folder.iterdir(), Path("/dev/full"), Path("/dev/null"))}
    assert wrong(run("compile", "tiny.arch", "--to", "tflite", "-o", out, "--json")) == (1, "E0608")
    assert {path: path.lstat().st_mode for path in before} == before
    assert set(folder.iterdir()) == {path for path in before if path.parent == folder}


SLOWLY = """
import sys, time
from pathlib import Path
from archlang.files import write_together

def pieces():
    yield b"half of"
    print("writing", flush=True)
    time.sleep(60)
    yield b" it"

write_together({Path("m.tflite"): pieces()})
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_while_writing(kind: signal.Signals, folder: Path) -> None:
    """What was there stays whole; an interrupt, which can be seen to, leaves nothing else."""
    (folder / "m.tflite").write_bytes(OLD)
    before = set(folder.iterdir())
    with subprocess.Popen(
        [sys.executable, "-c", SLOWLY], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(kind)
        assert child.wait(30) != 0
    assert (folder / "m.tflite").read_bytes() == OLD
    if kind == signal.SIGINT:
        assert set(folder.iterdir()) == before


def test_old_file_is_replaced_by_one_with_the_usual_permissions(folder: Path) -> None:
    mask = os.umask(0o027)
    try:
        assert run("compile", "tiny.arch", "--to", "tflite", "-o", "m.tflite").status == 0
    finally:
        os.umask(mask)
    assert (folder / "m.tflite").stat().st_mode & 0o777 == 0o640


# The check itself, from the command line.


def test_check_is_reported(folder: Path) -> None:
    done = run("compile", "tiny.arch", "--to", "tflite")
    assert "checked against the float network on 4 inputs" in done.out
    verdict = run("compile", "tiny.arch", "--to", "onnx", "--json").document["verification"]
    assert (verdict["status"], verdict["inputs"]) == ("equal", 4)
    assert verdict["agreement"]["relative"] <= 1e-5


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_no_verify(target: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("the file must not be run")

    monkeypatch.setattr("archlang.verify.check.opened", refuse)
    done = run("compile", "tiny.arch", "--to", target, "--no-verify", "--json")
    assert (done.status, done.document["verification"]) == (0, None)


def test_python_gives_the_verdict_and_warns(folder: Path) -> None:
    net = archlang.loads(TINY)
    verdict = net.to_tflite("m.tflite", weights_module.random(net.graph), "int8", inputs())
    assert verdict is not None
    assert (verdict.status, verdict.warning) == ("near", "")
    assert net.to_onnx("m.onnx", verify=False) is None


def test_agreement_is_that_of_the_outputs(arrays: Arrays) -> None:
    """The figures that the command prints are those of the file's outputs beside PyTorch's, on the same inputs."""
    document = compiled(arrays, "int8").document
    x, graph = inputs(4), archlang.loads(TINY).graph
    found = run_tflite(Path("m.tflite").read_bytes(), x)["output"]
    wanted = agreement(found, reference.run(graph, arrays, x)["output"])
    assert document["verification"]["agreement"]["snr_db"] == pytest.approx(wanted.snr_db, abs=0.05)
    assert document["verification"]["agreement"]["largest"] == pytest.approx(wanted.largest, rel=1e-2)
