"""A latency table: the file that a device's model and the measurements that it was made from are kept in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from archlang.device import places
from archlang.device.predict.model import LatencyModel
from archlang.errors import fail
from archlang.files import write_whole

FORMAT = "archlang latency table 2"


@dataclass(frozen=True)
class Identity:
    """What a table is about: measurements under another identity do not mix with its own.

    device: its name. fingerprint: of its hardware and system. space, digest: name and digest of the search space.
    """

    device: str
    fingerprint: str
    runtime: str
    threads: int
    quantize: str
    space: str
    digest: str


@dataclass(frozen=True)
class Measured:
    """One measurement. digest: of the graph. alone: a block instance, else a whole network. label: which one.

    reference_ms: what the reference network took around the same time. seconds: that it all took.
    """

    digest: str
    alone: bool
    label: str
    ms: float
    iqr_ms: float
    reference_ms: float
    seconds: float


@dataclass(frozen=True)
class Table:
    """identity, the model, and the measurements in their order. model_json: as it stands in the file."""

    identity: Identity
    measured: tuple[Measured, ...]
    model_json: dict[str, Any]

    @cached_property
    def model(self) -> LatencyModel:
        return LatencyModel.from_json(self.model_json)

    @property
    def networks(self) -> int:
        """How many whole networks were measured."""
        return sum(not each.alone for each in self.measured)

    @property
    def seconds(self) -> float:
        """What measuring took."""
        return sum(each.seconds for each in self.measured)

    def write(self, path: Path) -> None:
        """Write the file whole or not at all. Raises ArchError where it cannot be written."""
        document = {
            "format": FORMAT,
            **asdict(self.identity),
            "measured": [asdict(each) for each in self.measured],
            "model": self.model_json,
        }
        write_whole(path, json.dumps(document, indent=1) + "\n")

    def __str__(self) -> str:
        known = self.identity
        threads = "1 thread" if known.threads == 1 else f"{known.threads} threads"
        blocks = len(self.measured) - self.networks
        return (
            f"{known.space}, {known.quantize} on {known.device} ({known.runtime}, {threads}): "
            f"{self.networks} networks and {blocks} blocks measured in {self.seconds:.0f} s"
        )


def read(path: Path) -> Table:
    """The table in a file. Raises ArchError where there is none, or it is damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise fail("E1012", f"{path} is a `{document['format']}`, this version reads `{FORMAT}`")
        identity = Identity(**{name: document[name] for name in Identity.__dataclass_fields__})
        table = Table(identity, tuple(Measured(**each) for each in document["measured"]), document["model"])
        assert table.model.samples
    except OSError as error:
        raise fail("E1012", f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, AssertionError) as error:
        help = "`archlang bench --build-table` makes one"
        raise fail("E1012", f"{path} is no latency table", help=help) from error
    return table


def find(name: str) -> Table:
    """The table in the file `name`, or that of the device of this name. Raises ArchError where there is none."""
    path = Path(name)
    if path.suffix == ".json":
        return read(path)
    kept = place(name)
    if not kept.is_file():
        help = f"`archlang bench --build-table --device {name} --space SPACE` makes it"
        raise fail("E1012", f"there is no latency table of the device `{name}` ({kept})", help=help)
    return read(kept)


def exists(name: str) -> bool:
    """Whether `find` would look into a file that is there."""
    return Path(name).is_file() if name.endswith(".json") else place(name).is_file()


def place(device: str) -> Path:
    """Where a device's table is kept that was written nowhere else."""
    return places.state_folder() / "latency" / f"{device}.json"


def names() -> Sequence[str]:
    """The devices that have a table."""
    folder = place("x").parent
    return sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else ()
