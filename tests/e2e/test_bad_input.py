"""What bad input gets: one located, coded, helpful error; exit code 1 or 3; no traceback, no half-written output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import archlang
from archlang import weights
from archlang.weights import Array
from tests.e2e.program import Done
from tests.e2e.program import archlang as run
from tests.e2e.programs import TINY


@dataclass(frozen=True)
class Case:
    """A program with one mistake: its code, the line and column of the mark, and what the help or message says."""

    program: str
    code: str
    place: str
    advice: str


HEAD = "net A:\n  default conv(norm=bn, act=relu)\n  input 3x8x8\n"

CASES = {
    "a comma is missing": Case(HEAD + "  conv(8 3)\n", "E0101", "4:10", "`,`"),
    "a colon is missing": Case("net A\n  input 3x8x8\n", "E0101", "1:6", "`:`"),
    "a bracket is missing": Case(HEAD + "  conv(8, 3\n", "E0102", "4:7", "`)`"),
    "a tab": Case("net A:\n\tinput 3x8x8\n", "E0105", "2:1", "two spaces"),
    "an unknown block": Case(HEAD + "  bottelneck(8)\n", "E0201", "4:3", "bottelneck"),
    "an unknown op, nearly right": Case(HEAD + "  cnov(8)\n", "E0201", "4:3", "`conv`"),
    "a misspelt argument": Case(HEAD + "  conv(8, 3, gropus=2)\n", "E0202", "4:14", "`groups`"),
    "an argument's name elsewhere": Case(HEAD + "  conv(8, kernel_size=3)\n", "E0202", "4:11", "`k`"),
    "channels disagree": Case(HEAD + "  add:\n    conv(8, 3)\n    conv(16, 3)\n", "E0312", "4:3", "16x8x8"),
    "a residual that changes shape": Case(HEAD + "  residual: conv(8, 3)\n", "E0312", "4:3", "project"),
    "a kernel larger than its input": Case(HEAD + "  conv(8, 11, pad=0)\n", "E0302", "4:3", "11"),
    "a linear layer on an image": Case(HEAD + "  linear(10)\n", "E0303", "4:3", "flatten"),
    "an expectation": Case(HEAD + "  conv(8, 1)\n  expect params == 41\n", "E0311", "5:10", "40"),
    "a file to import": Case('from "./blocks.arch" import fire\n' + HEAD, "E0001", "1:1", "blocks.arch"),
    "recursion": Case("block f(n):\n  f(n)\n" + HEAD + "  f(1)\n", "E0402", "2:3", "end"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_program(name: str, folder: Path) -> None:
    case = CASES[name]
    (folder / "bad.arch").write_text(case.program)
    before = set(folder.iterdir())
    for command in (["check", "bad.arch"], ["cost", "bad.arch"], ["compile", "bad.arch", "--to", "tflite"]):
        if command[0] != "check" and case.code == "E0311":
            continue  # `check` alone looks at expectations
        done = run(*command)
        refused(done, case.code)
        assert f"bad.arch:{case.place}\n" in done.err
        assert case.advice in done.err
    assert set(folder.iterdir()) == before


def refused(done: Done, code: str) -> None:
    """The command ended with 1 and this error on stderr, and nothing on stdout."""
    assert (done.status, done.out) == (1, ""), done
    assert f"error[{code}]: " in done.err
    assert "Traceback" not in done.err
    assert "this is a bug" not in done.err


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_json(name: str, folder: Path) -> None:
    case = CASES[name]
    (folder / "bad.arch").write_text(case.program)
    done = run("check", "bad.arch", "--json")
    assert (done.status, done.err) == (1, "")
    assert done.document["ok"] is False
    (error,) = done.document["errors"]
    assert error["code"] == case.code
    assert f"{error['line']}:{error['column']}" == case.place
    assert error["file"] == "bad.arch"
    assert error["message"]


def test_independent_errors_are_reported_together(folder: Path) -> None:
    (folder / "bad.arch").write_text("net A:\n  input 3x8x8\n  cnov(8)\n\nnet B:\n  input 3x8x8\n  conv(8, strid=2)\n")
    errors = run("check", "bad.arch", "--json").document["errors"]
    assert [(error["code"], error["line"]) for error in errors] == [("E0201", 3), ("E0202", 7)]


@pytest.mark.parametrize(
    ("spec", "advice"),
    [("tinny.arch", "`tiny.arch`"), ("zoo:mobilnet_v2", "`mobilenet_v2`"), (".", "folder")],
)
def test_a_missing_file(spec: str, advice: str, folder: Path) -> None:
    done = run("cost", spec)
    refused(done, "E0001")
    assert advice in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "advice"),
    [
        (["tiny.arch:Tiy"], "E0204", "`Tiny`"),
        (["tiny.arch", "--set", "clases=3"], "E0202", "`classes`"),
        (["tiny.arch", "--set", "classes=1/0"], "E0404", "zero"),
        (["tiny.arch", "--set", "classes=("], "E0102", "`)`"),
        (["tiny.arch", "--net", "Tinny()"], "E0201", "`Tiny`"),
        (["tiny.arch", "--net", "3"], "E0208", "net"),
        (["zoo:resnet"], "E0212", "r18"),
        (["zoo:resnet:r51"], "E0204", "r50"),
    ],
)
def test_a_wrong_name_or_parameter(arguments: list[str], code: str, advice: str, folder: Path) -> None:
    done = run("cost", *arguments)
    refused(done, code)
    assert advice in done.err


def test_text_that_is_none(folder: Path) -> None:
    (folder / "bad.arch").write_bytes(b"net A:\n  input \xff\xfe\n")
    refused(run("check", "bad.arch"), "E0002")
    (folder / "bad.arch").write_bytes(b"net A:\x00\n")
    refused(run("check", "bad.arch"), "E0002")


# ---- weights ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def arrays(folder: Path) -> dict[str, Array]:
    return dict(weights.random(archlang.loads(TINY).graph))


def compiled(*options: str | Path) -> Done:
    """`archlang compile` of the small net to TFLite; nothing may be left behind where it fails."""
    before = set(Path.cwd().iterdir())
    done = run("compile", "tiny.arch", "--to", "tflite", *options)
    if done.status:
        assert set(Path.cwd().iterdir()) == before
    return done


def test_weights_that_fit(arrays: dict[str, Array]) -> None:
    save_file(arrays, "w.safetensors")
    assert compiled("--weights", "w.safetensors").status == 0


def test_a_missing_weights_file(folder: Path) -> None:
    refused(compiled("--weights", "none.safetensors"), "E0605")


def test_a_corrupt_weights_file(arrays: dict[str, Array]) -> None:
    save_file(arrays, "w.safetensors")
    Path("w.safetensors").write_bytes(Path("w.safetensors").read_bytes()[:-7])
    refused(compiled("--weights", "w.safetensors"), "E0607")
    Path("w.pt").write_bytes(b"not a pickle")
    refused(compiled("--weights", "w.pt"), "E0607")
    Path("w.bin").write_bytes(b"")
    refused(compiled("--weights", "w.bin"), "E0606")


def test_a_pickle_that_runs_code_is_refused(folder: Path) -> None:
    Path("w.pt").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    refused(compiled("--weights", "w.pt"), "E0607")


def test_weights_of_the_wrong_shape(arrays: dict[str, Array]) -> None:
    name = next(iter(arrays))
    save_file(arrays | {name: arrays[name][:-1]}, "w.safetensors")
    done = compiled("--weights", "w.safetensors")
    refused(done, "E0602")
    assert name in done.err
    assert "7x3x3x3" in done.err
    assert "8x3x3x3" in done.err


def test_a_weight_missing_too_many_or_not_finite(arrays: dict[str, Array]) -> None:
    name = next(iter(arrays))
    save_file({key: value for key, value in arrays.items() if key != name}, "w.safetensors")
    refused(compiled("--weights", "w.safetensors"), "E0601")
    save_file(arrays | {"extra.weight": arrays[name]}, "w.safetensors")
    refused(compiled("--weights", "w.safetensors"), "E0604")
    save_file(arrays | {name: arrays[name] * np.float32("nan")}, "w.safetensors")
    refused(compiled("--weights", "w.safetensors"), "E0603")


# ---- calibration inputs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "code", "advice"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), "E0609", "channels last"),
        (np.zeros((3, 8, 8), np.float32), "E0609", "batch"),
        (np.zeros((0, 3, 8, 8), np.float32), "E0609", "Nx3x8x8"),
        (np.full((4, 3, 8, 8), np.nan, np.float32), "E0603", "finite"),
        (np.array([["a"]]), "E0609", "numbers"),
        (np.array([{"a": 1}]), "E0607", "pickle"),
    ],
)
def test_wrong_calibration_inputs(array: NDArray[Any], code: str, advice: str, folder: Path) -> None:
    np.save("x.npy", array, allow_pickle=True)
    done = compiled("--quantize", "int8", "--calibration", "x.npy")
    refused(done, code)
    assert advice in done.err


def test_calibration_files_that_are_none(folder: Path) -> None:
    refused(compiled("--quantize", "int8", "--calibration", "none.npy"), "E0605")
    Path("x.npz").write_bytes(b"PK not a zip")
    refused(compiled("--quantize", "int8", "--calibration", "x.npz"), "E0607")
    Path("x.txt").write_text("1 2 3")
    refused(compiled("--quantize", "int8", "--calibration", "x.txt"), "E0606")
    np.savez("y.npz", a=np.zeros((2, 3, 8, 8)), b=np.zeros(2))
    refused(compiled("--quantize", "int8", "--calibration", "y.npz"), "E0609")


# ---- outputs ---------------------------------------------------------------------------------------------------------


def test_an_output_that_cannot_be_written(folder: Path) -> None:
    refused(compiled("-o", "no/such/folder/m.tflite"), "E0608")
    (folder / "taken").mkdir()
    refused(compiled("-o", "taken"), "E0608")


def test_a_failed_compilation_leaves_the_old_file(folder: Path) -> None:
    Path("m.tflite").write_bytes(b"old")
    assert compiled("-o", "m.tflite", "--weights", "none.safetensors").status == 1
    assert Path("m.tflite").read_bytes() == b"old"


def test_a_mode_that_the_target_has_not(folder: Path) -> None:
    done = run("compile", "tiny.arch", "--to", "pytorch", "--quantize", "int8")
    refused(done, "E0802")
    assert "`none`" in done.err
