"""What models of a device say about a network that no device has run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from archlang.device.transport import Description, Finding, OpTime, Sampled, Settings
from archlang.errors import OutsideError


@dataclass(frozen=True)
class Layer:
    """target: `NPU` or `CPU`. cycles: 0 on the CPU, where they are not known. sram_bytes: live while it runs."""

    name: str
    op: str
    target: str
    cycles: int
    sram_bytes: int
    macs: int


@dataclass(frozen=True)
class Estimate:
    """What a tool says.

    tool: its name, version and configuration. ms: for one inference, None where it tells no time; what the accelerator
    leaves to the CPU is not in it. ram_bytes: the arena or SRAM that it needs, ram_limit the bytes that there are (0:
    unknown). flash_bytes: of the model as it is shipped. fallback: the operators that the accelerator leaves to the
    CPU, each with the name of its layer. parts: what the RAM is for, in bytes.
    """

    tool: str
    ram_bytes: int
    flash_bytes: int
    ram_limit: int = 0
    ms: float | None = None
    cycles: int | None = None
    layers: tuple[Layer, ...] = ()
    fallback: tuple[tuple[str, str], ...] = ()
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def fits(self) -> bool:
        return not self.ram_limit or self.ram_bytes <= self.ram_limit

    def as_json(self) -> dict[str, Any]:
        document = asdict(self)
        document["parts"] = dict(self.parts)
        document["fallback"] = [{"op": op, "name": name} for op, name in self.fallback]
        return {
            "estimate": True,
            "median_ms": self.ms,
            "fits": self.fits,
            "fallback_ops": len(self.fallback),
            **document,
        }


class Estimator(Protocol):
    """A kind of device that is only reckoned."""

    def estimate(self, model: Path) -> Estimate:
        """Raises ArchError where the model is not for such a device, OutsideError where the tool is missing."""
        ...

    def check(self, name: str) -> tuple[Finding, ...]: ...


@dataclass(frozen=True)
class Estimated:
    """An estimator as a device that can be measured on: one sample, marked as an estimate."""

    name: str
    estimator: Estimator

    def run(self, model: Path, settings: Settings) -> Sampled:
        found = self.estimator.estimate(model)
        if found.ms is None:
            raise OutsideError(f"{self.name}: {found.tool} tells memory, not time: name a board or an NPU")
        total = sum(layer.cycles for layer in found.layers) or 1
        ops = tuple(
            OpTime(layer.name, layer.op, found.ms * layer.cycles / total, layer.cycles / total)
            for layer in found.layers
        )
        return Sampled(found.tool, (found.ms,), 0, ops if settings.profile else None, estimate=True)

    def describe(self) -> Description:
        from archlang.device import host

        here = host.TRANSPORT.describe()
        return Description(repr(self.estimator), type(self.estimator).__name__, "estimate", 0, here.conditions)

    def close(self) -> None:
        """There is nothing to hang up."""
