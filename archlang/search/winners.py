"""The front as files: one plain .arch file each, a table and a JSON document."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archlang.files import write_whole
from archlang.search.trial import Metrics, Space, Trial


def write_front(folder: Path, space: Space, front: Sequence[Trial], header: Header) -> None:
    """Write DIR/front/*.arch, DIR/front.csv and DIR/front.json; winners that are no more on the front go."""
    arches = folder / "front"
    arches.mkdir(exist_ok=True)
    names = {name_of(space, trial): trial for trial in front}
    for name, trial in names.items():
        write_whole(arches / f"{name}.arch", space.source(trial.picks, name, header.lines(trial)))
    ours = re.compile(re.escape(space.name) + r"_\d+\.arch")
    for path in arches.iterdir():
        if ours.fullmatch(path.name) and path.stem not in names:
            path.unlink()
    write_whole(folder / "front.csv", _table(space, front))
    entries = [entry(folder, space, trial) for trial in front]
    write_whole(folder / "front.json", json.dumps(entries, indent=2) + "\n")


def name_of(space: Space, trial: Trial) -> str:
    return f"{space.name}_{trial.id:03d}"


def entry(folder: Path, space: Space, trial: Trial) -> dict[str, Any]:
    """A member of the front for JSON: the file, the metrics, and where it came from."""
    return {
        "arch": str(folder / "front" / f"{name_of(space, trial)}.arch"),
        "trial": trial.id,
        "metrics": dict(trial.metrics),
        "parent": trial.parent,
        "origin": trial.origin,
        "digest": trial.digest,
        "picks": trial.picks,
    }


class Header:
    """The comment lines over a winner. command: the search as it was called."""

    def __init__(self, command: str, trials: int, seed: int, device: str) -> None:
        # A line break in an argument must not end the comment.
        self._command, self._trials, self._seed, self._device = " ".join(command.split()), trials, seed, device

    def lines(self, trial: Trial) -> list[str]:
        """How it was found, and what it is worth."""
        origin = f"; {trial.origin} from trial {trial.parent}" if trial.parent is not None else ""
        return [
            f"found by: {self._command}   (trial {trial.id} of {self._trials}, seed {self._seed}{origin})",
            " | ".join(described(trial.metrics, self._device)),
        ]


_SHOWN = ("accuracy", "accuracy_int8", "latency", "params", "macs", "peak_memory", "flash")


def described(metrics: Metrics, device: str) -> list[str]:
    """Metrics for a person, the known ones first: `accuracy 0.742`, `3.9M params`."""
    order = [name for name in _SHOWN if name in metrics]
    order += [name for name in metrics if name not in _SHOWN and name != "flops"]
    return [_described(name, metrics[name], device) for name in order]


def _described(name: str, value: float, device: str) -> str:
    if name == "latency":
        return f"latency {value:.3g} ms" + (f" on {device}" if device else "")
    if name in ("params", "macs"):
        return f"{scaled(value)} {name}"
    if name in ("peak_memory", "flash"):
        return f"{name} {value / 1000:.4g} kB"
    return f"{name} {value:.4g}"


def scaled(value: float) -> str:
    """3.9M for 3,900,000."""
    for unit in ("", "k", "M"):
        if value < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}G"


def _table(space: Space, front: Sequence[Trial]) -> str:
    names = list(dict.fromkeys(name for trial in front for name in trial.metrics))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "name", *names, "parent", "origin", "digest"])
    for trial in front:
        values = [trial.metrics.get(name, "") for name in names]
        parent = "" if trial.parent is None else trial.parent
        writer.writerow([trial.id, name_of(space, trial), *values, parent, trial.origin, trial.digest])
    return text.getvalue()
