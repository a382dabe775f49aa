"""A stand-in for benchmark_model: it takes the same flags, times some work, and prints in the given form.

Written into a file of its own for the tests, with `FORM` set. The forms are those of real outputs:
`old` tensorflow/tensorflow#25537, `new` #42507, `median` and `litert` Arm's learning path on KleidiAI.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import mean, median, pstdev

FORM = "new"


def main() -> int:
    flags = dict(word[2:].split("=", 1) for word in sys.argv[1:] if word.startswith("--"))
    if "graph" not in flags:
        print("Please specify the name of your TF Lite input file with --graph")
        return 1
    print("STARTING!")
    with open("calls.json", "a") as log:
        log.write(json.dumps(flags) + "\n")
    content = Path(flags["graph"]).read_bytes()
    if content[4:8] != b"TFL3":
        print("ERROR: The model is not a valid Flatbuffer buffer")
        return 1
    warmup = timed(content, int(flags["warmup_runs"]), float(flags["warmup_min_secs"]))
    runs = timed(content, int(flags["num_runs"]), float(flags["min_secs"]))
    prefix = "INFO: " if FORM in ("median", "litert") else ""
    for values, name in ((warmup, "warmup_runs"), (runs, "num_runs")):
        print(f"{prefix}Running benchmark for at least {flags[name]} iterations and at least 0.1 seconds")
        print(f"{prefix}{statistics(values)}\n")
    print(SUMMARY[FORM](mean(warmup), mean(runs), len(runs)))
    if "profiling_output_csv_file" in flags:
        Path(flags["profiling_output_csv_file"]).write_text(PROFILE)
    return 0


def timed(content: bytes, count: int, secs: float) -> list[float]:
    """Microseconds of a piece of work that depends on the model."""
    values: list[float] = []
    end = time.monotonic() + secs
    while len(values) < count or time.monotonic() < end:
        start = time.perf_counter()
        sum(content * 4)
        values.append((time.perf_counter() - start) * 1e6)
    return values


def statistics(values: list[float]) -> str:
    if len(values) == 1:
        return f"count=1 curr={values[0]:.0f}"
    text = (
        f"count={len(values)} first={values[0]:.0f} curr={values[-1]:.0f} min={min(values):.0f} max={max(values):.0f}"
    )
    text += f" avg={mean(values):g} std={pstdev(values):.0f}"
    return (
        text
        if FORM in ("old", "new")
        else f"{text} p5={min(values):.0f} median={median(values):.0f} p95={max(values):.0f}"
    )


SUMMARY = {
    "old": lambda w, r, n: f"Average inference timings in us: Warmup: {w:g}, Init: 855, no stats: {r:g}",
    "new": lambda w, r, n: (
        f"Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): {w:g}, Inference (avg): {r:g}"
    ),
    "litert": lambda w, r, n: (
        f"INFO: [./litert/tools/benchmark_litert_model.h:88] Inference (avg):      {r / 1e3:.2f} ms ({n} runs)"
    ),
}
SUMMARY["median"] = SUMMARY["new"]

PROFILE = """
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0, 0.029, 0.029, 100%, 100%, 0, 1, AllocateTensors/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 0.11, 0.09, 45%, 45%, 0, 1, [net/conv, bias]:0
ELU, 0.09, 0.03, 0.03, 15%, 60%, 0, 1, [net/elu]:1

============================== Top by Computation Time ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 0.11, 0.09, 45%, 45%, 0, 1, [net/conv, bias]:0
"""

if __name__ == "__main__":
    sys.exit(main())
