"""What the learning rate does: its factor at each step of a training."""

from __future__ import annotations

import math
from collections.abc import Callable

DECAYS: dict[str, Callable[[float], float]] = {
    "cosine": lambda t: 0.5 * (1 + math.cos(math.pi * t)),
    "linear": lambda t: 1 - t,
    "step": lambda t: 0.1 ** ((t >= 0.5) + (t >= 0.75)),
    "constant": lambda t: 1.0,
}
"""Schedule -> the factor when the share `t` of the steps after the warm-up is done. cosine: arXiv:1608.03983 without
restarts; step: a tenth at a half and at three quarters, as ResNet on CIFAR-10 (arXiv:1512.03385, section 4.2)."""


def factor(schedule: str, steps: int, warmup: float) -> Callable[[int], float]:
    """Step, from 0 -> the factor of the peak rate. warmup: the share of all steps in which it grows to 1, linearly;
    one step at least where it is not 0."""
    warm = max(1, round(steps * warmup)) if warmup else 0
    decay = DECAYS[schedule]

    def at(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return decay(min(1.0, (step - warm) / max(1, steps - warm)))

    return at
