#!/usr/bin/env python3
"""Runs the model beside this file: an image or an .npy array in, the best classes or an .npy array out.

It needs numpy and LiteRT (`ai-edge-litert`) or tflite-runtime, and Pillow for images; Python 3.7 and later.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")


class Model:
    """The model with its metadata."""

    def __init__(self, folder: Path = HERE, threads: int = 1) -> None:
        self.metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        self.interpreter = interpreter_class()(model_path=str(folder / "model.tflite"), num_threads=threads)
        self.interpreter.allocate_tensors()

    def __call__(self, *inputs: Any) -> list[Any]:
        """Every output, as floats, for one array of floats for each input, with the batch dimension."""
        details = self.interpreter.get_input_details()
        for detail, described, value in zip(details, self.metadata["inputs"], inputs):  # noqa: B905 (Python 3.7)
            self.interpreter.set_tensor(detail["index"], quantized(np.asarray(value), described))
        self.interpreter.invoke()
        outputs = [self.interpreter.get_tensor(detail["index"]) for detail in self.interpreter.get_output_details()]
        return [dequantized(value, described) for value, described in zip(outputs, self.metadata["outputs"])]  # noqa: B905

    def image(self, path: Path) -> Any:
        """An image file as the first input: the largest square of its middle, scaled, normalised."""
        from PIL import Image

        _, height, width, channels = self.metadata["inputs"][0]["shape"]
        picture = Image.open(path).convert("RGB" if channels == 3 else "L")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.resize((width, height), 2, (left, top, left + side, top + side))  # 2: bilinear
        pixels = np.asarray(square, np.float32).reshape(1, height, width, channels)
        mean, std = (
            np.asarray(self.metadata[name] or [value], np.float32) for name, value in (("mean", 0), ("std", 255))
        )
        return (pixels - mean) / std


def interpreter_class() -> Any:
    for name in RUNTIMES:
        try:
            return import_module(name).Interpreter
        except ImportError:
            continue
    sys.exit("no TFLite runtime is installed: pip install ai-edge-litert")


def quantized(value: Any, tensor: dict[str, Any]) -> Any:
    kind = np.dtype(tensor["dtype"])
    if kind.kind == "f" or not tensor["scale"]:
        return value.astype(kind)
    limits = np.iinfo(kind)
    steps = np.round(value / tensor["scale"]) + tensor["zero_point"]
    return np.clip(steps, limits.min, limits.max).astype(kind)


def dequantized(value: Any, tensor: dict[str, Any]) -> Any:
    if value.dtype.kind == "f" or not tensor["scale"]:
        return value.astype(np.float32)
    return ((value.astype(np.int32) - tensor["zero_point"]) * tensor["scale"]).astype(np.float32)


def best(scores: Any, labels: list[str], count: int) -> list[dict[str, Any]]:
    order = np.argsort(-scores, kind="stable")[:count]
    return [{"class": int(i), "label": labels[i] if labels else str(i), "score": float(scores[i])} for i in order]


def damaged() -> list[str]:
    """The files that are not those of the manifest."""
    listed = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))["files"]
    return [name for name, entry in listed.items() if digest(HERE / name) != entry["sha256"]]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def check() -> None:
    wrong = damaged()
    sys.exit("not as in the manifest: " + ", ".join(wrong) if wrong else print("every file is as in the manifest"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", nargs="?", type=Path, help="an .npy array or an image")
    parser.add_argument("-o", "--output", type=Path, help="write the first output as .npy")
    parser.add_argument("--top", type=int, default=5, help="so many of the best classes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="compare the files with the manifest")
    arguments = parser.parse_args()
    if arguments.check:
        check()
    if arguments.input is None:
        parser.error("an input is missing")
    model = Model(threads=arguments.threads)
    is_array = arguments.input.suffix == ".npy"
    result = model(np.load(arguments.input) if is_array else model.image(arguments.input))[0]
    if arguments.output:
        np.save(arguments.output, result)
    else:
        print(json.dumps(best(result[0].reshape(-1), model.metadata["labels"], arguments.top), indent=2))


if __name__ == "__main__":
    main()
