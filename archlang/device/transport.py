"""What a transport is: it brings a model to a device, runs it there and brings the times back."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from archlang.errors import OutsideError, nearest


@dataclass(frozen=True)
class Settings:
    """How a model is to be measured.

    The warm-up lasts until both `warmup_runs` and `warmup_secs` have passed, the measurement until both `runs` and
    `min_secs` have. timeout_secs: after this the device counts as hung.
    """

    threads: int = 1
    runs: int = 50
    min_secs: float = 1.0
    warmup_runs: int = 5
    warmup_secs: float = 0.25
    profile: bool = False
    seed: int = 0
    timeout_secs: float = 600.0


@dataclass(frozen=True)
class OpTime:
    """Time of one operator. share: of the sum over all operators."""

    name: str
    op: str
    ms: float
    share: float


@dataclass(frozen=True)
class Sampled:
    """What came back from a device: the time of each run in milliseconds, in their order."""

    runtime: str
    samples_ms: tuple[float, ...]
    warmup_runs: int
    ops: tuple[OpTime, ...] | None = None


class Transport(Protocol):
    """A way to a device."""

    def run(self, model: Path, settings: Settings) -> Sampled:
        """Measure once. Raises ArchError where the model is wrong, OutsideError where the device or runtime is."""
        ...


_TRANSPORTS = {"host": "archlang.device.host"}


def get(device: str) -> Transport:
    """The transport to the device called `device`. Raises OutsideError where there is none."""
    if device not in _TRANSPORTS:
        hint = nearest(device, _TRANSPORTS) or f"known here: {', '.join(_TRANSPORTS)}"
        raise OutsideError(f"there is no device `{device}`: {hint} (`host` is this machine)")
    transport: Transport = import_module(_TRANSPORTS[device]).TRANSPORT
    return transport
