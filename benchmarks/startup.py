"""The time of a whole process: a person's wait at the prompt."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.measure import Result, medians

COST = "from archlang.cli import main; main(['cost', 'zoo:efficientnet:b0'])"


def results(runs: int) -> Iterator[Result]:
    cost, torch, empty = medians([_process(COST), _process("import torch"), _process("import archlang")], runs)
    yield Result("archlang cost zoo:efficientnet:b0", cost, "python -c 'import torch'", torch, limit=400)
    yield Result("python -c 'import archlang'", empty, "python -c 'import torch'", torch)


def _process(code: str) -> Callable[[], object]:
    """A process as a user has it: Python keeps the bytecode of what it has imported once."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run() -> None:
        nothing = subprocess.DEVNULL
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=nothing, stdin=nothing)

    return run
