"""Imports stay in the folder of the file that is compiled, unless `--import-path` allows another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.program import archlang as run


@pytest.fixture
def beside(folder: Path) -> Path:
    """A file that imports from a folder beside its own, which imports from a third."""
    for name in ("a", "lib", "base"):
        (folder / name).mkdir()
    (folder / "base" / "base.arch").write_text("block plain(c):\n  conv(c, 3)\n")
    (folder / "lib" / "blocks.arch").write_text(
        'from "../base/base.arch" import plain\n\nblock two(c):\n  plain(c) * 2\n'
    )
    path = folder / "a" / "a.arch"
    path.write_text('from "../lib/blocks.arch" import two\n\nnet A:\n  input 3x8x8\n  two(4)\n')
    return path


def test_a_folder_beside_must_be_allowed(beside: Path) -> None:
    done = run("check", "a/a.arch")
    assert done.status == 1
    assert "error[E0205]" in done.err
    assert "--import-path" in done.err


@pytest.mark.parametrize("command", ["check", "cost", "ir"])
def test_every_folder_that_is_allowed_may_be_read(command: str, beside: Path) -> None:
    assert run(command, "a/a.arch", "--import-path", "lib").status == 1
    assert run(command, "a/a.arch", "--import-path", "lib", "--import-path", "base").status == 0
    assert "ARCHLANG_IMPORT_PATH" not in os.environ


def test_the_variable_allows_them_too(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHLANG_IMPORT_PATH", os.pathsep.join(["lib", "base"]))
    assert run("check", "a/a.arch").status == 0
