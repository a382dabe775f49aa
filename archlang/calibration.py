"""Calibration inputs: samples of what the network will see, from which int8 ranges are taken."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang import archives
from archlang.errors import ArchError, fail, nearest
from archlang.ir.graph import Graph, Node

Samples = dict[str, NDArray[np.float32]]
"""By the name of the network's input: batch first, channels first."""


def load(path: Path, graph: Graph) -> Samples:
    """The inputs in an .npy file, or in an .npz file: its only array, or those called like the network's inputs.

    Raises ArchError where there is none, where it is damaged, or where `checked` refuses it. Nothing is unpickled.
    """
    if not path.exists():
        raise fail("E0605", f"there is no file {path}")
    if path.suffix not in (".npy", ".npz"):
        raise fail("E0606", f"{path}: calibration inputs are read from .npy or .npz files")
    archives.check_size(path, "E0607")
    try:
        arrays = _read(path, graph)
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise fail("E0607", f"{path} is not a whole {path.suffix} file: {error}") from error
    return checked(graph, arrays, str(path))


def _read(path: Path, graph: Graph) -> Any:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays.keys())
        if len(names) == 1 and len(graph.inputs) == 1:
            return arrays[names[0]]
        missing = next((node.name for node in _inputs(graph) if node.name not in names), None)
        if missing is not None:
            message = f"{path}: there is no array `{missing}`, as the input is called"
            raise fail("E0609", message, help=nearest(missing, names))
        return {node.name: arrays[node.name] for node in _inputs(graph)}


def _inputs(graph: Graph) -> list[Node]:
    return [graph.nodes[i] for i in graph.inputs]


def checked(graph: Graph, arrays: Any, source: str = "calibration") -> Samples:
    """The arrays as float32, (N, C, H, W) for an image input. One array alone is for a network of one input.

    Raises ArchError where they are not that, not finite, or of different lengths.
    """
    inputs = _inputs(graph)
    given = arrays if isinstance(arrays, Mapping) else {inputs[0].name: arrays}
    missing = [node for node in inputs if node.name not in given]
    if missing:
        names = ", ".join(f"`{node.name}`" for node in inputs)
        message = f"{graph.name} has {len(inputs)} inputs, and {source} holds nothing for `{missing[0].name}`"
        raise fail("E0609", message, missing[0].span, help=f"pass an .npz with the arrays {names}")
    found = {node.name: _checked(node, given[node.name], _called(source, node, len(inputs))) for node in inputs}
    lengths = {len(array) for array in found.values()}
    if len(lengths) > 1:
        text = ", ".join(f"{len(array)} of `{name}`" for name, array in found.items())
        raise fail("E0609", f"{source} holds different numbers of samples: {text}")
    return found


def _called(source: str, node: Node, count: int) -> str:
    return source if count == 1 else f"{source}: `{node.name}`"


def _checked(node: Node, array: Any, source: str) -> NDArray[np.float32]:
    wanted = node.type.shape
    values = np.asarray(array)
    if values.dtype.kind not in "fiu":
        raise fail("E0609", f"{source} holds {values.dtype} values, not numbers")
    if values.ndim != len(wanted) + 1 or values.shape[1:] != wanted or not len(values):
        raise _wrong_shape(source, values.shape, node)
    _check_finite(values, source)
    return values.astype(np.float32)


def _check_finite(values: NDArray[Any], source: str) -> None:
    for i, sample in enumerate(values):
        if not np.isfinite(sample).all():
            raise fail("E0603", f"{source} holds values that are not finite: in sample {i}, counted from 0")


def _wrong_shape(source: str, found: tuple[int, ...], node: Node) -> ArchError:
    wanted = node.type.shape
    text = "x".join(map(str, found)) or "()"
    needed = "N" + "".join(f"x{size}" for size in wanted)
    advice = "batch first, channels first, at least one sample"
    if len(wanted) == 3 and found[1:] == (*wanted[1:], wanted[0]):
        advice = "these are channels last: transpose them with `x.transpose(0, 3, 1, 2)`"
    elif found == wanted:
        advice = "the batch dimension is missing: `x[None]` adds it"
    return fail("E0609", f"{source} has shape {text}, but the network needs {needed}", node.span, help=advice)
