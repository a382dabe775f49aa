"""Bundles: what is in them, and that their runners compute what the network does."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archlang
from archlang import weights
from archlang.deploy import bundle as bundles
from archlang.deploy import facts, linux_runner, mcu
from archlang.weights import save
from tests.device.conftest import TEXT
from tests.e2e.program import archlang as run

LABELS = ("cat", "dog", "bird", "none of them")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, weights, labels, inputs."""
    folder = tmp_path_factory.mktemp("deploy")
    (folder / "small.arch").write_text(TEXT)
    save(weights.random(archlang.loads(TEXT).graph), folder / "w.safetensors")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    np.save(folder / "x.npy", np.random.default_rng(1).random((8, 3, 16, 16), np.float32))
    return folder


def _deployed(made: Path, out: Path, target: str, *words: str) -> dict[str, Any]:
    """The manifest of a bundle, whose files are those that it lists."""
    spec = [str(made / "small.arch"), "--weights", str(made / "w.safetensors"), "--labels", str(made / "labels.txt")]
    done = run("deploy", *spec, "--for", target, "-o", out, *words, "--json")
    assert done.status == 0, done.out + done.err
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    del found["manifest.json"]
    assert {name: entry["sha256"] for name, entry in manifest["files"].items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in found.items()
    }
    assert done.document["files"] == sorted([*found, "manifest.json"])
    return manifest


def _reference(made: Path) -> Any:
    """PyTorch's outputs for the inputs of the folder."""
    import torch

    net = archlang.load(str(made / "small.arch"))
    module = net.to_torch(weights.load(made / "w.safetensors")).eval()
    with torch.no_grad():
        return module(torch.from_numpy(np.load(made / "x.npy"))).numpy()


def test_the_linux_bundle_runs_as_it_is(made: Path, tmp_path: Path) -> None:
    manifest = _deployed(made, tmp_path / "out", "linux")
    assert manifest["measured"][0]["median_ms"] > 0
    assert manifest["measured"][0]["device"] == "host"
    metadata = json.loads((tmp_path / "out/metadata.json").read_text())
    assert metadata["inputs"][0]["shape"] == [1, 16, 16, 3]
    assert (metadata["inputs"][0]["layout"], metadata["inputs"][0]["dtype"]) == ("NHWC", "float32")
    assert metadata["labels"] == list(LABELS)
    expected = _reference(made)[0]
    np.save(tmp_path / "one.npy", np.moveaxis(np.load(made / "x.npy")[:1], 1, -1))
    moved = shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    program = [sys.executable, "-I", str(Path(moved) / "run.py")]
    subprocess.run([*program, str(tmp_path / "one.npy"), "-o", str(tmp_path / "y.npy")], check=True, cwd="/")
    np.testing.assert_allclose(np.load(tmp_path / "y.npy")[0], expected, rtol=1e-4, atol=1e-5)
    done = subprocess.run(
        [*program, str(tmp_path / "one.npy"), "--top", "2"], check=True, capture_output=True, text=True
    )
    shown = json.loads(done.stdout)
    assert [row["class"] for row in shown] == np.argsort(-expected)[:2].tolist()
    assert shown[0]["label"] == LABELS[int(np.argmax(expected))]


def test_the_linux_runner_quantizes_and_normalises_images(made: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    words = ("--quantize", "int8", "--calibration", str(made / "x.npy"), "--mean", "127.5", "--std", "127.5")
    _deployed(made, tmp_path / "out", "linux", *words, "--device", "none")
    pixels = np.random.default_rng(2).integers(0, 256, (16, 16, 3), np.uint8)
    image.fromarray(pixels).save(tmp_path / "photo.png")
    model = linux_runner.Model(tmp_path / "out")
    x = model.image(tmp_path / "photo.png")
    np.testing.assert_allclose(x[0], (pixels - 127.5) / 127.5, rtol=1e-6)
    program = [sys.executable, "-I", str(tmp_path / "out/run.py"), str(tmp_path / "photo.png"), "--top", "4"]
    shown = json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    scores = {row["class"]: row["score"] for row in shown}
    expected = model(x)[0][0]
    assert [scores[i] for i in range(4)] == pytest.approx(expected.tolist())


def test_a_damaged_bundle_is_found_out(made: Path, tmp_path: Path) -> None:
    _deployed(made, tmp_path / "out", "linux", "--device", "none")
    program = [sys.executable, "-I", str(tmp_path / "out/run.py"), "--check"]
    assert subprocess.run(program, capture_output=True).returncode == 0
    with (tmp_path / "out/model.tflite").open("ab") as file:
        file.write(b"x")
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 1
    assert "model.tflite" in done.stderr


def test_what_runs_on_the_board_is_python_3_7() -> None:
    ast.parse(Path(linux_runner.__file__).read_text(), feature_version=(3, 7))


# ---- microcontrollers ------------------------------------------------------------------------------------------------

DUMP = """
#include <stdio.h>
#include "model_data.h"
int main(void) {
  const int shape[] = MODEL_INPUT_0_SHAPE;
  fprintf(stderr, "%d %d %d %d %.9g %d %d", MODEL_ARENA_BYTES, MODEL_INPUT_0_ELEMENTS, shape[1],
          MODEL_OUTPUT_0_ELEMENTS, MODEL_INPUT_0_SCALE, MODEL_INPUT_0_ZERO_POINT,
          (int)((unsigned long)model_data % 16));
  return fwrite(model_data, 1, MODEL_DATA_BYTES, stdout) != MODEL_DATA_BYTES;
}
"""


def test_the_mcu_bundle_runs_in_its_arena(made: Path, tmp_path: Path) -> None:
    """The array is compiled by a C compiler, and what comes out of the program is run by tflite-micro in the arena that
    the header states; its outputs are LiteRT's."""
    runtime = pytest.importorskip("tflite_micro").runtime
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    out = tmp_path / "out"
    _deployed(made, out, "mcu", "--calibration", str(made / "x.npy"), "--device", "none")
    (tmp_path / "dump.c").write_text(DUMP)
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{out}"]
    subprocess.run([compiler, *strict, tmp_path / "dump.c", out / "model_data.c", "-o", tmp_path / "dump"], check=True)
    done = subprocess.run([tmp_path / "dump"], check=True, capture_output=True)
    arena, size, height, outputs, scale, zero_point, misaligned = done.stderr.decode().split()
    metadata = json.loads((out / "metadata.json").read_text())
    described = metadata["inputs"][0]
    assert (int(size), int(height), int(outputs), int(misaligned)) == (16 * 16 * 3, 16, 4, 0)
    assert float(scale) == pytest.approx(described["scale"])
    assert int(zero_point) == described["zero_point"]
    assert int(arena) == metadata["arena_bytes"]
    x = linux_runner.quantized(np.moveaxis(np.load(made / "x.npy")[:1], 1, -1), described)
    micro = runtime.Interpreter.from_bytes(done.stdout, arena_size=int(arena))
    micro.set_input(x, 0)
    micro.invoke()
    interpreter = linux_runner.interpreter_class()(model_content=done.stdout)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    # XNNPACK and tflite-micro's reference kernels round a requantization at half a step differently
    assert np.abs(micro.get_output(0).astype(int) - expected.astype(int)).max() <= 1


def test_the_resolver_has_every_operator(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    _deployed(made, tmp_path / "out", "mcu", "--device", "none")
    metadata = json.loads((tmp_path / "out/metadata.json").read_text())
    text = (tmp_path / "out/inference.cc").read_text()
    added = set(re.findall(r"resolver\.(Add\w+)\(\)", text))
    assert {"AddConv2D", "AddDepthwiseConv2D", "AddFullyConnected"} <= added
    assert len(added) == len(metadata["operators"])
    assert f"MicroMutableOpResolver<{len(added)}>" in text


def test_operators_are_spelled_as_tflite_micro_does() -> None:
    spelled = {"CONV_2D": "AddConv2D", "RELU6": "AddRelu6", "BATCH_MATMUL": "AddBatchMatMul", "PADV2": "AddPadV2"}
    spelled |= {"AVERAGE_POOL_2D": "AddAveragePool2D", "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor"}
    assert {name: mcu.resolver_method(name) for name in spelled} == spelled


# ---- Android ---------------------------------------------------------------------------------------------------------


def test_the_android_bundle(made: Path, tmp_path: Path) -> None:
    """The source reads exactly the metadata that is written."""
    _deployed(made, tmp_path / "out", "android", "--device", "none")
    assets = tmp_path / "out/src/main/assets"
    source = (tmp_path / "out/src/main/java/archlang/Model.kt").read_text()
    metadata = json.loads((assets / "metadata.json").read_text())
    read = set(re.findall(r'(?:metadata|json)\.get\w+\("(\w+)"\)', source))
    assert read <= {*metadata, *metadata["inputs"][0]}
    assert {"inputs", "outputs", "labels", "mean", "std", "shape", "dtype", "scale", "zero_point"} == read
    assert facts.facts("small", (assets / "model.tflite").read_bytes(), archlang_about()).inputs[0].layout == "NHWC"


def archlang_about() -> Any:
    from archlang.about import About

    return About()


def test_a_model_without_an_image_is_not_for_android(tmp_path: Path) -> None:
    (tmp_path / "words.arch").write_text("net A:\n  input 8x6\n  linear(4)\n")
    done = run("deploy", tmp_path / "words.arch", "--for", "android", "-o", tmp_path / "out", "--device", "none")
    assert (done.status, "E0905" in done.err) == (1, True), done.err
    assert not (tmp_path / "out").exists()


# ---- the folder ------------------------------------------------------------------------------------------------------


def test_a_bundle_takes_the_place_of_an_older_one_and_of_nothing_else(made: Path, tmp_path: Path) -> None:
    _deployed(made, tmp_path / "out", "linux", "--device", "none")
    (tmp_path / "out/stray").write_text("")
    _deployed(made, tmp_path / "out", "android", "--device", "none")
    assert not (tmp_path / "out/stray").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter").write_text("dear")
    done = run("deploy", made / "small.arch", "--for", "linux", "-o", tmp_path / "mine")
    assert (done.status, "E0608" in done.err) == (1, True)
    assert (tmp_path / "mine/letter").read_text() == "dear"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_a_bundle_is_whole_or_not_there(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _deployed(made, tmp_path / "out", "linux", "--device", "none")
    before = (tmp_path / "out/manifest.json").read_bytes()
    monkeypatch.setattr(bundles.Bundle, "files", lambda self: {"model.tflite": b"", "model.tflite/below": b""})
    done = run("deploy", made / "small.arch", "--for", "linux", "-o", tmp_path / "out", "--device", "none")
    assert (done.status, "E0608" in done.err) == (1, True)
    assert (tmp_path / "out/manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_compiled_file_is_taken_as_it_is(made: Path, tmp_path: Path, small: Path) -> None:
    done = run("deploy", small, "--for", "linux", "-o", tmp_path / "out", "--device", "none", "--json")
    assert done.status == 0, done.err
    assert (tmp_path / "out/model.tflite").read_bytes() == small.read_bytes()
    done = run("deploy", small, "--for", "linux", "-o", tmp_path / "out", "--quantize", "int8")
    assert done.status == 2
    assert run("deploy", tmp_path / "no.tflite", "--for", "linux", "-o", tmp_path / "out").status == 1
    wrong = run("deploy", small, "--for", "linux", "-o", tmp_path / "out", "--labels", _file(tmp_path, "one\ntwo\n"))
    assert (wrong.status, "E0609" in wrong.err) == (1, True)


def _file(tmp_path: Path, text: str) -> Path:
    (tmp_path / "two.txt").write_text(text)
    return tmp_path / "two.txt"
