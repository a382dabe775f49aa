"""Data sets of labelled images: `digits`, `npz:FILE`, `folder:DIR`, `idx:DIR`, `module:function`.

Pixels of 8 bits become floats in 0..1; floats stay as they are. Images are channels first throughout.
"""

from __future__ import annotations

import gzip
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang import archives
from archlang.errors import fail, missing_extra, nearest
from archlang.images import SUFFIXES as IMAGE_SUFFIXES
from archlang.images import opened

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) as float32 with labels (N) as int64 in 0..classes-1, for training and for testing."""

    name: str
    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    classes: int

    @property
    def shape(self) -> Shape:
        """Channels, height and width of an image."""
        c, h, w = self.x_train.shape[1:]
        return c, h, w

    def fitted(self, shape: tuple[int, ...]) -> Dataset:
        """The images as inputs of `shape` (C, H, W): resized (see `resized`), grey repeated over the channels, colour
        to grey by ITU-R BT.601 luma. Raises ArchError where the number of channels cannot be changed so."""
        if shape == self.shape:
            return self
        if len(shape) != 3:
            text = "x".join(map(str, shape))
            raise fail("E0905", f"{self.name} holds images, but the network's input is {text}")
        c, h, w = shape
        train, test = (resized(_with_channels(x, c, self.name), h, w) for x in (self.x_train, self.x_test))
        return replace(self, x_train=train, x_test=test)

    def held_out(self, share: float = 0.2, seed: int = 0) -> Dataset:
        """A share of the training images, of each class, in the place of the test images, which stay unseen."""
        train, held = stratified(self.y_train, share, seed)
        return replace(
            self,
            x_train=self.x_train[train],
            y_train=self.y_train[train],
            x_test=self.x_train[held],
            y_test=self.y_train[held],
        )


def load_data(spec: str, shape: tuple[int, ...] | None = None, trusted: bool = True) -> Dataset:
    """The data set that `spec` names, fitted to inputs of `shape` where that is given.

    trusted: whether `module:function`, which runs code, may be meant. Raises ArchError where the spec, a file or an
    array is wrong, OutsideError where a package is missing.
    """
    scheme, colon, rest = spec.partition(":")
    if spec == "digits":
        data = _digits()
    elif colon and scheme in _LOADERS:
        data = _LOADERS[scheme](spec, Path(rest), shape)
    elif colon and all(part.isidentifier() for part in (*scheme.split("."), rest)):
        data = _from_function(spec, scheme, rest, trusted)
    else:
        known = ("digits", *(f"{name}:PATH" for name in _LOADERS), "module:function")
        raise fail("E0901", f"there is no data set `{spec}`", help=nearest(spec, known))
    return data if shape is None else data.fitted(shape)


def stratified(labels: Labels, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the rest and of a share of each class, one of it at least, in order; the same for the same seed."""
    generator = np.random.default_rng(seed)
    held: list[int] = []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        held += members[: max(1, round(share * len(members)))].tolist()
    mask = np.zeros(len(labels), bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def resized(x: Images, height: int, width: int) -> Images:
    """Images resized along both axes with a triangle filter at half-pixel centres: bilinear interpolation when they
    grow, and the same with antialiasing when they shrink (Pillow's and PyTorch's `antialias=True`)."""
    rows, columns = resize_matrix(x.shape[2], height), resize_matrix(x.shape[3], width)
    out: Images = np.matmul(np.matmul(rows, x), columns.T)
    return out


def resize_matrix(size: int, wanted: int) -> Images:
    """The matrix (wanted, size) that resizes one axis."""
    scale = size / wanted
    reach = max(scale, 1.0)
    centres = (np.arange(wanted) + 0.5) * scale
    distance = np.abs(np.arange(size) + 0.5 - centres[:, None])
    weights = np.clip(1 - distance / reach, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


_LUMA = np.array((0.299, 0.587, 0.114), np.float32).reshape(1, 3, 1, 1)


def _with_channels(x: Images, channels: int, name: str) -> Images:
    have = x.shape[1]
    if have == channels:
        return x
    if have == 1:
        return np.repeat(x, channels, axis=1)
    if have == 3 and channels == 1:
        return np.asarray((x * _LUMA).sum(1, keepdims=True), np.float32)
    raise fail("E0905", f"{name} holds images of {have} channels, but the network's input has {channels}")


# From arrays


def from_arrays(name: str, arrays: Mapping[str, Any]) -> Dataset:
    """A checked data set of `x_train, y_train, x_test, y_test`.

    Images may be (N, C, H, W), (N, H, W, C) with 1 or 3 channels, or grey (N, H, W); labels are whole numbers from
    0. Raises ArchError, which names the array that is wrong.
    """
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise fail("E0903", f"{name}: there is no array `{missing[0]}`", help=nearest(missing[0], arrays))
    x_train, x_test = (_images(name, key, arrays[key]) for key in ("x_train", "x_test"))
    y_train, y_test = (_labels(name, key, arrays[key]) for key in ("y_train", "y_test"))
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if len(x) != len(y):
            raise fail("E0903", f"{name}: `x_{part}` holds {len(x)} images, but `y_{part}` {len(y)} labels")
    if x_train.shape[1:] != x_test.shape[1:]:
        shapes = f"{x_train.shape[1:]} and {x_test.shape[1:]}"
        raise fail("E0903", f"{name}: the images of `x_train` and `x_test` differ in shape, {shapes}")
    return Dataset(name, x_train, y_train, x_test, y_test, int(max(y_train.max(), y_test.max())) + 1)


_KEYS = ("x_train", "y_train", "x_test", "y_test")


def _images(name: str, key: str, value: Any) -> Images:
    x = np.asarray(value)
    if x.ndim not in (3, 4) or 0 in x.shape or x.dtype.kind not in "fuib":
        raise fail("E0903", f"{name}: `{key}` has shape {x.shape} of {x.dtype}, but images are (N, C, H, W)")
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    scaled = x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x.astype(np.float32)
    if not np.isfinite(scaled).all():
        raise fail("E0904", f"{name}: `{key}` holds values that are not finite")
    return np.ascontiguousarray(scaled)


def _labels(name: str, key: str, value: Any) -> Labels:
    y = np.asarray(value)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or not len(y) or y.dtype.kind not in "fuib":
        raise fail("E0903", f"{name}: `{key}` has shape {y.shape} of {y.dtype}, but labels are one number an image")
    whole = y.astype(np.int64)
    if (whole != y).any() or whole.min() < 0:
        raise fail("E0904", f"{name}: `{key}` holds labels that are not whole numbers from 0")
    return whole


# The loaders


def _digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, 0..16 scaled to 0..1; a fifth of each class to test."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise missing_extra("the data set `digits`", "search") from error
    found = load_digits()
    x, y = (found.images[:, None] / 16).astype(np.float32), found.target.astype(np.int64)
    train, test = stratified(y, 0.2, 0)
    return Dataset("digits", x[train], y[train], x[test], y[test], 10)


def _from_npz(spec: str, path: Path, shape: tuple[int, ...] | None) -> Dataset:
    _need(path.is_file(), spec, f"there is no file {path}")
    archives.check_size(path, "E0902")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in _KEYS if key in archive.files}
            others = archive.files
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, AttributeError, TypeError, MemoryError) as error:
        raise fail("E0902", f"{spec}: {path} is not a whole .npz file of plain arrays: {error}") from error
    missing = [key for key in _KEYS if key not in arrays]
    _need(not missing, spec, f"there is no array `{(missing or [''])[0]}` in {path}", f"it holds {', '.join(others)}")
    return from_arrays(spec, arrays)


def _from_idx(spec: str, folder: Path, shape: tuple[int, ...] | None) -> Dataset:
    """MNIST's files (http://yann.lecun.com/exdb/mnist), plain or .gz."""
    _need(folder.is_dir(), spec, f"there is no folder {folder}")
    files = {key: _idx_file(spec, folder, pattern) for key, pattern in _IDX_PATTERNS.items()}
    return from_arrays(spec, {key: _read_idx(spec, path) for key, path in files.items()})


_IDX_PATTERNS = {
    "x_train": ("*train-images*",),
    "y_train": ("*train-labels*",),
    "x_test": ("*t10k-images*", "*test-images*"),
    "y_test": ("*t10k-labels*", "*test-labels*"),
}


def _idx_file(spec: str, folder: Path, patterns: tuple[str, ...]) -> Path:
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    _need(bool(found), spec, f"no file in {folder} is called {' or '.join(patterns)}")
    return found[0]


def _read_idx(spec: str, path: Path) -> NDArray[np.uint8]:
    """An IDX file of bytes: 0, 0, type 8, rank, the sizes as big-endian 32-bit integers, the values."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, ValueError) as error:
        raise fail("E0902", f"{spec}: {path} cannot be read: {error}") from error
    except Exception as error:  # zlib's own kind
        raise fail("E0902", f"{spec}: {path} is not a whole gzip file: {error}") from error
    _need(len(content) >= 4 and content[:3] == b"\0\0\x08", spec, f"{path} is not an IDX file of bytes")
    start = 4 + 4 * content[3]
    _need(len(content) >= start, spec, f"{path} ends within its header")
    sizes = struct.unpack(f">{content[3]}I", content[4:start])
    have, want = len(content) - start, int(np.prod(sizes, dtype=object))
    _need(have == want, spec, f"{path} holds {have} values, but its header says {want}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def _from_folder(spec: str, folder: Path, shape: tuple[int, ...] | None) -> Dataset:
    """train/CLASS/*.png and val/CLASS/*.png (or test/); the classes are numbered in the order of their names."""
    _need(folder.is_dir(), spec, f"there is no folder {folder}")
    train = folder / "train"
    test = next((folder / name for name in ("val", "test") if (folder / name).is_dir()), folder / "val")
    for part in (train, test):
        _need(part.is_dir(), spec, f"there is no folder {part}", "the layout is train/CLASS/*.png and val/CLASS/*.png")
    classes = sorted(path.name for path in train.iterdir() if path.is_dir())
    _need(bool(classes), spec, f"{train} holds no folder of a class")
    unknown = sorted(path.name for path in test.iterdir() if path.is_dir() and path.name not in classes)
    _need(not unknown, spec, f"{test} holds the class {unknown[:1]}, which {train} has not")
    size = (shape[1], shape[2]) if shape and len(shape) == 3 else None
    x_train, y_train = _read_folder(spec, train, classes, size)
    x_test, y_test = _read_folder(spec, test, classes, size)
    data = from_arrays(spec, {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test})
    return replace(data, classes=len(classes))


def _read_folder(
    spec: str, folder: Path, classes: list[str], size: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], Labels]:
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).glob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                images.append(_read_image(path, size))
                labels.append(label)
                same = images[-1].shape == images[0].shape
                _need(same, spec, f"{path} is not of the size of the others", "give the size: train a network on it")
    _need(bool(images), spec, f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return np.stack(images), np.array(labels, np.int64)


def _read_image(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """An image as (3, H, W); where a size (height, width) is given, its middle of that aspect, resized."""
    image = opened(path)
    if size is not None:
        from PIL import Image, ImageOps

        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).transpose(2, 0, 1)


def _from_function(spec: str, module: str, function: str, trusted: bool) -> Dataset:
    """What a function returns: a Dataset, a mapping of the four arrays, or the four arrays."""
    if not trusted:
        raise fail("E0906", f"the data `{spec}` runs code, which an .arch file may not", help="give it as --data")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        make: Callable[[], Any] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise fail("E0901", f"there is no data set `{spec}`: {error}") from error
    try:
        made = make()
    except Exception as error:
        raise fail("E0907", f"the data `{spec}` failed: {type(error).__name__}: {error}") from error
    if isinstance(made, Dataset):
        return made
    if isinstance(made, Mapping):
        return from_arrays(spec, made)
    _need(isinstance(made, tuple | list) and len(made) == 4, spec, f"it returned a {type(made).__name__}, not 4 arrays")
    return from_arrays(spec, dict(zip(_KEYS, made, strict=True)))


def _need(holds: bool, spec: str, message: str, help: str = "") -> None:
    if not holds:
        raise fail("E0902", f"{spec}: {message}", help=help)


_LOADERS: dict[str, Callable[[str, Path, tuple[int, ...] | None], Dataset]] = {
    "npz": _from_npz,
    "idx": _from_idx,
    "folder": _from_folder,
}
