"""PyTorch's ONNX exporter: the first stage of a chain."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from benchmarks.peers.torch_net import module, samples
from benchmarks.peers.worker import Job, serve


def _make(job: Job) -> Callable[[], None]:
    import torch

    network, x = module(job), samples(job)[:1]

    def write() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(network, (x,), str(job.result), dynamo=False, input_names=["x"], output_names=["y"])

    return write


if __name__ == "__main__":
    serve(_make)
