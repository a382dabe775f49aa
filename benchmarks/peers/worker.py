"""What every route's program does: prepare without being timed, convert, say how long and how much memory it took."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """Make the file `result` `runs` times.

    folder: `torch_net.py`, `keras_net.py` and `weights.safetensors` (the same network three times), `facts.json` (what
    they are called), `calibration.npy` (N, C, H, W). mode: `none` or `int8`. source: the file of the stage before.
    """

    folder: Path
    mode: str
    result: Path
    runs: int
    source: Path | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """`spec` of the network, `torch` class and `keras` function in the generated source."""
        facts: dict[str, Any] = json.loads((self.folder / "facts.json").read_text())
        return facts


Make = Callable[[Job], Callable[[], None]]
"""Imports and loads all that is not counted; gives what writes the result once."""


def serve(make: Make) -> None:
    """Do the job that the only argument describes, as JSON. Prints a line of JSON: the milliseconds of each run by the
    clock and of all its threads, and the peak of the memory in MB."""
    given = json.loads(sys.argv[1])
    source = Path(given["source"]) if given["source"] else None
    job = Job(Path(given["folder"]), given["mode"], Path(given["result"]), given["runs"], source)
    write = make(job)
    times, processor_times = [], []
    for _ in range(job.runs):
        job.result.unlink(missing_ok=True)  # to replace a file takes longer than to write one
        start, processor_start = time.perf_counter(), time.process_time()
        write()
        times.append(1000 * (time.perf_counter() - start))
        processor_times.append(1000 * (time.process_time() - processor_start))
    print(json.dumps({"ms": times, "processor_ms": processor_times, "peak_mb": [peak_mb()]}))


def peak_mb() -> float:
    """The most memory that this process had at once. Linux's `ru_maxrss` would count the parent's, before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """`python -m benchmarks.peers.worker MODULE...`: exit code 0 where all of the modules are installed."""
    sys.exit(any(find_spec(name) is None for name in sys.argv[1:]))


if __name__ == "__main__":
    main()
