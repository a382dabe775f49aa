"""Latency without the device."""

from __future__ import annotations

from collections.abc import Callable

from archlang.device.predict import LatencyModel, table
from archlang.errors import fail
from archlang.ir.graph import Graph


def predictor(name: str) -> Callable[[Graph], float]:
    """Graph -> milliseconds, by the latency table of that name, file or device. Raises ArchError where there is none,
    and on a network that holds an op which was never measured."""
    model: LatencyModel = table.find(name).model

    def predict(graph: Graph) -> float:
        predicted = model.predict(graph)
        if predicted.ms is None:
            raise fail("E1015", f"no latency is predicted: never measured: {predicted.unknown[0]}")
        return predicted.ms

    return predict
