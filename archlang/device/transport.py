"""What a transport is: it brings a model to a device, runs it there and brings the times back."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from archlang.errors import OutsideError


@dataclass(frozen=True)
class Settings:
    """How a model is to be measured.

    The warm-up lasts until both `warmup_runs` and `warmup_secs` have passed, the measurement until both `runs` and
    `min_secs` have. timeout_secs: after this the device counts as hung.

    reference: of transports that `interleave`, a model that is run in turns with it. usual_ms: what that takes on the
    undisturbed device; 0 where that is not known. patience_secs: for how long to wait for it to be undisturbed.
    """

    threads: int = 1
    runs: int = 50
    min_secs: float = 1.0
    warmup_runs: int = 5
    warmup_secs: float = 0.25
    profile: bool = False
    seed: int = 0
    timeout_secs: float = 600.0
    reference: Path | None = None
    usual_ms: float = 0.0
    patience_secs: float = 0.0


@dataclass(frozen=True)
class OpTime:
    """Time of one operator. share: of the sum over all operators.

    Where these are known: macs; layer, its module path; file and line of the source that made it; block, the path of
    the block instance that it is in.
    """

    name: str
    op: str
    ms: float
    share: float
    macs: int | None = None
    layer: str = ""
    file: str = ""
    line: int | None = None
    block: str = ""


@dataclass(frozen=True)
class Conditions:
    """The state of a device, as far as it tells it. temperature_c: of the hottest part of the processor. frequency_mhz:
    of each core. governor: of the frequencies, such as `performance`; several with commas."""

    temperature_c: float | None = None
    frequency_mhz: tuple[float, ...] = ()
    governor: str = ""


@dataclass(frozen=True)
class Description:
    """What a device is. fingerprint: the same for the same hardware and system, another after an upgrade of either."""

    fingerprint: str
    model: str
    system: str
    cores: int
    conditions: Conditions


@dataclass(frozen=True)
class Sampled:
    """What came back from a device: the time of each run in milliseconds, in their order.

    averaged: of how many runs each sample is the mean or median, where the device's tool does not tell single ones.
    before, after: the state of the device around the runs. estimate: no device ran it, a model of one did. delegate:
    what runs operators in the runtime's stead, as far as it is known.
    stretches: how many of the samples were taken between two turns of the reference, and references_ms what each of its
    turns took, one more; both are empty where it was not run with it. waited_secs: for the device to be undisturbed.
    """

    runtime: str
    samples_ms: tuple[float, ...]
    warmup_runs: int
    ops: tuple[OpTime, ...] | None = None
    averaged: int = 1
    before: Conditions | None = None
    after: Conditions | None = None
    estimate: bool = False
    delegate: str = ""
    stretches: tuple[int, ...] = ()
    references_ms: tuple[float, ...] = ()
    waited_secs: float = 0.0


def interleaves(way: Transport) -> bool:
    """Whether the transport runs a model and the reference in turns, in one process; else each has its own."""
    return bool(getattr(way, "interleaves", False))


class Transport(Protocol):
    """A way to a device. One whose attribute `interleaves` is true heeds `Settings.reference`."""

    def run(self, model: Path, settings: Settings) -> Sampled:
        """Measure once, in a process of its own. Raises ArchError where the model is wrong, OutsideError where the
        device or runtime is."""
        ...


class Device(Transport, Protocol):
    """A transport that can also say what is at its end.

    The first `run` or `describe` connects and makes what it needs on the device; `close` removes it. After a failure
    the next call connects anew.
    """

    def describe(self) -> Description:
        """What the device is. Raises OutsideError where it cannot be asked."""
        ...

    def close(self) -> None:
        """Remove what was put on the device and hang up. Never raises."""
        ...


FAULTS = {
    "unreachable": True,
    "lost": True,
    "hung": True,
    "disk": True,
    "partial": True,
    "crashed": True,
    "refused": False,
    "permission": False,
    "missing": False,
}
"""Kinds of failures of devices, and whether another try may help: the others are for a person to set right."""


class DeviceFailure(Exception):
    """A device did not do what it should. kind: of `FAULTS`. remedy: what a person can do."""

    def __init__(self, kind: str, message: str, remedy: str = "") -> None:
        assert kind in FAULTS, kind
        super().__init__(message)
        self.kind = kind
        self.remedy = remedy

    @property
    def transient(self) -> bool:
        return FAULTS[self.kind]

    def outside(self, device: str) -> OutsideError:
        """The same for the user."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return OutsideError(f"{device}: {self}{remedy}")


@dataclass(frozen=True)
class Finding:
    """One thing that `devices check` looked at. remedy: what to do where it is not well."""

    what: str
    ok: bool
    message: str
    remedy: str = ""


def get(device: str) -> Device:
    """The transport to the device called `device`: `host`, or one of devices.toml. Raises OutsideError where there is
    none, ArchError where the file is wrong."""
    if device == HOST:
        host: Device = import_module("archlang.device.host").TRANSPORT
        return host
    opened: Device = import_module("archlang.device.devices").opened(device)
    return opened


HOST = "host"
"""The name of this machine."""
