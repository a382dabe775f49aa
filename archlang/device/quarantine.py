"""Devices that keep failing are left alone for a while, so that a search does not wait for each of its trials.

One small file a device, in the user's state folder: how often it has failed in succession, with what, and until when it
is left alone.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from archlang.device import places
from archlang.errors import OutsideError
from archlang.files import write_whole

FAILURES = 3
"""So many failed measurements in succession, each tried again already, put a device into quarantine."""

FIRST_SECS = 600.0
LONGEST_SECS = 86_400.0


@dataclass(frozen=True)
class Record:
    """until: seconds since 1970; in the past where the device may be used."""

    failures: int = 0
    until: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Quarantine:
    """The record of one device. folder: where the records are."""

    device: str
    folder: Path

    @classmethod
    def of(cls, device: str) -> Quarantine:
        return cls(device, places.state_folder() / "quarantine")

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.device}.json"

    def record(self) -> Record:
        """What is known; nothing where the file is missing or damaged."""
        try:
            return Record(**json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Record()

    def holds(self) -> Record | None:
        """The record of a device in quarantine, None for one that may be used."""
        record = self.record()
        return record if record.until > time.time() else None

    def check(self) -> None:
        """Raise OutsideError where the device is in quarantine."""
        record = self.holds()
        if record is not None:
            raise OutsideError(
                f"{self.device} has failed {record.failures} times in succession ({record.reason}) and is left alone "
                f"until {clock(record.until)}; `archlang devices check {self.device}` lifts that once it is well"
            )

    def failed(self, reason: str) -> None:
        """Count a failure. From the third on the device is left alone: 10 minutes, then twice as long each time."""
        record = self.record()
        count = record.failures + 1
        pause = min(FIRST_SECS * 2 ** (count - FAILURES), LONGEST_SECS) if count >= FAILURES else 0.0
        self._write(replace(record, failures=count, reason=reason, until=time.time() + pause if pause else 0.0))

    def succeeded(self) -> None:
        """Forget the failures."""
        self._path.unlink(missing_ok=True)

    def _write(self, record: Record) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, json.dumps(asdict(record)))


def clock(seconds: float) -> str:
    """A time of day, with the date where it is not today."""
    when = datetime.fromtimestamp(seconds)
    return when.strftime("%H:%M" if when.date() == datetime.now().date() else "%Y-%m-%d %H:%M")
