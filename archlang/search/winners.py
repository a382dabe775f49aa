"""The front as files: one plain .arch file each; the front and its lineage as tables and as JSON."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archlang.files import write_whole
from archlang.search.bundle import Bundle
from archlang.search.trial import Metrics, Space, Trial


@dataclass(frozen=True)
class Winners:
    """What the front's files tell beside the trials on it.

    trials: all of the run, by number, for how a winner came about. axes: the metrics that the story mentions.
    bundle: the files of the space, for those that a winner imports.
    """

    command: str
    wanted: int
    seed: int
    device: str = ""
    trials: Mapping[int, Trial] = field(default_factory=dict)
    axes: tuple[str, ...] = ()
    bundle: Bundle | None = None

    def header(self, trial: Trial) -> list[str]:
        """The comment lines over a winner: how it was found, what it is worth, how it came about."""
        origin = f"; {_line(trial.origin)} from trial {trial.parent}" if trial.parent is not None else ""
        lines = [
            f"found by: {_line(self.command)}   (trial {trial.id} of {self.wanted}, seed {self.seed}{origin})",
            " | ".join(described(trial.metrics, self.device)),
        ]
        chain = ancestry(self.trials, trial)[::-1]
        told = len(chain) > 1 or trial.origin != SAMPLED
        return lines if not told else [*lines, "how it came about:", *self._story(chain)]

    def _story(self, chain: Sequence[Trial]) -> Iterator[str]:
        """A line for every step; of a long way the beginning and the end."""
        left_out = len(chain) - _MOST_STEPS
        for i, step in enumerate(chain):
            if i == 1 and left_out > 0:
                yield f"  ... {left_out} steps ..."
            if i == 0 or i > left_out:
                known = {name: step.metrics[name] for name in self.axes if name in step.metrics}
                figures = ", ".join(described(known, ""))
                yield f"  trial {step.id}: {_line(step.origin)}" + (f"   ({figures})" if figures else "")


_MOST_STEPS = 20

SAMPLED = "sampled"
"""The origin of a candidate of which there is nothing to tell: every decision was drawn."""


def ancestry(trials: Mapping[int, Trial], trial: Trial) -> list[Trial]:
    """The trial, its parent, its parent's parent and so on to one that was drawn."""
    chain, known = [trial], {trial.id}
    while (parent := trials.get(chain[-1].parent or 0)) is not None and parent.id not in known:
        chain.append(parent)
        known.add(parent.id)
    return chain


def _line(text: str) -> str:
    """On one line: a line break in an argument must not end the comment."""
    return " ".join(text.split())


Written = dict[str, str]
"""The winners that a process has written: name -> digest of the network."""


def write_front(folder: Path, space: Space, front: Sequence[Trial], winners: Winners, written: Written) -> None:
    """Write DIR/front/*.arch, and the front and how it came about as DIR/{front,lineage}.{csv,json}. Winners that are
    no more on the front go. written: those that are there already, which is extended."""
    arches = folder / "front"
    arches.mkdir(exist_ok=True)
    names = {name_of(space, trial): trial for trial in front}
    _write_imports(arches, winners.bundle)
    for name, trial in names.items():
        if name in written:
            continue
        text = space.source(trial.picks, name, winners.header(trial))
        write_whole(arches / f"{name}.arch", _with_imports(text, winners.bundle))
        written[name] = space.graph(trial.picks).digest
    ours = re.compile(re.escape(space.name) + r"_\d+\.arch")
    for path in arches.iterdir():
        if ours.fullmatch(path.name) and path.stem not in names:
            path.unlink()
            written.pop(path.stem, None)
    entries = [entry(folder, space, trial, written) for trial in front]
    _write_tables(folder, "front", _table(space, front, written), entries)
    _write_lineage(folder, space, front, winners)


def _write_tables(folder: Path, name: str, table: str, entries: Sequence[Mapping[str, Any]]) -> None:
    write_whole(folder / f"{name}.csv", table)
    write_whole(folder / f"{name}.json", json.dumps(entries, indent=2) + "\n")


def _write_lineage(folder: Path, space: Space, front: Sequence[Trial], winners: Winners) -> None:
    """The front and all that it came from, in the order in which they were tried."""
    on = {trial.id for trial in front}
    found = {step.id: step for trial in front for step in ancestry(winners.trials, trial)}
    steps = [found[id] for id in sorted(found)]
    entries = [
        {
            "trial": step.id,
            "parent": step.parent,
            "origin": step.origin,
            "front": step.id in on,
            "status": step.status,
            "fidelity": step.fidelity,
            "metrics": dict(step.metrics),
            "digest": step.digest,
            "picks": dict(step.picks),
        }
        for step in steps
    ]
    _write_tables(folder, "lineage", _table(space, steps, {}, on), entries)


IMPORTS = "imports"
"""The folder beside the winners with the files that they import."""

_IMPORT = re.compile(r'^from "([^"\n]+)" import\b', re.MULTILINE)


def _write_imports(arches: Path, bundle: Bundle | None) -> None:
    """What the file of the space imports, in the folders that it lies in, so that these files find each other."""
    for name, text in (bundle.imported if bundle else {}).items():
        path = arches / IMPORTS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_whole(path, text)


def _with_imports(text: str, bundle: Bundle | None) -> str:
    """The source with its imports of files taken from `imports/`."""
    if bundle is None:
        return text
    known, beside = bundle.imported, posixpath.dirname(bundle.main)

    def moved(found: re.Match[str]) -> str:
        name = posixpath.normpath(posixpath.join(beside, found[1]))
        return f'from "{IMPORTS}/{name}" import' if name in known else found[0]

    return _IMPORT.sub(moved, text)


def name_of(space: Space, trial: Trial) -> str:
    return f"{space.name}_{trial.id:03d}"


def entry(folder: Path, space: Space, trial: Trial, written: Written) -> dict[str, Any]:
    """A member of the front for JSON: the file, the metrics, and where it came from."""
    name = name_of(space, trial)
    return {
        "arch": str(folder / "front" / f"{name}.arch"),
        "trial": trial.id,
        "metrics": dict(trial.metrics),
        "parent": trial.parent,
        "origin": trial.origin,
        "digest": written[name],
        "picks": trial.picks,
    }


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


def _table(space: Space, trials: Sequence[Trial], written: Written, on: Container[int] | None = None) -> str:
    """A line for each trial. on: those of them that are on the front, which gets a column of its own. Digests are those
    of the graphs, but in the lineage, where most were never built: there they are those of the database."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.metrics))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    extra = [] if on is None else ["front"]
    writer.writerow(["trial", "name", *names, "parent", "origin", "digest", *extra])
    for trial in trials:
        values = [trial.metrics.get(name, "") for name in names]
        parent = "" if trial.parent is None else trial.parent
        place = [] if on is None else ["yes" if trial.id in on else ""]
        name = name_of(space, trial)
        digest = written[name] if on is None else trial.digest
        writer.writerow([trial.id, name, *values, parent, trial.origin, digest, *place])
    return text.getvalue()
