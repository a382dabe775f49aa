"""`archlang classify MODEL IMAGE...`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from archlang.about import read_labels
from archlang.cli import table
from archlang.cli.common import emit_json, json_option
from archlang.cli.images import pixel_options
from archlang.errors import fail

_FILE = click.Path(path_type=Path)


@click.command
@click.argument("model", type=_FILE)
@click.argument("images", nargs=-1, required=True, type=_FILE, metavar="IMAGE...")
@pixel_options
@click.option("--labels", type=_FILE, help="A text file with the name of a class on each line.")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="How many classes to show.")
@json_option
def command(
    model: Path,
    images: tuple[Path, ...],
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    labels: Path | None,
    top: int,
    as_json: bool,
) -> None:
    """What MODEL, a .tflite or .onnx file, sees in the middle of each IMAGE (a file, or a folder of them)."""
    from archlang import images as photographs
    from archlang.device.image_model import opened

    loaded = opened(model)
    paths = [path for image in images for path in photographs.found(image)]
    normalisation = photographs.Normalisation(mean or (0.0,), std or (255.0,))
    outputs = loaded.run(photographs.inputs(paths, loaded.shape, normalisation))
    names = _labels(labels, outputs.shape[-1]) if labels else None
    results = [
        {"image": str(path), "top": _top(scores, top, names)} for path, scores in zip(paths, outputs, strict=True)
    ]
    if as_json:
        emit_json({"model": str(model), "images": results})
    else:
        _print(results)


def _labels(path: Path, classes: int) -> list[str]:
    names = list(read_labels(path))
    if len(names) != classes:
        raise fail("E0609", f"{path} names {len(names)} classes, but the model knows {classes}")
    return names


def _top(scores: NDArray[np.float32], count: int, names: list[str] | None) -> list[dict[str, Any]]:
    """The classes with the highest scores; `probability` is their softmax, or the scores where they are one already."""
    flat = scores.ravel().astype(np.float64)
    exponents = np.exp(flat - flat.max())
    is_softmax = flat.min() >= 0 and abs(flat.sum() - 1) < 0.02
    probabilities = flat if is_softmax else exponents / exponents.sum()
    best = np.argsort(-flat, kind="stable")[:count]
    return [
        {
            "class": int(i),
            "label": names[i] if names else "",
            "score": float(flat[i]),
            "probability": float(probabilities[i]),
        }
        for i in best
    ]


def _print(results: list[dict[str, Any]]) -> None:
    for result in results:
        rows = [[row["class"], row["label"], f"{row['probability']:.1%}"] for row in result["top"]]
        table.show(table.Table(("class", "label", "probability"), rows, caption=result["image"]))
