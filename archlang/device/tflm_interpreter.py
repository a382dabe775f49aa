"""Runs a model with tflite-micro and tells the arena that it needs: a script of its own, as the runner is.

Request: model (path), arena_limit (bytes). Answer: version, arena_bytes, parts (name -> bytes); or error and message.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from archlang.device.runner import Failure, random_input, serve

ALIGNMENT = 16


def examine(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request."""
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise Failure("missing", "tflite-micro is not installed") from error
    content = Path(request["model"]).read_bytes()
    with said() as words:
        try:
            interpreter = runtime.Interpreter.from_bytes(content, arena_size=request["arena_limit"])
        except (RuntimeError, ValueError) as error:
            raise Failure("model", reason(words(), error)) from error
        run(interpreter)
        interpreter.print_allocations()
        report = words()
    found = parts(report)
    used = sum(found.values()) or request["arena_limit"]
    limit = used if fits(runtime, content, used) else request["arena_limit"]
    needed = smallest(lambda size: fits(runtime, content, size), limit)
    return {"version": version("tflite-micro"), "arena_bytes": needed, "parts": found}


def run(interpreter: Any) -> None:
    """Once, on random inputs. The package has no count of the inputs; it raises at the first that is not there."""
    details = interpreter.get_input_details(0)
    interpreter.set_input(random_input(details["dtype"], tuple(details["shape"]), 0), 0)
    try:
        interpreter.invoke()
    except RuntimeError as error:
        raise Failure("model", f"it cannot be run: {error}") from error


def fits(runtime: Any, content: bytes, size: int) -> bool:
    with said():
        try:
            runtime.Interpreter.from_bytes(content, arena_size=size)
        except RuntimeError:
            return False
    return True


def smallest(enough: Any, limit: int) -> int:
    """The smallest arena in which the model can be prepared, by halving, to 16 bytes; `limit` is enough."""
    low, high = 0, -(-limit // ALIGNMENT)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle * ALIGNMENT) else (middle, high)
    return high * ALIGNMENT


@contextlib.contextmanager
def said() -> Iterator[Any]:
    """A function that gives what the library has written on stderr so far."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def words() -> str:
            return os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")

        try:
            yield words
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def reason(words: str, error: Exception) -> str:
    """What it lacks: an operator that it does not know, or memory."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[0] if lines else str(error)


def parts(report: str) -> dict[str, int]:
    """The arena's parts from the report of the recording allocator."""
    found = {name: int(size) for name, size in re.findall(r"Arena allocation (head|tail) (\d+) bytes", report)}
    return {"activations": found.get("head", 0), "persistent": found.get("tail", 0)}


if __name__ == "__main__":
    serve(examine)
