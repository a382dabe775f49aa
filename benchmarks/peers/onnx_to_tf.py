"""onnx2tf: from an ONNX file to a float .tflite file."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from benchmarks.peers.worker import Job, serve


def _make(job: Job) -> Callable[[], None]:
    import onnx2tf

    assert job.source is not None
    folder = job.result.with_suffix(".onnx2tf")

    def write() -> None:
        onnx2tf.convert(input_onnx_file_path=str(job.source), output_folder_path=str(folder), non_verbose=True)
        (made,) = folder.glob("*_float32.tflite")
        shutil.move(made, job.result)

    return write


if __name__ == "__main__":
    serve(_make)
