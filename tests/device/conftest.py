"""A small model, and boards to measure it on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import archlang
from archlang import weights
from archlang.backend import Request, compile_graph
from tests.device.ssh_server import SSHD, Board

TEXT = """
net Small:
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(8, 3, s=2)
  dwconv(3)
  conv(16, 1)
  gap -> linear(4)
"""


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the devices of whoever runs it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("ARCHLANG_DEVICES", raising=False)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .tflite file of a few kB."""
    graph = archlang.loads(TEXT).graph
    path = tmp_path_factory.mktemp("model") / "small.tflite"
    path.write_bytes(compile_graph(graph, "tflite", Request(weights.random(graph))).data)
    return path


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """A board with OpenSSH's server, or asyncssh's where that is not installed."""
    yield from _started(Board(tmp_path, real=SSHD is not None))


@pytest.fixture
def plain_board(tmp_path: Path) -> Iterator[Board]:
    """A board with asyncssh's server, which is always there."""
    yield from _started(Board(tmp_path, real=False))


def _started(board: Board) -> Iterator[Board]:
    board.start()
    yield board
    board.kill()
