"""The reference model: measured in turns with every candidate, it tells how fast the device is at that moment.

Machines have several speeds. On the one this was tried on, a process on the neighbouring core makes every model 1.75
times slower for seconds, and its clock of processor time does not show it; phones get hot. The reference slows down
with the candidate, so that the ratio of the two stays, within 6 %. What it takes at the device's usual speed is kept in
the user's state folder.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from archlang.device import places
from archlang.errors import ArchError, OutsideError, fail
from archlang.files import write_whole

TEXT = """
net Reference:
  default conv(norm=bn, act=relu6)
  input 3x96x96
  conv(16, 3, s=2)
  dwconv(3) -> conv(16, 1)
  conv(64, 1) -> dwconv(3, s=2) -> conv(24, 1)
  conv(96, 1) -> dwconv(3, s=2) -> conv(32, 1)
  conv(128, 1) -> dwconv(3, s=2) -> conv(64, 1)
  conv(256, 1) -> dwconv(5) -> conv(64, 1)
  conv(256, 1)
  gap -> linear(100)
"""
"""MobileNet's operators, at every size that its stages have. It never changes: ratios to it are kept."""

SEED = 0
KEPT = 100
"""Measurements of the reference that are remembered of each device."""

KEPT_SECS = 30 * 24 * 3600.0
USUAL = 3
"""Percentile of them that is the device's usual speed. A tenth was too many on a machine whose neighbours were busy for
hours: once nine of ten measurements were disturbed, the calm ones seemed fast."""


@dataclass(frozen=True)
class Reference:
    """A model to compare with. content: of the file."""

    name: str
    suffix: str
    content: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def write(self, folder: Path) -> Path:
        """The file, under a name that no other model has."""
        path = folder / f"reference-{self.digest[:16]}{self.suffix}"
        path.write_bytes(self.content)
        return path


def own(suffix: str) -> Reference | None:
    """Ours for models of a kind of file: int8 for `.tflite`, float32 for `.onnx`. None where it cannot be made, since
    a package is missing."""
    try:
        return _made(suffix)
    except OutsideError:
        return None


@cache
def _made(suffix: str) -> Reference:
    import archlang
    from archlang.backend import Request, compile_graph

    request = Request(quantize="int8" if suffix == ".tflite" else "none", seed=SEED)
    graph = archlang.loads(TEXT, name="reference.arch").graph
    return Reference("archlang's", suffix, compile_graph(graph, suffix[1:], request).data)


def named(path: Path) -> Reference:
    """The user's own. Raises ArchError where it is no model file."""
    if path.suffix not in (".tflite", ".onnx"):
        raise fail("E1003", f"{path}: only a .tflite or .onnx file can be the reference")
    try:
        return Reference(str(path), path.suffix, path.read_bytes())
    except OSError as error:
        raise fail("E1005", f"there is no file {path}") from error


@dataclass(frozen=True)
class Speeds:
    """What the reference took on one device before. path: of the record; several processes may write it, and the last
    one's stays."""

    path: Path

    @classmethod
    def of(cls, *key: object) -> Speeds:
        """key: whatever the time depends on."""
        digest = hashlib.sha256(json.dumps([str(each) for each in key]).encode()).hexdigest()[:32]
        return cls(places.state_folder() / "speeds" / f"{digest}.json")

    def known(self) -> list[tuple[float, float]]:
        """When, in seconds since 1970, and how long it took in ms; nothing where the record is missing or damaged."""
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))
            found = [(float(when), float(ms)) for when, ms in rows]
        except (OSError, ValueError, TypeError):
            return []
        return [(when, ms) for when, ms in found if when > time.time() - KEPT_SECS and ms > 0][-KEPT:]

    def add(self, times_ms: Sequence[float]) -> None:
        """Remember more of them. A folder that cannot be written is no reason to fail."""
        rows = [*self.known(), *((time.time(), ms) for ms in times_ms)][-KEPT:]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, json.dumps(rows))
        except (OSError, ArchError):
            return


def usual(times_ms: Sequence[float]) -> float:
    """The time at the usual speed, of those that were measured: the shortest, where they are few. Most disturbances
    make a device slower, nothing makes it faster."""
    return float(np.percentile(times_ms, USUAL, method="lower"))
