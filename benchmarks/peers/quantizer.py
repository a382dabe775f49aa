"""litert-quantizer: from a float .tflite file to one of integers, by its recipe for static int8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.peers.worker import Job, serve


def _make(job: Job) -> Callable[[], None]:
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import recipe
    from litert_quantizer.quantizer import Quantizer

    assert job.source is not None
    source = str(job.source)
    signatures = Interpreter(source).get_signature_list()
    (key, names), *_ = signatures.items()
    samples = np.ascontiguousarray(np.load(job.folder / "calibration.npy").transpose(0, 2, 3, 1))
    inputs = [{names["inputs"][0]: sample[None]} for sample in samples]

    def write() -> None:
        quantizer = Quantizer(source, recipe.static_wi8_ai8())
        ranges = quantizer.calibrate({key: inputs})
        quantizer.quantize(ranges, enable_progress_report=False).export_model(str(job.result))

    return write


if __name__ == "__main__":
    serve(_make)
