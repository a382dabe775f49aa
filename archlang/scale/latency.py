"""Latency as what networks are scaled by: measured on a device, or predicted by a latency table."""

from __future__ import annotations

from archlang.device.cache import Cache
from archlang.ir.graph import Graph
from archlang.scale.ladder import Meter

COARSE = 20
"""Thousandths of an exponent that measurements tell apart: networks 1.4 % larger or smaller."""


def predicted(table: str) -> Meter:
    """Milliseconds by a latency table: its file, or a device that has one. Raises ArchError where there is none."""
    from archlang.search.evaluators.latency import predictor

    return Meter("latency", predictor(table))


def measured(
    device: str, threads: int, quantize: str, cache: Cache | None, runs: int = 30, min_secs: float = 0.5
) -> Meter:
    """Median milliseconds of the TFLite file with fresh weights; equal networks are measured once. Raises OutsideError
    without the device."""
    from archlang.device import transport

    transport.get(device).close()
    options = {"threads": threads, "device": device, "runs": runs, "min_secs": min_secs, "cache": cache}
    known: dict[str, float] = {}

    def of(graph: Graph) -> float:
        if graph.digest not in known:
            known[graph.digest] = _measured(quantize, options, graph)
        return known[graph.digest]

    return Meter("latency", of, COARSE)


def _measured(quantize: str, options: dict[str, object], graph: Graph) -> float:
    from archlang.backend import Request, compile_graph
    from archlang.device import bench

    model = bytes(compile_graph(graph, "tflite", Request(quantize=quantize)).data)
    return bench(model, **options).median_ms  # type: ignore[arg-type]
