"""`archlang compare`: what is in compiled files, and how far their outputs differ, beside the runtimes' own answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

import archlang
from archlang import weights as weights_module
from archlang.backend import Request, compile_graph
from archlang.device import BenchResult, bench
from tests.backends import tflite_arena
from tests.backends.tflite_dump import parse
from tests.backends.tflite_run import run_tflite
from tests.e2e.program import Done
from tests.e2e.program import archlang as run
from tests.e2e.programs import TINY

QUICK = ("--no-latency", "--json")


@pytest.fixture
def files(folder: Path) -> Path:
    """`float.tflite`, `int8.tflite` and `float.onnx` of the same weights, `other.onnx` of others."""
    graph = archlang.loads(TINY).graph
    weights = weights_module.random(graph, 3)
    x = inputs(16)
    for name, request in {
        "float.tflite": Request(weights),
        "int8.tflite": Request(weights, "int8", x),
        "float.onnx": Request(weights),
        "other.onnx": Request(weights_module.random(graph, 4)),
    }.items():
        target = name.rpartition(".")[2]
        (folder / name).write_bytes(compile_graph(graph, target, request).data)
    np.save(folder / "x.npy", x)
    return folder


def inputs(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(2).standard_normal((count, 3, 8, 8)).astype(np.float32)


def by_onnx_runtime(path: Path, x: NDArray[Any]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def test_what_is_in_a_tflite_file(files: Path) -> None:
    facts, quantized = run("compare", "float.tflite", "int8.tflite", *QUICK).document["files"]
    model = parse((files / "float.tflite").read_bytes())
    assert facts["format"] == "TFLite"
    assert facts["bytes"] == (files / "float.tflite").stat().st_size
    assert facts["operators"] == Counter(op.name for op in model.operators)
    assert facts["tensors"] == len(model.tensors)
    assert facts["constants"] == sum(t.data.nbytes for t in model.tensors if t.data is not None)
    assert facts["computed"] == {"float32": len(model.operators)}
    assert quantized["computed"] == {"int8": len(model.operators)}
    assert facts["inputs"] == ["image float32 1x8x8x3"]
    assert quantized["outputs"][0].endswith(" int8 1x4")


def test_a_file_whose_scales_nobody_has_measured_is_a_warning(files: Path) -> None:
    graph = archlang.loads(TINY).graph
    (files / "quick.tflite").write_bytes(compile_graph(graph, "tflite", Request(quantize="int8")).data)
    warned = run("compare", "float.tflite", "quick.tflite", "--no-latency")
    assert "quick.tflite was compiled without --calibration" in warned.err
    assert "placeholders" not in run("compare", "float.tflite", "int8.tflite", "--no-latency").err
    document = run("compare", "int8.tflite", "quick.tflite", *QUICK).document
    assert [facts["placeholders"] for facts in document["files"]] == [False, True]


@pytest.mark.parametrize("name", ["float.tflite", "int8.tflite"])
def test_memory_of_activations(name: str, files: Path) -> None:
    (facts, _) = run("compare", name, "float.tflite", *QUICK).document["files"]
    model = parse((files / name).read_bytes())
    buffers = tflite_arena.tensors(model)
    moments = range(len(model.operators) + 1)
    assert facts["peak_bytes"] == max(sum(b.size for b in buffers if b.first <= t <= b.last) for t in moments)


def test_what_is_in_an_onnx_file(files: Path) -> None:
    (facts, _) = run("compare", "float.onnx", "other.onnx", *QUICK).document["files"]
    model = onnx.load(files / "float.onnx")
    assert facts["format"] == "ONNX"
    assert facts["operators"] == Counter(node.op_type for node in model.graph.node)
    assert facts["constants"] == sum(onnx.numpy_helper.to_array(t).nbytes for t in model.graph.initializer)
    assert facts["inputs"] == ["image float32 1x3x8x8"]
    assert facts["peak_bytes"] == 4 * 3 * 8 * 4 * 4  # three values of 8x4x4 at the residual


def test_outputs_of_equal_networks_are_equal(files: Path) -> None:
    document = run("compare", "float.tflite", "float.onnx", *QUICK).document
    (difference,) = document["differences"]
    assert (document["reference"], document["samples"]) == ("float.tflite", 8)
    assert (difference["file"], difference["output"]) == ("float.onnx", "output")
    assert difference["relative"] <= 1e-6
    assert difference["top1"] == 1


def test_outputs_of_other_weights_differ_by_what_the_runtime_says(files: Path) -> None:
    document = run("compare", "float.onnx", "other.onnx", "--inputs", "x.npy", "--samples", "16", *QUICK).document
    (difference,) = document["differences"]
    wanted, found = (by_onnx_runtime(files / name, inputs(16)) for name in ("float.onnx", "other.onnx"))
    assert document["samples"] == 16
    assert difference["largest"] == pytest.approx(np.abs(found - wanted).max(), rel=1e-5)
    assert difference["relative"] == pytest.approx(np.linalg.norm(found - wanted) / np.linalg.norm(wanted), rel=1e-5)
    assert difference["top1"] == (found.argmax(1) == wanted.argmax(1)).mean()


def test_outputs_of_integers_are_compared_as_real_numbers(files: Path) -> None:
    document = run("compare", "float.tflite", "int8.tflite", "float.onnx", "--inputs", "x.npy", *QUICK).document
    quantized, same = document["differences"]
    x = inputs(16)[:8]
    wanted, found = (
        next(iter(run_tflite((files / name).read_bytes(), x).values())) for name in ("float.tflite", "int8.tflite")
    )
    assert quantized["largest"] == pytest.approx(np.abs(found - wanted).max(), rel=1e-4)
    assert same["relative"] <= 1e-6


def write_both_layouts(path: Path) -> None:
    """`first.tflite` takes (1, 3, 8, 8), as some converters' files do, `last.tflite` the same channels last."""
    import tensorflow as tf

    weight = np.random.default_rng(0).standard_normal((3, 3, 3, 4)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, 3, 8, 8), tf.float32, "image")])  # type: ignore[untyped-decorator]
    def network(x: Any) -> Any:
        return tf.nn.conv2d(tf.transpose(x, (0, 2, 3, 1)), weight, 1, "SAME")

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32, "image")])  # type: ignore[untyped-decorator]
    def plain(x: Any) -> Any:
        return tf.transpose(tf.nn.conv2d(x, weight, 1, "SAME"), (0, 3, 1, 2))

    for name, function in (("first", network), ("last", plain)):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
        (path / f"{name}.tflite").write_bytes(converter.convert())


@pytest.mark.slow
def test_layouts_other_than_the_formats_usage(files: Path) -> None:
    pytest.importorskip("tensorflow")
    write_both_layouts(files)
    for pair in (("first.tflite", "last.tflite"), ("last.tflite", "first.tflite")):
        (difference,) = run("compare", *pair, *QUICK).document["differences"]
        assert difference["relative"] <= 1e-6


def test_tables(files: Path) -> None:
    done = run("compare", "float.tflite", "float.onnx", "--no-latency")
    assert done.status == 0
    for words in ("float.tflite", "operators", "CONV_2D", "Conv", "relative error", "outputs beside those of"):
        assert words in done.out


def test_markdown(files: Path) -> None:
    done = run("compare", "float.tflite", "int8.tflite", "--no-latency", "--md")
    assert "| operator | float.tflite | int8.tflite |" in done.out
    assert "| total |" in done.out


def test_latency_is_that_of_bench_in_turns(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, float]] = []

    def observed(model: Path, threads: int, device: str, runs: int, min_secs: float, **options: Any) -> BenchResult:
        asked.append((model.name, runs, min_secs))
        return bench(model, threads, device, runs, min_secs, **options)

    monkeypatch.setattr("archlang.compare.speed.bench", observed)
    done = run("compare", "float.tflite", "float.onnx", "--runs", "9", "--min-secs", "0", "--json")
    assert asked == [("float.tflite", 3, 0), ("float.onnx", 3, 0)] * 3
    for file in done.document["files"]:
        latency = file["latency"]
        assert latency["runs"] >= 9
        assert 0 < latency["p10_ms"] <= latency["median_ms"] <= latency["p90_ms"]


@pytest.mark.parametrize(("limit", "status"), [("1e-4", 0), ("0", 1)])
def test_tolerance(limit: str, status: int, files: Path) -> None:
    assert run("compare", "float.tflite", "float.onnx", "--tolerance", limit, *QUICK).status == status


# What cannot be compared.


def error(done: Done) -> tuple[int, str, str]:
    (found,) = done.document["errors"]
    return done.status, found["code"], found["message"]


def test_files_of_other_networks(files: Path) -> None:
    (files / "more.arch").write_text(TINY.replace("classes=4", "classes=5"))
    (files / "larger.arch").write_text(TINY.replace("3x8x8", "3x16x16"))
    for name in ("more", "larger"):
        assert run("compile", f"{name}.arch", "--to", "onnx", "-o", f"{name}.onnx").status == 0
    status, code, message = error(run("compare", "float.onnx", "more.onnx", *QUICK))
    assert (status, code) == (1, "E1006")
    assert "makes outputs of shape 5, and the first file 4" in message
    status, code, message = error(run("compare", "float.onnx", "larger.onnx", *QUICK))
    assert (status, code) == (1, "E1006")
    assert "3x16x16" in message


@pytest.mark.parametrize("name", ["broken.tflite", "broken.onnx"])
def test_damaged_file(name: str, files: Path) -> None:
    whole = (files / name.replace("broken", "float")).read_bytes()
    (files / name).write_bytes(whole[: len(whole) // 3])
    status, code, _ = error(run("compare", "float.tflite", name, *QUICK))
    assert (status, code) == (1, "E1001")


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("float.tflite", "missing.tflite"), 1, "E1005"),
        (("float.tflite", "tiny.arch"), 1, "E0606"),
        (("float.tflite", "float.onnx", "--inputs", "missing.npy"), 1, "E0605"),
        (("float.tflite", "float.onnx", "--inputs", "float.npy"), 1, "E0607"),
        (("float.tflite", "float.onnx", "--inputs", "flat.npy"), 1, "E1006"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], status: int, code: str, files: Path) -> None:
    (files / "float.npy").write_bytes(b"\x93NUMPY")
    np.save(files / "flat.npy", np.zeros((4, 7), np.float32))
    assert error(run("compare", *arguments, *QUICK))[:2] == (status, code)


def test_one_file_is_too_few(files: Path) -> None:
    done = run("compare", "float.tflite")
    assert done.status == 2
    assert "at least two files" in done.err
