"""Runs hostile input in processes of their own, which may take 2 GB of memory and 10 seconds of a processor that makes
twenty million additions in a second; a slower one gets as much more time.

A small server without heavy imports forks one process for each request, so that a case costs milliseconds and not the
start of an interpreter: `python -m tests.unit.hostile`, a JSON document a line in and out.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from math import ceil
from pathlib import Path
from typing import IO, Any

MEMORY, SECONDS = 2 * 10**9, 10
USUAL = 0.01
"""Seconds that 200,000 additions take on a usual processor."""


class Server:
    """The other end of the pipe."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.unit.hostile"]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)

    def ask(self, **request: Any) -> dict[str, Any]:
        """What came of it: `codes` of the diagnostics, or `crash`. Asked: `text`, `targets`, or `command`, `cwd`."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def serve(requests: IO[str], answers: IO[str]) -> None:
    import archlang.cli
    from archlang.lower import body  # noqa: F401  (so that no process has to import it)

    assert archlang.cli
    for line in requests:
        answers.write(_in_a_child(json.loads(line), ceil(SECONDS * max(1, _pace()))) + "\n")
        answers.flush()


def _pace() -> float:
    """How many times as long as a usual one this processor takes, at this moment."""
    start, total = time.process_time(), 0
    for number in range(200_000):
        total += number
    return (time.process_time() - start) / USUAL


def _in_a_child(request: dict[str, Any], seconds: int) -> str:
    end, start = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        with os.fdopen(start, "w") as out:
            out.write(json.dumps(_limited(request, seconds)))
            out.flush()
            os._exit(0)
    os.close(start)
    with os.fdopen(end) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return text or json.dumps({"crash": f"ended by signal {signal}, status {status}"})


def _limited(request: dict[str, Any], seconds: int) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    try:
        return _command(request) if "command" in request else _text(request["text"], request.get("targets", ()))
    except BaseException as error:
        return {"crash": f"{type(error).__name__}: {str(error)[:300]}"}


def _text(text: str, targets: list[str]) -> dict[str, Any]:
    import archlang
    from archlang.errors import ArchError, render
    from archlang.source import Source
    from archlang.syntax import format_text

    try:
        format_text(Source("hostile", text))
        net = archlang.loads(text, name="hostile")
        cost = net.cost().total
        for target in targets:
            net.compile(target)
    except ArchError as error:
        shown = max(len(render(diagnostic)) for diagnostic in error.diagnostics)
        places = [str(diagnostic.span) for diagnostic in error.diagnostics if diagnostic.span]
        return {"codes": [diagnostic.code for diagnostic in error.diagnostics], "places": places, "shown": shown}
    return {"codes": [], "params": cost.params}


def _command(request: dict[str, Any]) -> dict[str, Any]:
    import re

    from click.testing import CliRunner

    from archlang.cli import main

    os.chdir(request["cwd"])
    done = CliRunner().invoke(main, request["command"], prog_name="archlang")
    codes = re.findall(r"error\[(E\d+)\]", done.stderr)
    return {"codes": codes, "status": done.exit_code, "out": done.stdout[:2000], "err": done.stderr[:2000]}


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
