"""`bench`, `train` and `search` as commands: documents, exit codes, what is said where."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from archlang.weights import checked, load
from tests.e2e.program import archlang, process
from tests.unit.test_search_plan import TEXT


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.arch").write_text(TEXT)
    return "tiny.arch"


def test_bench_compiles_a_spec_and_says_what_it_measured(file: str) -> None:
    done = archlang("bench", file, "--quantize", "int8", "--runs", "5", "--min-secs", "0", "--json")
    assert done.status == 0, done.err
    document = done.document
    assert document["measured"] == "tiny.arch as int8 TFLite, fresh weights"
    assert document["runs"] >= 5
    assert document["device"] == "host"
    text = archlang("bench", file, "--runs", "5", "--min-secs", "0").out
    assert text.startswith("tiny.arch as float32 TFLite, fresh weights\n")
    assert " ms (p10 " in text


def test_bench_profiles_a_file(file: str) -> None:
    assert archlang("compile", file, "--to", "tflite", "-o", "tiny.tflite").status == 0
    done = archlang("bench", "tiny.tflite", "--runs", "3", "--min-secs", "0", "--profile", "--json")
    assert {"name", "ms", "share"} <= set(done.document["ops"][0])
    assert "operator" in archlang("bench", "tiny.tflite", "--runs", "3", "--min-secs", "0", "--profile").out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["none.tflite"], 1, "E1005"),
        (["none.arch"], 1, "E0001"),
        (["broken.tflite"], 1, "E100"),
        (["broken.tflite", "--set", "classes=5"], 2, "--set"),
        (["broken.tflite", "--runs", "0"], 2, "--runs"),
        (["broken.tflite", "--device", "pixel"], 3, "there is no device `pixel`"),
    ],
)
def test_bench_refuses(file: str, arguments: list[str], status: int, words: str) -> None:
    Path("broken.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(50))
    done = archlang("bench", *arguments)
    assert (done.status, done.out) == (status, "")
    assert words in done.err
    if status != 2:
        assert archlang("bench", *arguments, "--json").document["ok"] is False


def test_train_writes_weights_that_fit(file: str) -> None:
    import archlang as library

    arguments = ["train", file, "--data", "digits", "--epochs", "1", "-o", "w.safetensors"]
    done = archlang(*arguments, "--json")
    assert done.status == 0, done.err
    document = done.document
    assert (document["output"], document["epochs"], len(document["loss"])) == ("w.safetensors", 1, 1)
    assert document["train_images"] + document["test_images"] == 1797
    assert 0 < document["accuracy"] <= 1
    graph = library.load(file).graph
    checked(graph, load(Path("w.safetensors")))
    again = archlang(*arguments, "--weights", "w.safetensors")
    assert again.out.startswith("accuracy 0.")
    assert archlang("compile", file, "--to", "tflite", "--weights", "w.safetensors").status == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--data", "digit", "-o", "w.safetensors"], 1, "did you mean `digits`"),
        (["--data", "digits", "-o", "w.pt"], 2, "does not end in .safetensors"),
        (["--data", "digits", "-o", "w.safetensors", "--set", "classes=5"], 1, "E1101"),
        (["--data", "npz:none.npz", "-o", "w.safetensors"], 1, "there is no file none.npz"),
        (["-o", "w.safetensors"], 2, "--data"),
    ],
)
def test_train_refuses_and_writes_nothing(file: str, arguments: list[str], status: int, words: str) -> None:
    done = archlang("train", file, *arguments)
    assert done.status == status
    assert words in done.err
    assert not list(Path().glob("w.*"))


SEARCH = ("search", "tiny.arch", "--evaluator", "cost", "--trials", "12", "--run", "out")


def test_search_prints_one_document(file: str) -> None:
    done = archlang(*SEARCH, "--json")
    assert done.status == 0, done.err
    document = done.document
    assert (document["run"], document["trials"], document["failed"]) == ("out", 12, 0)
    assert document["candidates_per_second"] > 0
    assert {"arch", "metrics"} <= set(document["best"])
    for entry in document["front"]:
        assert archlang("check", entry["arch"]).status == 0
    assert "note: `cost` does not give `accuracy`" in done.err


def test_search_shows_the_front_and_says_how_winners_were_found(file: str) -> None:
    done = archlang(*SEARCH)
    assert "12 of 12 candidates" in done.out
    assert "out/front" in done.out
    winner = next(Path("out/front").iterdir()).read_text()
    assert "# found by: archlang search tiny.arch --evaluator cost --trials 12 --run out   (trial " in winner
    assert archlang("fmt", "--check", *map(str, Path("out/front").iterdir())).status == 0


def test_search_goes_on_only_when_told(file: str) -> None:
    first = archlang(*SEARCH, "--json").document
    done = archlang(*SEARCH)
    assert done.status == 1
    assert "E1208" in done.err
    again = archlang(*SEARCH, "--resume", "--json").document
    assert again["front"] == first["front"]
    assert "E1210" in archlang(*SEARCH, "--resume", "--seed", "1").err


def test_search_refuses(file: str) -> None:
    assert "E1205" in archlang("search", file, "--evaluator", "guess").err
    assert archlang("search", file, "--device", "pixel6-cpu").status == 3
    assert archlang("search", "none.arch").status == 1
    assert archlang("search", file, "--trials", "0").status == 2
    assert not Path("runs").exists()


def test_set_reaches_the_space(file: str) -> None:
    small = archlang(*SEARCH, "--set", "classes=2", "--json").document
    large = archlang(*SEARCH[:-1], "out2", "--set", "classes=40", "--json").document
    assert small["best"]["metrics"]["params"] < large["best"]["metrics"]["params"]


def test_ctrl_c_says_how_to_go_on(file: str, tmp_path: Path) -> None:
    # No constraint and many decisions, so that it would go on for long.
    rows = "\n".join("  conv({8, 12, 16, 20, 24}, {1, 3, 5})" for _ in range(12))
    wide = f"net Wide:\n  input 1x8x8\n{rows}\n  gap -> linear(2)\n\nsearch s over Wide:\n  minimize params\n"
    Path("wide.arch").write_text(wide)
    command = [sys.executable, "-m", "archlang", "search", "wide.arch", "--evaluator", "cost", "--trials", "1000000"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = subprocess.Popen(command, cwd=tmp_path, text=True, preexec_fn=_interruptible, **pipes)
    database = tmp_path / "runs" / "s" / "search.db"
    while running.poll() is None and trials(database) < 10:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130
    go_on = "archlang search wide.arch --evaluator cost --trials 1000000 --run runs/s --resume"
    assert f"stopped; to go on:  {go_on}" in err
    assert "Traceback" not in err
    count = trials(database)
    words = go_on.replace("1000000", str(count + 5)).split()[1:]
    done = process(*words, "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert json.loads(done.out)["trials"] == count + 5


def _interruptible() -> None:
    """Shells start what runs in the background with Ctrl-C ignored, and the tests may run there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def trials(database: Path) -> int:
    if not database.exists():
        return 0
    connection = sqlite3.connect(database)
    try:
        return int(connection.execute("select count(*) from candidates").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
