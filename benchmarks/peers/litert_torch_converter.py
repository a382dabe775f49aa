"""litert-torch: from a PyTorch module, its input and output channels last; int8 by its own PT2E quantizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.peers.torch_net import module, samples
from benchmarks.peers.worker import Job, serve


def _make(job: Job) -> Callable[[], None]:
    import litert_torch

    network = litert_torch.to_channel_last_io(module(job), args=[0]).eval()
    inputs = [(x[None].permute(0, 2, 3, 1).contiguous(),) for x in samples(job)]

    def write() -> None:
        if job.mode == "int8":
            converted, config = _quantized(network, inputs)
            model = litert_torch.convert(converted, inputs[0], quant_config=config)
        else:
            model = litert_torch.convert(network, inputs[0])
        model.export(str(job.result))

    return write


def _quantized(network: Any, inputs: list[Any]) -> tuple[Any, Any]:
    import torch
    from litert_torch.quantize import pt2e_quantizer, quant_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    scheme = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    quantizer = pt2e_quantizer.PT2EQuantizer().set_global(scheme)
    prepared = prepare_pt2e(torch.export.export(network, inputs[0]).module(), quantizer)
    with torch.no_grad():
        for x in inputs:
            prepared(*x)
    return convert_pt2e(prepared, fold_quantize=False), quant_config.QuantConfig(pt2e_quantizer=quantizer)


if __name__ == "__main__":
    serve(_make)
