"""Calibration inputs: samples of what the network will see, from which int8 ranges are taken."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang import archives
from archlang.errors import ArchError, fail, nearest
from archlang.ir.graph import Graph


def load(path: Path, graph: Graph) -> NDArray[np.float32]:
    """The inputs in an .npy file, or in an .npz file: its only array, or the one called like the network's input.

    Raises ArchError where there is none, where it is damaged, or where `checked` refuses it. Nothing is unpickled.
    """
    if not path.exists():
        raise fail("E0605", f"there is no file {path}")
    if path.suffix not in (".npy", ".npz"):
        raise fail("E0606", f"{path}: calibration inputs are read from .npy or .npz files")
    archives.check_size(path, "E0607")
    try:
        array = _read(path, graph)
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise fail("E0607", f"{path} is not a whole {path.suffix} file: {error}") from error
    return checked(graph, array, str(path))


def _read(path: Path, graph: Graph) -> Any:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    with np.load(path, allow_pickle=False) as arrays:
        return _only(arrays, path, graph)


def _only(arrays: Any, path: Path, graph: Graph) -> Any:
    names = list(arrays.keys())
    wanted = graph.nodes[graph.inputs[0]].name
    name = names[0] if len(names) == 1 else wanted
    if name not in names:
        raise fail(
            "E0609", f"{path}: there is no array `{wanted}`, as the input is called", help=nearest(wanted, names)
        )
    return arrays[name]


def checked(graph: Graph, array: Any, source: str = "calibration") -> NDArray[np.float32]:
    """The array as float32, (N, C, H, W) for an image input. Raises ArchError where it is not that, or not finite."""
    wanted = graph.nodes[graph.inputs[0]].type.shape
    values = np.asarray(array)
    if values.dtype.kind not in "fiu":
        raise fail("E0609", f"{source} holds {values.dtype} values, not numbers")
    if values.ndim != len(wanted) + 1 or values.shape[1:] != wanted or not len(values):
        raise _wrong_shape(source, values.shape, wanted)
    if not np.isfinite(values).all():
        raise fail("E0603", f"{source} holds values that are not finite")
    return values.astype(np.float32)


def _wrong_shape(source: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> ArchError:
    text = "x".join(map(str, found)) or "()"
    needed = "N" + "".join(f"x{size}" for size in wanted)
    advice = "batch first, channels first, at least one sample"
    if len(wanted) == 3 and found[1:] == (*wanted[1:], wanted[0]):
        advice = "these are channels last: transpose them with `x.transpose(0, 3, 1, 2)`"
    elif found == wanted:
        advice = "the batch dimension is missing: `x[None]` adds it"
    return fail("E0609", f"{source} has shape {text}, but the network needs {needed}", help=advice)
