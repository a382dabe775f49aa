"""What is left of files whose writing was interrupted: nothing, at once or after the next run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from archlang.files import write_together, write_whole

INTERRUPTED = """
import os, sys
from pathlib import Path
from archlang.files import write_together

write_together({Path(sys.argv[1]): [b"new"]}, lambda staged: os.kill(os.getpid(), int(sys.argv[2])))
"""


def interrupted(path: Path, number: int) -> int:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, path, str(number)], check=False)
    return done.returncode


def test_a_terminated_process_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")
    assert interrupted(tmp_path / "a.bin", signal.SIGTERM) == -signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_what_a_killed_process_leaves_goes_with_the_next_run(tmp_path: Path) -> None:
    assert interrupted(tmp_path / "a.bin", signal.SIGKILL) == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    write_whole(tmp_path / "b.bin", b"other")
    assert [path.name for path in tmp_path.iterdir()] == ["b.bin"]


def test_files_of_a_living_process_stay(tmp_path: Path) -> None:
    """One write inside the check of another: the outer one's file is still there."""

    def check(staged: Path) -> None:
        write_whole(tmp_path / "inner.bin", b"inner")
        assert staged.read_bytes() == b"outer"

    write_together({tmp_path / "outer.bin": [b"outer"]}, check)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inner.bin", "outer.bin"]


def test_the_handler_of_the_caller_stays(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    write_whole(tmp_path / "a.bin", b"a")
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(RuntimeError):
        write_together({tmp_path / "a.bin": [b"b"]}, failing)
    assert signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "a.bin").read_bytes() == b"a"


def failing(staged: Path) -> None:
    raise RuntimeError
