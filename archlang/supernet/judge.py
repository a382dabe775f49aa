"""What a sub-network is worth with the weights of its supernet: recalibrated, then judged on images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from archlang.data import Dataset, load_data, resize_matrix
from archlang.ir.graph import Graph
from archlang.train import check_fit

if TYPE_CHECKING:
    import torch

    from archlang.supernet.net import SuperNet

RECALIBRATION = 512
"""Training images from which the statistics of a sub-network's BatchNorms are taken."""

BATCH = 256


def resized(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Images (N, C, H, W) as (N, C, height, width): what `archlang.data.resized` does, on the images' device."""
    import torch

    if tuple(x.shape[2:]) == (height, width):
        return x
    rows = torch.from_numpy(resize_matrix(x.shape[2], height)).to(x.device)
    columns = torch.from_numpy(resize_matrix(x.shape[3], width)).to(x.device)
    return torch.matmul(torch.matmul(rows, x), columns.T)


def fitted(data: Dataset, graph: Graph) -> Dataset:
    """The images with as many channels as the network takes, in their own size: sub-networks take different ones.

    Raises ArchError where the network cannot classify images like these into so many classes.
    """
    shape = graph.nodes[graph.inputs[0]].type.shape
    check_fit(graph, replace(data, x_train=data.x_train[:1], x_test=data.x_test[:1]).fitted(shape))
    return data.fitted((shape[0], *data.shape[1:]))


def load_images(spec: str, graph: Graph, trusted: bool = True) -> Dataset:
    """The data set that `spec` names, for a space of which `graph` is a network. See `fitted`.

    Images of a folder differ in size, and get that of the network. Its test images stay unseen: a part of the training
    images is held out in their place, the same as in a search.
    """
    shape = graph.nodes[graph.inputs[0]].type.shape
    data = load_data(spec, shape if spec.startswith("folder:") else None, trusted)
    return fitted(data, graph).held_out()


class Judge:
    """Accuracies of sub-networks. data: its training images give the BatchNorm statistics, its test images the
    accuracy; see `fitted`. recalibration: how many of the former are used, drawn evenly."""

    def __init__(self, net: SuperNet, data: Dataset, recalibration: int = RECALIBRATION) -> None:
        import torch

        device = next(net.parameters()).device
        drawn = np.random.default_rng(0).permutation(len(data.x_train))[:recalibration]
        self._net = net
        self._known = torch.from_numpy(data.x_train[drawn]).to(device)
        self._images, self._labels = torch.from_numpy(data.x_test), torch.from_numpy(data.y_test)

    def select(self, picks: Mapping[str, int]) -> None:
        """Leave the net in evaluation mode, with these picks and BatchNorm statistics of their own. Raises ArchError
        where the picks do not fit the space."""
        self._net.select(picks)
        self._net.recalibrate(list(self._batches(self._known)))
        self._net.eval()

    def accuracy(self, picks: Mapping[str, int]) -> float:
        """Share of the test images that the sub-network labels right. Selects it, and raises, as `select` does."""
        import torch

        self.select(picks)
        net, hits = self._net, 0
        labels = torch.split(self._labels, BATCH)
        with torch.no_grad():
            for x, y in zip(self._batches(self._images), labels, strict=True):
                hits += int((first(net(x)).flatten(1).argmax(1).cpu() == y).sum())
        return hits / len(self._labels)

    def _batches(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        """At the resolution and on the device of the net."""
        import torch

        for x in torch.split(images, BATCH):
            sized = resized(x.to(self._known.device), *self._net.resolution)
            yield sized.contiguous(memory_format=torch.channels_last)


def first(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The main output of a net that may have auxiliary ones."""
    return outputs[0] if isinstance(outputs, tuple) else outputs
