"""The corpus goes through every target, and a short run of the fuzzer finds nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent

AS_A_CHILD = ("sh", "-c", '"$@"; exit $?', "sh")
"""libFuzzer limits the most memory that its process ever held, and Linux counts what the process held before it became
another program: pytest's, which after other tests is beyond the limit. A child of a shell starts with the shell's."""

CORPUS = sorted((HERE / "corpus").iterdir())


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus(target: str) -> None:
    assert len(CORPUS) > 20
    for path in CORPUS:
        TARGETS[target](path.read_text(encoding="utf-8", errors="ignore"))


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run(target: str, tmp_path: Path) -> None:
    """New inputs go into a folder of their own; the seed makes the run the same every time."""
    command = [sys.executable, "-m", "tests.fuzz", target, str(tmp_path), str(HERE / "corpus")]
    options = ["-runs=300", "-seed=1", "-max_len=400", "-timeout=30", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [*AS_A_CHILD, *command, *options], cwd=HERE.parents[1], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done " in done.stderr
