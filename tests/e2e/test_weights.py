"""`archlang weights` and `archlang classify`: the fields of their JSON, what they write, what wrong input gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archlang
from archlang import weights
from tests.e2e.program import archlang as run
from tests.e2e.programs import TINY


@pytest.fixture
def foreign(folder: Path) -> dict[str, Any]:
    """The small net's weights under other names, in `foreign.safetensors`."""
    arrays = weights.random(archlang.loads(TINY).graph, 4)
    names = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
    numbered = {name: f"body.{i:02}" for i, name in enumerate(names)}
    renamed = {
        f"{numbered[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": array for name, array in arrays.items()
    }
    weights.save(renamed, folder / "foreign.safetensors")
    return arrays


def test_import_writes_weights_and_a_report(foreign: dict[str, Any], folder: Path) -> None:
    arguments = ["weights", "import", "foreign.safetensors", "tiny.arch", "-o", "w.safetensors", "--report", "r.json"]
    done = run(*arguments, "--json")
    assert (done.status, done.err) == (0, "")
    assert {"output", "arrays", "ok", "net", "decided", "layers", "unused", "missing", "ambiguous", "assumed"} <= set(
        done.document
    )
    report = json.loads((folder / "r.json").read_text())
    assert {"name", "from", "how", "why", "reshaped"} == set(report["layers"][0])
    found = weights.load(folder / "w.safetensors")
    assert all(np.array_equal(found[name], array) for name, array in foreign.items())
    assert run("weights", "check", "w.safetensors", "tiny.arch").out.startswith("ok  w.safetensors")
    assert run("compile", "tiny.arch", "--to", "tflite", "--weights", "w.safetensors").status == 0
    assert "by their order" in run(*arguments).out


def test_a_refused_import_writes_the_report_alone(foreign: dict[str, Any], folder: Path) -> None:
    arguments = ["weights", "import", "foreign.safetensors", "tiny.arch", "-o", "w.safetensors", "--report", "r.json"]
    done = run(*arguments, "--set", "classes=9")
    assert done.status == 1
    assert "error[E0611]" in done.err
    assert "--fresh" in done.err
    assert not (folder / "w.safetensors").exists()
    report = json.loads((folder / "r.json").read_text())
    assert (report["ok"], len(report["missing"])) == (False, 1)
    head, theirs = report["missing"][0], report["unused"][0]
    done = run(*arguments, "--set", "classes=9", "--fresh", head, "--ignore", theirs)
    assert (done.status, done.err) == (0, "")
    assert run(*arguments, "--fresh", "nothing").status == 1


def test_show_and_diff(foreign: dict[str, Any], folder: Path) -> None:
    shown = run("weights", "show", "foreign.safetensors", "--json").document
    assert len(shown["arrays"]) == len(foreign)
    assert {"name", "shape", "mean", "deviation", "smallest", "largest", "not_finite"} <= set(shown["arrays"][0])
    assert f"{len(foreign)} arrays" in run("weights", "show", "foreign.safetensors").out
    weights.save({**weights.load(folder / "foreign.safetensors"), "new": np.ones(2)}, folder / "b.safetensors")
    assert run("weights", "diff", "foreign.safetensors", "foreign.safetensors").out == "equal\n"
    changes = run("weights", "diff", "foreign.safetensors", "b.safetensors", "--json").document
    assert [(row["name"], row["change"]) for row in changes["arrays"]] == [("new", "added")]


# ---- photographs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(folder: Path) -> Path:
    """Two images of one colour each, red and blue."""
    image = pytest.importorskip("PIL.Image")
    (folder / "photos").mkdir()
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        image.new("RGB", (12, 10), colour).save(folder / "photos" / f"{name}.png")
    return folder / "photos"


COLOURS = "net Colours:\n  input 3x8x8\n  conv(3, 1) as c\n  gap\n  flatten\n"


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_classify_sees_the_colour(photos: Path, folder: Path, suffix: str) -> None:
    (folder / "c.arch").write_text(COLOURS)
    weights.save({"c.weight": np.eye(3).reshape(3, 3, 1, 1), "c.bias": np.zeros(3)}, folder / "c.safetensors")
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    assert run("compile", "c.arch", "--to", suffix, "--weights", "c.safetensors", "-o", f"c.{suffix}").status == 0
    done = run(
        "classify", f"c.{suffix}", "photos", "--mean", "127.5", "--std", "127.5", "--labels", "labels.txt", "--json"
    )
    assert done.status == 0
    found = {Path(image["image"]).stem: image["top"][0] for image in done.document["images"]}
    assert {name: top["label"] for name, top in found.items()} == {"red": "red", "blue": "blue"}
    assert found["red"]["score"] == pytest.approx(1, abs=1e-5)
    assert found["red"]["probability"] == pytest.approx(1 / (1 + 2 * np.exp(-2)), abs=1e-5)
    (folder / "labels.txt").write_text("red\n")
    assert "error[E0609]" in run("classify", f"c.{suffix}", "photos", "--labels", "labels.txt").err


def test_images_calibrate(photos: Path, folder: Path) -> None:
    arguments = ["compile", "tiny.arch", "--to", "tflite", "--quantize", "int8"]
    for name, options in (("a", []), ("b", ["--crops", "3"]), ("c", ["--mean", "0,0,9", "--std", "2"])):
        done = run(*arguments, "-o", f"{name}.tflite", "--calibration", "photos", *options)
        assert done.status == 0, done.err
    a, b, c = ((folder / f"{name}.tflite").read_bytes() for name in "abc")
    assert a == b  # each image has one colour
    assert a != c


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--calibration", "photos", "--mean", "x"], 2, "number"),
        (["--calibration", "photos", "--std", "0"], 2, "larger than 0"),
        (["--calibration", "photos", "--mean", "1,2"], 1, "E0905"),
        (["--calibration", "none"], 1, "E0605"),
        (["--calibration", "tiny.arch"], 1, "E0606"),
    ],
)
def test_wrong_calibration_images(photos: Path, options: list[str], status: int, said: str) -> None:
    done = run("compile", "tiny.arch", "--to", "tflite", "--quantize", "int8", *options)
    assert done.status == status
    assert said in done.err
