"""Which layers should keep floats: those whose rounding the outputs feel the most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from archlang.quantize.options import Budget

Measure = Callable[[frozenset[str]], float]
"""measure(layers): the signal-to-noise ratio of the outputs, in decibels, with these layers in floats."""

SHORTLIST = 5
"""Candidates that are tried for each layer that is chosen: those with the most noise of their own."""


def gains(measure: Measure, layers: Sequence[str], kept: frozenset[str] = frozenset()) -> dict[str, float]:
    """By how many decibels the outputs would be better with each of the layers in floats, beside those kept."""
    before = measure(kept)
    return {name: measure(kept | {name}) - before for name in layers}


def chosen(measure: Measure, ranked: Sequence[str], budget: Budget, kept: frozenset[str]) -> frozenset[str]:
    """Layers to keep in floats, `kept` among them. ranked: the candidates, those with the most noise first.

    Greedy: each round takes the layer that gains the most, until the budget is spent.
    """
    found, left = kept, [name for name in ranked if name not in kept]
    best = measure(found)
    while left and not _spent(budget, len(found - kept), best):
        tried = {name: measure(found | {name}) for name in left[:SHORTLIST]}
        name = max(tried, key=lambda candidate: tried[candidate])
        found, best = found | {name}, tried[name]
        left.remove(name)
    return found


def _spent(budget: Budget, count: int, snr: float) -> bool:
    return (budget.layers is not None and count >= budget.layers) or (budget.snr is not None and snr >= budget.snr)
