"""Supernets in files: the shared weights, and which space they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archlang import weights
from archlang.errors import fail
from archlang.search.space import Space

if TYPE_CHECKING:
    from archlang.supernet.net import SuperNet

SPACE = "archlang.space"
TRANSFORMED = "archlang.kernel_transform"


def save(net: SuperNet, path: Path) -> None:
    """Write a supernet's state dict as .safetensors, whole or not at all; the metadata holds the space's digest."""
    arrays = {name: value.detach().cpu().numpy() for name, value in net.state_dict().items()}
    about = {SPACE: net.space.digest, TRANSFORMED: json.dumps(net.transformed)}
    weights.save(arrays, path, about)


def load(path: Path, space: Space) -> SuperNet:
    """The supernet that `save` wrote, of a space that is read anew.

    Raises ArchError E1308 for a file of another space, E1309 for one that is no supernet's, E0605 and E0607 for none
    and a damaged one.
    """
    import torch

    from archlang.supernet.net import build

    about = check_space(path, space)
    net = build(space, kernel_transform=about.get(TRANSFORMED) == "true")
    state = {name: torch.from_numpy(np.array(value)) for name, value in weights.load(path).items()}
    _check(path, {name: tuple(v.shape) for name, v in state.items()}, net)
    net.load_state_dict(state)
    return net


def check_space(path: Path, space: Space) -> dict[str, Any]:
    """What a supernet's file says of itself. Raises ArchError where it is of another space; see `load`."""
    about = metadata(path)
    if SPACE not in about:
        help_ = "`archlang supernet SPACE --data D -o FILE` trains one"
        raise fail("E1309", f"{path} holds no supernet: it does not say which space it is of", help=help_)
    if about[SPACE] != space.digest:
        help_ = "load it with the file and the arguments that it was trained with"
        raise fail("E1308", f"{path} holds a supernet of another space than `{space.name}`", help=help_)
    return about


def metadata(path: Path) -> dict[str, Any]:
    """What a .safetensors file says of itself. Raises ArchError where there is none, or it is damaged."""
    if not path.is_file():
        raise fail("E0605", f"there is no file {path}")
    if path.suffix != ".safetensors":
        raise fail("E1309", f"{path} holds no supernet: these are .safetensors files")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise fail("E0607", f"{path} is not a whole safetensors file: {error}") from error


def _check(path: Path, shapes: dict[str, tuple[int, ...]], net: SuperNet) -> None:
    """Hold the file's arrays against those of the supernet: they differ where another version wrote it."""
    wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    wrong = next((name for name in {**wanted, **shapes} if wanted.get(name) != shapes.get(name)), None)
    if wrong is not None:
        message = f"{path}: `{wrong}` is {shapes.get(wrong, 'missing')}, and the supernet's {wanted.get(wrong, 'none')}"
        raise fail("E1309", message, help="train it again: this file is of another version")
