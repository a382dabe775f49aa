"""Predicted against measured, on networks that were not used to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from archlang.device.predict.model import LEVEL, Prediction
from archlang.errors import missing_extra

CLOSE = 0.10


@dataclass(frozen=True)
class Pair:
    """One network. digest: of its graph. macs: multiply-accumulates, to see what they alone would tell."""

    digest: str
    measured_ms: float
    predicted: Prediction
    macs: int = 0


@dataclass(frozen=True)
class Report:
    """How good the predictions are.

    spearman, kendall: rank correlations (Kendall's tau-b). mape: mean relative error. within_10: the share within
    10 %. covered: the share within its interval, which is to be 0.9. unknown: networks without a figure, of an op
    that was never measured; outside: with kernels beyond the measured sizes. times_faster: measuring takes so many
    times as long as predicting.
    """

    networks: int
    spearman: float
    kendall: float
    mape: float
    within_10: float
    covered: float
    unknown: int
    outside: int
    times_faster: float
    pairs: tuple[Pair, ...]

    def as_json(self) -> dict[str, Any]:
        document = asdict(self)
        document["level"] = LEVEL
        return document

    def __str__(self) -> str:
        lines = [
            f"{self.networks} networks: Spearman {self.spearman:.3f}, Kendall {self.kendall:.3f}, mean relative error "
            f"{self.mape:.1%}",
            f"within 10 %: {self.within_10:.0%}; within the interval for {LEVEL:.0%}: {self.covered:.0%}; "
            f"{self.times_faster:,.0f} times faster than measuring",
        ]
        if self.unknown:
            lines.append(f"{self.unknown} networks have no figure: an op in them was never measured")
        if self.outside:
            lines.append(f"{self.outside} networks hold kernels larger or smaller than all that were measured")
        return "\n".join(lines)


def report(pairs: Sequence[Pair], measuring_secs: float, predicting_secs: float) -> Report:
    """The figures. Networks without a prediction count in `unknown` alone. Raises OutsideError without SciPy."""
    try:
        from scipy.stats import kendalltau, spearmanr
    except ImportError as error:
        raise missing_extra("validating a latency model", "search") from error
    known = [pair for pair in pairs if pair.predicted.ms is not None]
    measured = np.array([pair.measured_ms for pair in known])
    ms, low, high = (
        np.array([getattr(pair.predicted, name) for pair in known], float) for name in ("ms", "low_ms", "high_ms")
    )
    errors = np.abs(ms / measured - 1)
    return Report(
        networks=len(pairs),
        spearman=float(spearmanr(ms, measured)[0]) if len(known) > 1 else float("nan"),
        kendall=float(kendalltau(ms, measured)[0]) if len(known) > 1 else float("nan"),
        mape=_mean(errors),
        within_10=_mean(errors <= CLOSE),
        covered=_mean((low <= measured) & (measured <= high)),
        unknown=len(pairs) - len(known),
        outside=sum(bool(pair.predicted.outside) for pair in pairs),
        times_faster=measuring_secs / max(predicting_secs, 1e-9),
        pairs=tuple(pairs),
    )


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
