"""What evaluators are told of the search that they are made for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archlang.train import Recipe


@dataclass(frozen=True)
class Setting:
    """folder: the run's. data: what is trained on; None where the search says nothing. trusted: whether the command
    line asked for the data, so that it may run code. device, threads: where latency is measured. latency_table: by
    which latency is predicted instead; None: it is measured. known_table: a table that the device is known to have.
    recipe: of trainings. mentioned: the metrics that the search asks for. space: what is searched. elsewhere: whether
    candidates are evaluated on other machines, to which the device is attached.
    """

    folder: Path
    data: str | None = None
    trusted: bool = False
    device: str = "host"
    threads: int = 1
    latency_table: str | None = None
    known_table: str | None = None
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=5))
    mentioned: tuple[str, ...] = ()
    space: Any = None
    elsewhere: bool = False
