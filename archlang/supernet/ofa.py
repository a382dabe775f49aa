"""Supernets of mit-han-lab/once-for-all (arXiv:1908.09791): `OFAMobileNetV3`, of `specs/spaces/ofa_mbv3.arch`.

Its state dicts are read under the names of any version of the release: `blocks.3.mobile_inverted_conv.depth_conv...`
became `blocks.3.conv.depth_conv...`, and `conv.weight` became `conv.conv.weight` where a layer is elastic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from archlang.errors import fail
from archlang.search.extent import alternative
from archlang.search.space import Picks, Space

if TYPE_CHECKING:
    from archlang.supernet.net import SuperNet

STAGES, DEPTH = 5, 4
"""Elastic stages of the release, and the blocks that each may have."""

_PARTS = {
    "expand": "inverted_bottleneck.conv",
    "expand_bn": "inverted_bottleneck.bn",
    "depthwise": "depth_conv.conv",
    "depthwise_bn": "depth_conv.bn",
    "squeeze.conv1": "depth_conv.se.fc.reduce",
    "squeeze.conv2": "depth_conv.se.fc.expand",
    "project": "point_linear.conv",
    "project_bn": "point_linear.bn",
}
"""Of an inverted residual: our name -> the release's."""

_ENDS = {
    "stem": "first_conv.conv",
    "stem_bn": "first_conv.bn",
    "expand": "final_expand_layer.conv",
    "expand_bn": "final_expand_layer.bn",
    "mix": "feature_mix_layer.conv",
    "classifier": "classifier.linear",
}

_BLOCK = re.compile(r"(?:first|layer(?P<stage>[1-9])\.(?P<block>\d)\.bneck)\.(?P<part>.+)")


def once_for_all(state: Mapping[str, Any], space: Space) -> SuperNet:
    """The supernet of `space` with the weights of the release's state dict, kernel transformation included.

    state: name -> array, or tensor. Raises ArchError E1311 where it is of another supernet.
    """
    import torch

    from archlang.supernet.net import build

    net = build(space, kernel_transform=True)
    given = {_plain(name): np.asarray(value, np.float32) for name, value in state.items() if _is_weight(name)}
    wanted = net.state_dict()
    found = {name: _taken(given, name, tuple(own.shape)) for name, own in wanted.items()}
    net.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in found.items()})
    return net


def _is_weight(name: str) -> bool:
    return not name.endswith("num_batches_tracked")


def _plain(name: str) -> str:
    """A name of the release, the same for all of its versions."""
    name = name.removeprefix("module.").replace(".mobile_inverted_conv.", ".conv.", 1)
    for layer in ("conv", "bn", "linear"):
        name = re.sub(rf"\.{layer}\.{layer}\.(?=\w+$)", f".{layer}.", name)
    return name


def _taken(given: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Any:
    theirs = _theirs(name)
    if theirs.endswith("_matrix") and theirs not in given:  # a release without transformation takes the centre
        return np.eye(shape[0], dtype=np.float32)
    if theirs not in given:
        raise fail("E1311", f"the state dict has no `{theirs}`, from which `{name}` would be taken")
    if given[theirs].shape != shape:
        message = f"`{theirs}` is {given[theirs].shape} in the state dict, and `{name}` {shape}"
        raise fail("E1311", message, help="is it of another width? `--set width=1.2`")
    return given[theirs]


def _theirs(name: str) -> str:
    """The release's name, in its plain form, of one of our arrays."""
    site, _, local = name.rpartition(".")
    matrix = re.fullmatch(r"kernel_(\d+to\d+)", local)
    local = f"{matrix[1]}_matrix" if matrix else local
    found = _BLOCK.fullmatch(site)
    if found is None:
        return f"{_ENDS.get(site, site)}.{local}"
    stage, block = found["stage"], found["block"]
    number = 0 if stage is None else 1 + DEPTH * (int(stage) - 1) + int(block)
    return f"blocks.{number}.conv.{_PARTS.get(found['part'], found['part'])}.{local}"


_LABEL = re.compile(r"`(?P<column>[ken])` in row (?P<row>\d)(?:, repeat (?P<repeat>\d))?")


def picks_of(space: Space, ks: Sequence[int], e: Sequence[int], d: Sequence[int], resolution: int = 224) -> Picks:
    """The decisions of a sub-network as the release writes it: kernels and expansions of the twenty blocks, those that
    are not there included, and the depths of the five stages.

    Raises ArchError E0501 for a value that is no alternative.
    """

    def choose(key: str, count: int) -> int:
        decision = space.memo.decisions[key]
        found = _LABEL.fullmatch(decision.label)
        if found is None:
            value = resolution
        elif found["column"] == "n":
            value = d[int(found["row"]) - 1]
        else:
            place = DEPTH * (int(found["row"]) - 1) + int(found["repeat"] or 1) - 1
            value = (ks if found["column"] == "k" else e)[place]
        written = [alternative(decision, i) for i in range(count)]
        if str(value) not in written:
            message = f"{decision.label} cannot be {value}"
            raise fail("E0501", message, decision.span, help=f"its alternatives are {', '.join(written)}")
        return written.index(str(value))

    return dict(space.decided(choose))
