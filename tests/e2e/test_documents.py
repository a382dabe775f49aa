"""What the commands print when all is well: the fields of `--json` that scripts rely on, tables, written files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archlang
from archlang.breakdown import LINES
from tests.e2e.program import archlang as run
from tests.e2e.programs import TINY

ZOO = {
    "zoo:mobilenet_v2:w100": (3_504_872, 300_774_272),
    "zoo:resnet:r18": (11_689_512, 1_814_073_344),
    "zoo:resnet:r50": (25_557_032, 4_089_184_256),
    "zoo:resnet:r152": (60_192_808, 11_513_626_624),
    "zoo:efficientnet:b0": (5_288_548, 385_814_752),
    "zoo:efficientnet:b7": (66_347_960, 37_745_884_192),
}
"""Parameters and MACs of the reference implementations (torchvision, timm)."""


def document(*arguments: str | Path) -> Any:
    """The command's JSON document; it succeeds, and prints nothing else anywhere."""
    done = run(*arguments, "--json")
    assert (done.status, done.err) == (0, "")
    return done.document


def test_zoo_list_names_every_net_once_with_its_size() -> None:
    rows = document("zoo", "list")
    assert all(set(row) == {"spec", "family", "params", "macs", "input", "reference"} for row in rows)
    sizes = {row["spec"]: (row["params"], row["macs"]) for row in rows}
    assert len(sizes) == len(rows)
    assert ZOO.items() <= sizes.items()
    assert rows == document("zoo")
    assert next(row["input"] for row in rows if row["spec"] == "zoo:efficientnet:b7") == [3, 600, 600]


@pytest.mark.parametrize("spec", ZOO)
def test_cost_of_the_zoo(spec: str) -> None:
    found = document("cost", spec)
    assert (found["params"], found["macs"]) == ZOO[spec]


def test_cost_has_the_promised_fields(folder: Path) -> None:
    found = document("cost", "tiny.arch")
    assert found["net"] == "Tiny"
    assert (found["input"], found["output"]) == ([3, 8, 8], [4])
    # a convolution of 3x3x3x8 and two of 3x3x8x8 at 4x4 pixels, and 8 x 4 weights with 4 biases
    assert found["params"] == 3 * 3 * 3 * 8 + 2 * 3 * 3 * 8 * 8 + 3 * 2 * 8 + 8 * 4 + 4
    assert found["macs"] == (3 * 3 * 3 * 8 + 2 * 3 * 3 * 8 * 8) * 16 + 32
    assert found["flops"] > 2 * found["macs"]
    assert found["activation_bytes"] > found["peak_memory_bytes"] > 4 * 3 * 8 * 8
    assert {"name", "op", "output", "params", "macs"} <= set(found["layers"][0])
    assert sum(layer["params"] for layer in found["layers"]) == found["params"]
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"]


@pytest.mark.parametrize("by", LINES)
@pytest.mark.parametrize("spec", ["zoo:mobilenet_v2", "zoo:resnet:r18", "zoo:efficientnet:b0", "zoo:googlenet"])
def test_the_columns_of_the_table_add_up_to_the_totals(by: str, spec: str) -> None:
    net = archlang.load(spec)
    found = net.cost()
    lines = LINES[by](net.graph, found)
    assert sum(line.cost.params for line in lines) == found.total.params
    assert sum(line.cost.macs for line in lines) == found.total.macs
    assert sum(line.activation for line in lines) == found.activation_bytes


def test_equal_repeats_are_one_line() -> None:
    net = archlang.load("zoo:resnet:r50")
    lines = {line.name: line for line in LINES["layer"](net.graph, net.cost())}
    folded = lines["layer3.1-5.conv1"]
    assert (folded.n, folded.op, folded.output) == (5, "conv + bn + relu", "256x14x14")
    assert folded.cost.params == 5 * (1024 * 256 + 2 * 256)
    assert "layer3.0.conv1" in lines
    assert not any(name.startswith("layer3.1.") for name in lines)


def test_cost_as_text_csv_and_markdown(folder: Path) -> None:
    text = run("cost", "tiny.arch").out
    assert "\x1b[" not in text
    assert text.splitlines()[-1].startswith("Tiny: ")
    csv = run("cost", "tiny.arch", "--csv", "--by", "op").out.splitlines()
    assert csv[0] == "op,n,params,MACs,activation bytes"
    assert csv[1].startswith("conv,3,1368,")
    markdown = run("cost", "tiny.arch", "--md", "--by", "stage").out.splitlines()
    assert markdown[0].startswith("| stage | output | n |")


def test_parameters_and_expressions_choose_the_net(folder: Path) -> None:
    assert document("cost", "tiny.arch", "--set", "classes=7")["output"] == [7]
    assert document("cost", "tiny.arch", "--net", "Tiny(classes=9)")["output"] == [9]
    assert document("cost", "tiny.arch:Tiny")["output"] == [4]
    half = document("cost", "zoo:mobilenet_v2", "--set", "width=0.5")
    assert half["params"] == 1_968_680  # timm's mobilenetv2_050
    scaled = document("cost", "zoo:efficientnet", "--net", "compound(phi=1)")
    assert scaled["input"] == [3, 257, 257]


def test_check_of_a_net_and_of_a_space(folder: Path) -> None:
    found = document("check", "tiny.arch")
    assert (found["ok"], found["errors"]) == (True, [])
    assert [net["name"] for net in found["nets"]] == ["Tiny"]
    assert "decisions" not in found
    space = document("check", "space.arch")
    assert space["decisions"] == 3
    assert space["log10_size"] == pytest.approx(np.log10(8))
    assert "3 decisions" in run("check", "space.arch").out


def test_check_takes_several_specs_and_folders(folder: Path) -> None:
    (folder / "bad.arch").write_text("net A:\n  input 3x8x8\n  cnov(8)\n")
    done = run("check", "tiny.arch", "bad.arch", "--json")
    assert done.status == 1
    assert [error["file"] for error in done.document["errors"]] == ["bad.arch"]
    assert [net["name"] for net in done.document["nets"]] == ["Tiny"]
    assert run("check", ".").status == 1


def test_check_for_code_scanning(folder: Path) -> None:
    (folder / "bad.arch").write_text("net A:\n  input 3x8x8\n  cnov(8)\n")
    log = json.loads(run("check", "bad.arch", "--sarif").out)
    (result,) = log["runs"][0]["results"]
    assert log["version"] == "2.1.0"
    assert result["ruleId"] == "E0201"
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "bad.arch"}, "region": {"startLine": 3, "startColumn": 3}}
    github = run("check", "bad.arch", "--github")
    assert github.status == 1
    assert github.out.startswith("::error file=bad.arch,line=3,col=3,title=E0201::nothing is called `cnov`%0A")
    assert run("check", "tiny.arch", "--github").out == ""


def test_ir_prints_a_graph_before_and_after_passes(folder: Path) -> None:
    before, after = document("ir", "tiny.arch"), document("ir", "tiny.arch", "--passes", "fuse-norms,fuse-activations")
    assert before["text"] == run("ir", "tiny.arch").out
    assert before["digest"] == archlang.load("tiny.arch").graph.digest
    assert "= bn(" in before["text"]
    assert "= bn(" not in after["text"]
    assert "+ bn as" in after["text"]
    assert after["passes"] == ["fuse-norms", "fuse-activations"]


@pytest.mark.parametrize(
    ("target", "quantize", "suffix", "magic"),
    [
        ("pytorch", "none", ".py", b""),
        ("onnx", "none", ".onnx", b""),
        ("tflite", "none", ".tflite", b"TFL3"),
        ("tflite", "int8", ".tflite", b"TFL3"),
    ],
)
def test_compile_has_the_promised_fields(target: str, quantize: str, suffix: str, magic: bytes, folder: Path) -> None:
    found = document("compile", "tiny.arch", "--to", target, "--quantize", quantize)
    assert found["output"] == f"Tiny{suffix}"
    data = Path(found["output"]).read_bytes()
    assert (found["bytes"], found["quantize"]) == (len(data), quantize)
    assert found["params"] == document("cost", "tiny.arch")["params"]
    assert found["seconds"] > 0
    assert magic in data[:8]
    if target == "tflite":
        assert found["ops"]["CONV_2D"] == 3


def test_compile_is_deterministic_and_the_seed_matters(folder: Path) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert run("compile", "tiny.arch", "--to", "tflite", "-o", f"{name}.tflite", "--seed", seed).status == 0
    a, b, c = ((folder / f"{name}.tflite").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_compile_says_what_it_wrote(folder: Path) -> None:
    done = run("compile", "tiny.arch", "--to", "tflite", "-o", "m.tflite")
    assert done.out.startswith("wrote m.tflite: ")
    assert "CONV_2D" in done.out


def test_calibration_inputs_are_used(folder: Path) -> None:
    x = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    np.save("x.npy", x)
    np.savez("x.npz", x=x)
    for name, options in (("a", []), ("b", ["--calibration", "x.npy"]), ("c", ["--calibration", "x.npz"])):
        arguments = ["compile", "tiny.arch", "--to", "tflite", "--quantize", "int8", "-o", f"{name}.tflite", *options]
        assert run(*arguments).status == 0
    a, b, c = ((folder / f"{name}.tflite").read_bytes() for name in "abc")
    assert b == c
    assert a != b


# ---- fmt -------------------------------------------------------------------------------------------------------------

MESSY = "net A :  # a net\n  input 3x8x8\n  conv( 8,3 )\n"
TIDY = "net A:  # a net\n  input 3x8x8\n  conv(8, 3)\n"


def test_fmt_writes_in_place(folder: Path) -> None:
    (folder / "a.arch").write_text(MESSY)
    assert run("fmt", "a.arch", "tiny.arch").status == 0
    assert (folder / "a.arch").read_text() == TIDY
    assert (folder / "tiny.arch").read_text() == TINY
    assert document("fmt", "a.arch")["changed"] == []


def test_fmt_check_and_diff_write_nothing(folder: Path) -> None:
    (folder / "a.arch").write_text(MESSY)
    check = run("fmt", "--check", "a.arch", "space.arch")
    assert (check.status, check.out) == (1, "")
    assert check.err == "would format a.arch\n"
    diff = run("fmt", "--diff", "a.arch")
    assert diff.status == 0
    assert "-  conv( 8,3 )\n+  conv(8, 3)\n" in diff.out
    assert (folder / "a.arch").read_text() == MESSY
    assert run("fmt", "--check", "tiny.arch", "space.arch").status == 0


def test_fmt_formats_the_good_files_beside_a_bad_one(folder: Path) -> None:
    (folder / "a.arch").write_text(MESSY)
    (folder / "bad.arch").write_text("net A\n")
    done = run("fmt", "bad.arch", "none.arch", "a.arch")
    assert done.status == 1
    assert "error[E0101]" in done.err
    assert "error[E0001]" in done.err
    assert (folder / "a.arch").read_text() == TIDY


# ---- zoo -------------------------------------------------------------------------------------------------------------


def test_zoo_show_and_copy(folder: Path) -> None:
    shown = run("zoo", "show", "mobilenet_v2")
    assert "net MobileNetV2(" in shown.out
    assert run("zoo", "copy", "mobilenet_v2").out == "wrote mobilenet_v2.arch\n"
    assert (folder / "mobilenet_v2.arch").read_text() == shown.out
    assert document("cost", "mobilenet_v2.arch")["params"] == 3_504_872
    assert run("zoo", "copy", "mobilenet_v2").status == 1  # it does not write over a file
    assert run("zoo", "copy", "zoo:resnet:r18", "mine.arch").status == 0
    assert "`resnet`" in run("zoo", "show", "resnt").err


def test_what_ships_is_formatted_and_checks() -> None:
    files = sorted((Path(archlang.__file__).parent / "zoo").rglob("*.arch"))
    assert len(files) > 4
    assert run("fmt", "--check", *files).status == 0
    done = run("check", *files)
    assert (done.status, done.err) == (0, "")


def test_the_programs_of_these_tests_are_formatted(folder: Path) -> None:
    assert run("fmt", "--check", "tiny.arch", "space.arch").status == 0
