from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.programs import SPACE, TINY


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is where the command runs, but for `tiny.arch` and `space.arch`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.arch").write_text(TINY)
    (tmp_path / "space.arch").write_text(SPACE)
    return tmp_path
