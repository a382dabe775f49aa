"""What is missing before a device can be measured on."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from archlang.device import devices, runner
from archlang.device.devices import Entry
from archlang.device.quarantine import Quarantine, Record, clock
from archlang.device.transport import HOST, Finding
from archlang.errors import ArchError, OutsideError


@dataclass(frozen=True)
class Report:
    """What was found at a device. quarantine: what it was in when the check began; a device that is well leaves it."""

    name: str
    kind: str
    findings: tuple[Finding, ...]
    quarantine: Record | None = None

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        until = None if self.quarantine is None else self.quarantine.until
        return {
            "name": self.name,
            "kind": self.kind,
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "quarantined_until": until,
        }


def reports(names: Iterable[str]) -> list[Report]:
    """The devices of these names, all at once; all there are where none is named. Raises as `devices.find` does."""
    entries = devices.load()
    wanted = list(names) or [HOST, *entries]
    found = [None if name == HOST else devices.find(name) for name in wanted]
    with ThreadPoolExecutor(max(1, len(found))) as pool:
        return list(pool.map(_report, found))


def _report(entry: Entry | None) -> Report:
    if entry is None:
        return Report(HOST, HOST, tuple(_host()))
    quarantine = Quarantine.of(entry.name)
    report = Report(entry.name, entry.kind, _findings(entry), quarantine.holds())
    if report.ok:
        quarantine.succeeded()
    return report


def _findings(entry: Entry) -> tuple[Finding, ...]:
    try:
        return tuple(entry.device.check(entry.name))
    except (OutsideError, ArchError) as error:
        return (Finding("transport", False, str(error)),)


def _host() -> Iterable[Finding]:
    try:
        yield Finding("TFLite", True, runner.interpreter_class()[1])
    except runner.Failure as failure:
        yield Finding("TFLite", False, str(failure), "run  pip install 'archlang[tflite]'")
    number = runner.version("onnxruntime")
    yield Finding("ONNX Runtime", True, number or "not installed: .onnx files cannot be measured here")


def resting(record: Record) -> str:
    """For how long a device is left alone, and why, in words."""
    return f"left alone until {clock(record.until)} after {record.failures} failures: {record.reason}"
