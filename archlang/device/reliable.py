"""A device that can fail, as one that works or says clearly that it does not.

Every measurement is tried again, with a limit; what comes back is looked at before it counts as a result; a device
that keeps failing is put into quarantine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from archlang.device.quarantine import Quarantine
from archlang.device.transport import Description, DeviceFailure, Sampled, Settings, interleaves

Result = TypeVar("Result")

TRIES = 3
PAUSE_SECS = 1.0
"""Before the second try; twice as long before the third. A board needs longer to reboot: quarantine is for that."""


class Link(Protocol):
    """A way to a device that may fail: what a transport of this kind has to give. Its calls raise DeviceFailure for
    what the device did not do, and each ends within a time limit.

    `run` and `describe` prepare what they need: they connect, make a fresh folder, push what is not there yet.
    """

    def run(self, model: Path, settings: Settings) -> Sampled: ...

    def describe(self) -> Description: ...

    def close(self) -> None:
        """Clean up on the device and hang up, as far as it still answers. Never raises."""
        ...


class Reliable:
    """A Device over a Link."""

    def __init__(self, name: str, link: Link, quarantine: Quarantine, pause_secs: float = PAUSE_SECS) -> None:
        self._name = name
        self._link = link
        self._quarantine = quarantine
        self._pause_secs = pause_secs

    @property
    def interleaves(self) -> bool:
        return interleaves(self._link)

    def run(self, model: Path, settings: Settings) -> Sampled:
        def once() -> Sampled:
            sampled = self._link.run(model, settings)
            check_whole(sampled, settings)
            return sampled

        return self._tried(once)

    def describe(self) -> Description:
        return self._tried(self._link.describe)

    def close(self) -> None:
        self._link.close()

    def _tried(self, call: Callable[[], Result]) -> Result:
        """The first success of a few tries. Raises OutsideError after the last, or at once where no try can help."""
        self._quarantine.check()
        for attempt in range(TRIES):
            try:
                result = call()
            except DeviceFailure as failure:
                self._link.close()
                last = failure
                if not failure.transient:
                    break
                if attempt + 1 < TRIES:
                    time.sleep(self._pause_secs * 2**attempt)
            else:
                self._quarantine.succeeded()
                return result
        if last.transient:
            self._quarantine.failed(str(last))
        raise last.outside(self._name) from last


def check_whole(sampled: Sampled, settings: Settings) -> None:
    """Raise DeviceFailure where less was measured than was asked for, or times are no times."""
    runs = len(sampled.samples_ms) * sampled.averaged
    if runs < settings.runs:
        raise DeviceFailure("partial", f"it measured {runs} runs of {settings.runs}")
    if sampled.stretches and (
        sum(sampled.stretches) != len(sampled.samples_ms) or len(sampled.references_ms) != len(sampled.stretches) + 1
    ):
        raise DeviceFailure("partial", "its stretches are not those of its samples")
    if not all(math.isfinite(ms) and ms > 0 for ms in (*sampled.samples_ms, *sampled.references_ms)):
        raise DeviceFailure("partial", "it told times that are no times")
