"""Images changed at random in training, a batch at a time. Zeros come in where there is nothing.

`flip` mirrors every second image: not for digits or letters. `crop` moves an image by up to an eighth of its size.
`cutout` (arXiv:1708.04552) blanks a square of half its size. `affine` turns it by up to ten degrees, scales it by up to
a tenth, and moves it by up to a sixteenth: for handwriting.

What is drawn comes from a generator on the CPU, so that it is the same on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from archlang.errors import fail, nearest

if TYPE_CHECKING:
    import torch

Change = Callable[["torch.Tensor", "torch.Generator"], "torch.Tensor"]
"""Images (N, C, H, W) -> images of the same shape."""

DEGREES, SCALE, SHIFT = 10.0, 0.1, 1 / 16
"""The most that `affine` turns, scales and moves; the last in parts of the image."""


def names_of(text: str) -> tuple[str, ...]:
    """The names in `crop+flip`. Raises ArchError E1103 where one is unknown."""
    names = tuple(name.strip() for name in text.split("+") if name.strip())
    for name in names:
        if name not in CHANGES:
            raise fail("E1103", f"there is no augmentation `{name}`", help=nearest(name, CHANGES))
    return names


def augmented(images: torch.Tensor, names: tuple[str, ...], generator: torch.Generator) -> torch.Tensor:
    """The images (N, C, H, W) with these changes, one after the other."""
    for name in names:
        images = CHANGES[name](images, generator)
    return images


def _flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    import torch

    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)


def _crop(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    import torch

    count, _, height, width = images.shape
    reach = max(1, round(min(height, width) / 8))
    padded = torch.nn.functional.pad(images, (reach,) * 4)
    down, right = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=generator).to(images.device)
    rows = down + torch.arange(height, device=images.device)
    columns = right + torch.arange(width, device=images.device)
    image = torch.arange(count, device=images.device)[:, None, None]
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    import torch

    count, _, height, width = images.shape
    side = max(1, min(height, width) // 2)
    drawn = torch.rand(2, count, 1, generator=generator)
    rows, columns = (_outside(drawn[i], size, side) for i, size in enumerate((height, width)))
    kept = (rows[:, :, None] | columns[:, None, :]).to(images.device)
    return images * kept[:, None]


def _outside(drawn: torch.Tensor, size: int, side: int) -> torch.Tensor:
    """Along one axis, which positions (N, size) lie outside the square; its middle is anywhere in the image."""
    import torch

    first = (drawn * size).floor() - side // 2
    position = torch.arange(size)
    return (position < first) | (position >= first + side)


def _affine(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    import torch

    turn, scale, right, down = torch.rand(4, len(images), generator=generator) * 2 - 1
    angle, scale = turn * math.radians(DEGREES), 1 + scale * SCALE
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # Coordinates run from -1 to 1, so that a shift by a part of the image is twice that part.
    rows = [torch.stack((cos, -sin, 2 * SHIFT * right), 1), torch.stack((sin, cos, 2 * SHIFT * down), 1)]
    grid = torch.nn.functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid.to(images), align_corners=False)


CHANGES: dict[str, Change] = {"flip": _flip, "crop": _crop, "cutout": _cutout, "affine": _affine}
