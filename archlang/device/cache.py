"""Latencies that are known already: a small file each, in the user's cache folder.

The key is all that a latency depends on: the model's content, the device, the runtime and its version, the delegate and
the threads. A result counts where at least as much was measured for it as is asked for now. Noisy ones are not kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archlang.device import places
from archlang.errors import ArchError
from archlang.files import write_whole

Note = Callable[[str], None]
"""Takes a sentence for the user."""


@dataclass(frozen=True)
class Key:
    """model: SHA-256 of the file. device: its fingerprint."""

    model: str
    device: str
    runtime: str
    delegate: str
    threads: int


@dataclass(frozen=True)
class Asked:
    """How much is measured. reference: SHA-256 of the reference model, empty without one."""

    runs: int
    min_secs: float
    processes: int
    profile: bool
    reference: str

    def includes(self, other: Asked) -> bool:
        """Whether what was measured for this is enough for the other."""
        return (
            self.runs >= other.runs
            and self.min_secs >= other.min_secs
            and self.processes >= other.processes
            and self.profile >= other.profile
            and self.reference == other.reference
        )


@dataclass(frozen=True)
class Cache:
    """A folder of results. Files are written whole, so that several processes may use it. note: is told of entries that
    cannot be read, and of a folder that cannot be written: neither is a reason to fail."""

    folder: Path
    note: Note = lambda text: None

    @classmethod
    def of_user(cls, note: Note = lambda text: None) -> Cache:
        return cls(places.cache_folder() / "latency", note)

    def find(self, key: Key, asked: Asked) -> dict[str, Any] | None:
        """The result as it was put there; None where there is none, or too little was measured for it."""
        path = self._path(key)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            self.note(f"{path} cannot be read and is passed over: {error}")
            return None
        entry = _entry(text, key)
        if entry is None:
            self.note(f"{path} is damaged and is passed over")
            return None
        result: dict[str, Any] = entry["result"]
        return result if Asked(**entry["asked"]).includes(asked) else None

    def put(self, key: Key, asked: Asked, result: dict[str, Any]) -> None:
        entry = {"key": asdict(key), "asked": asdict(asked), "result": result}
        text = json.dumps({"sha256": _digest(entry), "entry": entry})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(key), text)
        except (OSError, ArchError) as error:
            self.note(f"the result is not kept for the next time: {error}")

    def _path(self, key: Key) -> Path:
        return self.folder / f"{_digest(asdict(key))[:32]}.json"


def _entry(text: str, key: Key) -> dict[str, Any] | None:
    """The entry in a file; None where it is damaged, or another's."""
    try:
        document = json.loads(text)
        entry: dict[str, Any] = document["entry"]
        whole = document["sha256"] == _digest(entry) and entry["key"] == asdict(key)
        Asked(**entry["asked"])
    except (ValueError, TypeError, KeyError):
        return None
    return entry if whole else None


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
