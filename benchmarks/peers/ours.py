"""archlang: from the text of the network, with its weights in memory, to the file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.peers.worker import Job, serve


def _make(job: Job) -> Callable[[], None]:
    import archlang
    from archlang import weights
    from archlang.backend import Request, compile_graph

    compile_graph(archlang.load("zoo:lenet").graph, "tflite", Request(quantize="int8"))  # imports what is imported late
    spec = job.facts["spec"]
    arrays = None if job.mode == "latency" else weights.load(job.folder / "weights.safetensors")
    samples = np.load(job.folder / "calibration.npy") if job.mode == "int8" else None
    if samples is not None:
        import ai_edge_litert.interpreter  # noqa: F401
    quantize = "none" if job.mode == "none" else "int8"
    request = Request(weights=arrays, quantize=quantize, calibration=samples)
    return lambda: _written(compile_graph(archlang.load(spec).graph, "tflite", request), job)


def _written(artifact: object, job: Job) -> None:
    from archlang.backend import Artifact

    assert isinstance(artifact, Artifact)
    artifact.write(job.result)


if __name__ == "__main__":
    serve(_make)
