"""How far the outputs of model files differ on the same inputs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang import archives
from archlang.errors import ArchError, fail
from archlang.runtimes import ModelFile, Port
from archlang.verify.agreement import Agreement, agreement

Array = NDArray[Any]
Sample = Sequence[Array]
"""An array for each input, without a batch, images channels first."""

_COLOURS = (1, 3, 4)


@dataclass(frozen=True)
class Difference:
    """Of one output of a file from that of the first. reference: what it is called there."""

    output: str
    reference: str
    agreement: Agreement


def random_samples(model: ModelFile, count: int, seed: int = 0) -> list[Sample]:
    """Standard normal inputs, as normalised images are, for the model and those that take the same."""
    generator = np.random.default_rng(seed)
    shapes = [_channels_first(port.shape[1:], model.channels_last) for port in model.inputs]
    return [[generator.standard_normal(shape, np.float32) for shape in shapes] for _ in range(count)]


def stored_samples(path: Path, model: ModelFile, count: int) -> list[Sample]:
    """The first inputs of an .npy file, or of the one array of an .npz file: batch first, channels first.

    Raises ArchError where the file is missing, damaged, or does not fit the model, which must have one input.
    """
    if not path.is_file():
        raise fail("E0605", f"there is no file {path}")
    archives.check_size(path, "E0607")
    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded if isinstance(loaded, np.ndarray) else loaded[next(iter(loaded.keys()), "")]
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise fail("E0607", f"{path} is not a whole {path.suffix} file: {error}") from error
    if len(model.inputs) != 1 or array.dtype.kind not in "fiu" or array.ndim < 2 or not len(array):
        raise fail("E0609", f"{path} must hold numbers, batch first, for a model of one input")
    return [[sample.astype(np.float32)] for sample in array[:count]]


def differences(models: Sequence[tuple[str, ModelFile]], samples: Sequence[Sample]) -> Iterator[list[Difference]]:
    """For each model but the first, how its outputs differ from the first one's, whose names and order count.

    models: with what errors call them. Raises ArchError where a model takes other inputs, or has other outputs.
    """
    wanted = _outputs(*models[0], samples)
    for name, model in models[1:]:
        yield list(_matched(name, model, models[0][1], _outputs(name, model, samples), wanted))


def _outputs(name: str, model: ModelFile, samples: Sequence[Sample]) -> list[Array]:
    """Of each output, (samples, ...)."""
    made = [model.run(_placed(name, model, sample)) for sample in samples]
    return [np.stack([outputs[i][0] for outputs in made]) for i in range(len(model.outputs))]


def _placed(name: str, model: ModelFile, sample: Sample) -> list[Array]:
    if len(sample) != len(model.inputs):
        raise fail("E1006", f"{name} has {len(model.inputs)} inputs, and another file {len(sample)}")
    return [_input(name, port, x, model.channels_last) for port, x in zip(model.inputs, sample, strict=True)]


def _input(name: str, port: Port, x: Array, channels_last: bool) -> Array:
    """x with a batch, its axes where the file wants them. A file may have them elsewhere than its format's usage."""
    wanted = port.shape[1:]
    for placed in sorted((x, np.moveaxis(x, 0, -1)) if x.ndim == 3 else (x,), key=lambda y: (y is x) == channels_last):
        if placed.shape == wanted:
            return np.ascontiguousarray(np.broadcast_to(placed[None], port.shape))
    raise _shapes(name, f"takes inputs of shape {_text(wanted)}", _text(x.shape))


def _channels_first(shape: tuple[int, ...], channels_last: bool) -> tuple[int, ...]:
    """Of one input: the format's usage counts, but where only the other order gives an image one to four channels."""
    if len(shape) != 3:
        return shape
    first, last = shape[0] in _COLOURS, shape[2] in _COLOURS
    is_last = last if first != last else channels_last
    return (shape[2], shape[0], shape[1]) if is_last else shape


def _matched(
    name: str, model: ModelFile, reference: ModelFile, found: Sequence[Array], wanted: Sequence[Array]
) -> Iterator[Difference]:
    """Outputs of the same name belong together; where names differ, those in the same place."""
    ours, theirs = [port.name for port in reference.outputs], [port.name for port in model.outputs]
    if len(ours) != len(theirs):
        raise fail("E1006", f"{name} has {len(theirs)} outputs, and the first file {len(ours)}")
    order = [theirs.index(output) for output in ours] if set(ours) == set(theirs) else range(len(ours))
    for i, j in enumerate(order):
        yield Difference(theirs[j], ours[i], agreement(_alike(name, found[j], wanted[i]), wanted[i]))


def _alike(name: str, found: Array, wanted: Array) -> Array:
    """found in the layout of wanted."""
    if found.shape == wanted.shape:
        return found
    for moved in (np.moveaxis(found, -1, 1), np.moveaxis(found, 1, -1)):
        if moved.shape == wanted.shape:
            return np.ascontiguousarray(moved)
    if found.size != wanted.size:
        raise _shapes(name, f"makes outputs of shape {_text(found.shape[1:])}", _text(wanted.shape[1:]))
    return found.reshape(wanted.shape)


def _shapes(name: str, what: str, other: str) -> ArchError:
    return fail("E1006", f"{name} {what}, and the first file {other}", help="compare files of one network")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"
