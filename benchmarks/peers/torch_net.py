"""The network as a PyTorch module, for the routes that start from one."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers.worker import Job

if TYPE_CHECKING:
    import torch


def module(job: Job) -> torch.nn.Module:
    """In evaluation mode, with the job's weights."""
    from safetensors.torch import load_file

    made: torch.nn.Module = runpy.run_path(str(job.folder / "torch_net.py"))[job.facts["torch"]]()
    made.load_state_dict(load_file(job.folder / "weights.safetensors"), strict=False)
    return made.eval()


def samples(job: Job) -> torch.Tensor:
    """The calibration inputs, (N, C, H, W)."""
    import torch

    return torch.from_numpy(np.load(job.folder / "calibration.npy"))
