"""`python -m benchmarks.invoke RUNS FILE.tflite...`: the median of the milliseconds that each file takes, as JSON.

On one thread, in turns whose order changes, so that none is always measured behind the same other one; only the time
that the processor gave them counts.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

WARM_UP = 3


def main() -> None:
    runs, files = int(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    interpreters = [_fed(file) for file in files]
    times: list[list[float]] = [[] for _ in files]
    order, rng = list(range(len(files))), Random(0)
    for turn in range(WARM_UP + runs):
        rng.shuffle(order)
        for i in order:
            start = time.process_time()
            interpreters[i].invoke()
            if turn >= WARM_UP:
                times[i].append(1000 * (time.process_time() - start))
    print(json.dumps([statistics.median(taken) for taken in times]))


def _fed(file: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    values = np.random.default_rng(0).standard_normal(source["shape"])
    interpreter.set_tensor(
        source["index"], (values if source["dtype"] == np.float32 else 40 * values).astype(source["dtype"])
    )
    return interpreter


if __name__ == "__main__":
    main()
