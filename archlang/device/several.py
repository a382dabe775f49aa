"""Several devices at once: each in a thread of its own, and the failure of one is not that of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from archlang.device import devices
from archlang.device.estimate import Estimate
from archlang.errors import OutsideError

Result = TypeVar("Result")


def at_once(names: Sequence[str], measure: Callable[[str], Result]) -> dict[str, Result | OutsideError]:
    """The result of each device by its name, or why there is none. Where one alone is named, its error is raised, as is
    every ArchError: a model that is wrong is so everywhere."""
    unique = list(dict.fromkeys(name.strip() for name in names))
    if len(unique) == 1:
        return {unique[0]: measure(unique[0])}
    with ThreadPoolExecutor(len(unique)) as pool:
        return dict(zip(unique, pool.map(lambda name: _attempt(measure, name), unique), strict=True))


def _attempt(measure: Callable[[str], Result], name: str) -> Result | OutsideError:
    try:
        return measure(name)
    except OutsideError as error:
        return error


def estimate(name: str, model: Path) -> Estimate | None:
    """What is reckoned for a device that is not measured; None for one that is. Raises as the estimator does."""
    estimator = devices.estimator(name)
    return None if estimator is None else estimator.estimate(model)
