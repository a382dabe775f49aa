"""Photographs as inputs of a network: read, cut, scaled, normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archlang.errors import OutsideError, fail

if TYPE_CHECKING:
    from PIL.Image import Image

Inputs = NDArray[np.float32]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

CENTRE = 0.875
"""The share of the shorter side that the middle crop keeps: 224 of 256, as ImageNet is evaluated since AlexNet."""


@dataclass(frozen=True)
class Normalisation:
    """(pixel - mean) / std, pixels 0..255; one number for all channels or one a channel. As it is: values in 0..1."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)

    def applied(self, pixels: NDArray[np.uint8]) -> Inputs:
        """pixels: (H, W, C). The input (C, H, W). Raises ArchError where the numbers are neither one nor C."""
        channels = pixels.shape[2]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise fail("E0905", f"{len(values)} values of `{name}` for {channels} channels")
        scaled = (pixels.astype(np.float32) - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), np.float32)


def found(path: Path) -> list[Path]:
    """The image, or all images in a folder and below it, by name. Raises ArchError where there is none."""
    if path.is_dir():
        paths = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not paths:
            raise fail("E0902", f"{path} holds no images ({', '.join(SUFFIXES)})")
        return paths
    if not path.is_file():
        raise fail("E0605", f"there is no file {path}")
    if path.suffix.lower() not in SUFFIXES:
        raise fail("E0606", f"{path} is no image by its name: images end with {', '.join(SUFFIXES)}")
    return [path]


def inputs(
    paths: Sequence[Path], shape: tuple[int, ...], normalisation: Normalisation, crops: int = 1, seed: int = 0
) -> Inputs:
    """Every image as `crops` inputs of the network's `shape` (C, H, W): its middle, then random cuts of 35 to 100 % of
    its area (as training sees them, arXiv:1409.4842, section 6, but less small ones). (N * crops, C, H, W).

    Raises ArchError where the network's input is no image of 1 or 3 channels or a file cannot be read, OutsideError
    without Pillow.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise fail("E0905", f"the network's input is {'x'.join(map(str, shape))}, which is no image of 1 or 3 channels")
    generator = np.random.default_rng(seed)
    made = []
    for path in paths:
        image = opened(path).convert("RGB" if shape[0] == 3 else "L")
        boxes = [_middle(image.size, shape), *(_random(image.size, shape, generator) for _ in range(crops - 1))]
        made += [normalisation.applied(_cut(image, box, shape)) for box in boxes]
    return np.stack(made)


def opened(path: Path) -> Image:
    """The image in memory. Raises ArchError where it is none, OutsideError without Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise OutsideError("reading images needs Pillow: run  pip install pillow") from error
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise fail("E0902", f"{path} is not an image that can be read: {error}") from error


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _largest(size: tuple[int, int], shape: tuple[int, ...]) -> tuple[float, float]:
    """Width and height of the largest cut that has the input's aspect."""
    scale = min(size[0] / shape[2], size[1] / shape[1])
    return shape[2] * scale, shape[1] * scale


def _middle(size: tuple[int, int], shape: tuple[int, ...]) -> Box:
    width, height = (CENTRE * side for side in _largest(size, shape))
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _random(size: tuple[int, int], shape: tuple[int, ...], generator: np.random.Generator) -> Box:
    share = generator.uniform(0.35, 1.0) ** 0.5
    width, height = (share * side for side in _largest(size, shape))
    left, top = generator.uniform(0, size[0] - width), generator.uniform(0, size[1] - height)
    return left, top, left + width, top + height


def _cut(image: Image, box: Box, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    from PIL.Image import Resampling

    pixels = np.asarray(image.resize((shape[2], shape[1]), Resampling.BICUBIC, box), np.uint8)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
