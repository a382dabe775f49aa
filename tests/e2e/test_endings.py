"""How the program ends: exit codes, and who says what where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import archlang
from archlang.cli import COMMANDS
from archlang.errors import OutsideError
from tests.e2e.program import Done, process
from tests.e2e.program import archlang as run

GROUPS = {
    "weights": ("import", "show", "check", "diff"),
    "supernet": ("source", "train", "cut", "predictor", "info", "import"),
}
"""Commands that only hold others."""


@pytest.mark.parametrize(
    "words",
    [(name,) for name in COMMANDS if name not in GROUPS] + [(name, inner) for name in GROUPS for inner in GROUPS[name]],
)
def test_every_command_has_help_and_json(words: tuple[str, ...]) -> None:
    done = run(*words, "--help")
    assert done.status == 0
    assert "--json" in done.out


def test_help_names_every_command_without_importing_one(folder: Path) -> None:
    code = "import sys; from archlang.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    listed, modules = out.rsplit("\n", 2)[:2]
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert not {f"archlang.cli.{name}" for name in COMMANDS} & set(modules.split())


def test_cost_imports_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from archlang.cli import main; main(['cost', 'tiny.arch'], standalone_mode=False); "
        "print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.split(".")[0] for name in out.splitlines()[-1].split()}
    assert not loaded & {"numpy", "rich", "torch", "onnx", "onnxruntime", "tensorflow", "ray", "jinja2", "sqlite3"}


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["chek"], "`check`"),
        (["cost", "tiny.arch", "--jsn"], "--json"),
        (["cost", "tiny.arch", "--by", "layr"], "layer"),
        (["cost"], "SPEC"),
        (["cost", "tiny.arch", "--set", "classes"], "name=value"),
        (["ir", "tiny.arch", "--passes", "fuse-norm"], "`fuse-norms`"),
        (["compile", "tiny.arch"], "--to"),
        (["compile", "tiny.arch", "--to", "tflit"], "`tflite`"),
        (["compile", "tiny.arch", "--to", "tflite", "--quantize", "int7"], "int8"),
        (["compile", "tiny.arch", "--to", "tflite", "--seed", "-1"], "--seed"),
        (["explain", "E9999"], "E9999"),
        (["zoo", "shw"], "show"),
        (["check", "tiny.arch", "--json", "--sarif"], "exclude"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_advice(folder: Path, arguments: list[str], advice: str) -> None:
    done = run(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert advice in done.err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, *extra: str) -> Done:
    """`archlang cost` with a library that raises `error`."""

    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(archlang, "load", load)
    return run("cost", "tiny.arch", *extra)


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (OutsideError("plug the phone in"), 3, "plug the phone in"),
        (PermissionError(13, "Permission denied", "x.arch"), 3, "Permission denied: x.arch"),
        (MemoryError(), 3, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("by zero\nsecond line"), 1, "this is a bug in archlang: ZeroDivisionError: by zero"),
    ],
)
def test_every_error_is_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, sentence: str
) -> None:
    done = failing(monkeypatch, error)
    assert (done.status, done.out) == (status, "")
    assert sentence in done.err
    assert "Traceback" not in done.err
    as_json = failing(monkeypatch, error, "--json")
    assert (as_json.status, as_json.err) == (status, "")
    assert as_json.document["ok"] is False
    assert sentence in as_json.document["errors"][0]["message"]


def test_a_bug_says_how_to_see_its_trace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ARCHLANG_TRACEBACK=1" in failing(monkeypatch, ValueError("odd")).err
    monkeypatch.setenv("ARCHLANG_TRACEBACK", "1")
    with pytest.raises(ValueError, match="odd"):
        raise_through(monkeypatch)


def raise_through(monkeypatch: pytest.MonkeyPatch) -> None:
    from archlang.cli import main

    def load(*_: object, **__: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(archlang, "load", load)
    main(["cost", "tiny.arch"], standalone_mode=False)


def test_a_process_of_its_own(folder: Path) -> None:
    good = process("cost", "tiny.arch", "--json", cwd=folder)
    assert (good.status, good.err) == (0, "")
    assert good.document["net"] == "Tiny"
    bad = process("cost", "none.arch", cwd=folder)
    assert (bad.status, bad.out) == (1, "")
    assert bad.err.startswith("error[E0001]")
    assert "\x1b[" not in bad.err


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    """`archlang zoo show ... | head`: the pipe is closed before the text is written."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "archlang", "zoo", "show", "mobilenet_v2"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""


def test_an_absent_extra_is_one_sentence_and_3(folder: Path) -> None:
    """A package that cannot be imported, as if it were not installed."""
    (folder / "hidden").mkdir()
    (folder / "hidden" / "torch.py").write_text("raise ImportError('not installed')\n")
    (folder / "w.pt").write_bytes(b"")
    environment = {**os.environ, "PYTHONPATH": str(folder / "hidden")}
    done = process("compile", "tiny.arch", "--to", "onnx", "--weights", "w.pt", cwd=folder, env=environment)
    assert done.status == 3
    assert "archlang[torch]" in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(folder.glob("*.onnx"))
