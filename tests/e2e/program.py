"""Runs the command line: in this process, or as one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from archlang.cli import main


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed, as the one JSON document that it is."""
        return json.loads(self.out)


def archlang(*arguments: str | Path) -> Done:
    """The command in this process and its folder."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="archlang")
    return Done(result.exit_code, result.stdout, result.stderr)


def process(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Done:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "archlang", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)
