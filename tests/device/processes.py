"""Processes that a test has started, and their children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def until(condition: Callable[[], bool], what: str, secs: float = 30.0) -> None:
    """Wait for something that other processes do; a failure where it does not come to pass."""
    end = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.05)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def descendants(pid: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                child = int(path.parent.name)
                yield child
                yield from descendants(child)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it has started, as switching off a machine does."""
    for pid in [process.pid, *descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def running(marker: str) -> list[int]:
    """The processes whose command line or working folder has `marker` in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (path / "cmdline").read_bytes().decode(errors="replace")
            if marker in command or marker in str((path / "cwd").readlink()):
                found.append(int(path.name))
    return [pid for pid in found if pid != os.getpid()]
