"""The trials as the page takes them: column by column, texts that recur kept once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from archlang.report.run import Run
from archlang.search.extent import alternative
from archlang.search.objective import METRICS
from archlang.search.space import Space
from archlang.search.trial import Status, Trial

STATUSES = tuple(Status)

_FIGURES = 6
"""Of a metric."""


class _Texts:
    """Texts by number."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.known.setdefault(text, len(self.known))


def columns(run: Run) -> dict[str, Any]:
    """A list for every field, as long as there are trials; `origin` and `reason` are numbers of `texts`."""
    trials, texts = run.trials, _Texts()
    found = {
        "id": [trial.id for trial in trials],
        "parent": [trial.parent for trial in trials],
        "status": [STATUSES.index(trial.status) for trial in trials],
        "origin": [texts.number(trial.origin) for trial in trials],
        "reason": [texts.number(trial.reason) for trial in trials],
        "seconds": [_number(trial.seconds) for trial in trials],
        "fidelity": [_number(trial.fidelity) for trial in trials],
        "metrics": {name: [_number(trial.metrics.get(name)) for trial in trials] for name in _metrics(trials)},
        "reward": _rewards(run),
    }
    return {**found, "texts": list(texts.known)}


def _metrics(trials: Sequence[Trial]) -> list[str]:
    """All that is known of any trial, in the usual order, what an evaluator has added last."""
    found = {name: None for trial in trials for name in trial.metrics}
    return [*(name for name in METRICS if name in found), *(name for name in found if name not in METRICS)]


def _rewards(run: Run) -> list[float | None] | None:
    """What the search made large, where it was one number."""
    if run.objective.reward is None:
        return None
    done = run.done
    rewards = run.objective.fitness([trial.metrics for trial in done])
    known = {trial.id: _number(reward) for trial, reward in zip(done, rewards, strict=True)}
    return [known.get(trial.id) for trial in run.trials]


def _number(value: Any) -> float | None:
    """A number as JSON can hold it; None for what is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.{_FIGURES}g}")


def decisions(run: Run) -> list[dict[str, Any]]:
    """The decisions of the trials in the order of the source: what each is called, its alternatives, and which one each
    trial has taken, None where the decision did not arise."""
    trials = run.trials
    keys = {key: None for trial in trials for key, pick in trial.picks.items() if isinstance(pick, int)}
    known = _known(run.space, trials, keys) if isinstance(run.space, Space) else {}
    labels = Counter(label for label, _ in known.values())
    return [
        {
            "key": key,
            "label": _label(key, known[key][0], labels) if key in known else key,
            "values": known[key][1] if key in known else _numbered(key, trials),
            "picks": [trial.picks.get(key) for trial in trials],
        }
        for key in sorted(keys, key=_place)
    ]


def _known(space: Space, trials: Sequence[Trial], keys: Iterable[str]) -> dict[str, tuple[str, list[str]]]:
    """The names of decisions and of their alternatives. A space knows a decision once a candidate has met it."""
    for trial in trials:
        if any(key not in space.memo.decisions for key in trial.picks):
            space.canonical(trial.picks)
    met = {key: space.memo.decisions[key] for key in keys if key in space.memo.decisions}
    return {
        key: (decision.label.replace("`", ""), [alternative(decision, i) for i in range(decision.count)])
        for key, decision in met.items()
    }


def _label(key: str, label: str, labels: Mapping[str, int]) -> str:
    """The name, with the place in the source where several decisions have the same."""
    return label if labels[label] == 1 else f"{label} ({key})"


def _numbered(key: str, trials: Sequence[Trial]) -> list[str]:
    most = max(pick for trial in trials if isinstance(pick := trial.picks.get(key), int))
    return [str(i) for i in range(min(most, 99) + 1)]


def _place(key: str) -> tuple[Any, ...]:
    """Keys are places in the source, `21:12`, with `>` and `#` for those within others: numbers by their size."""
    parts = key.replace(">", ":").replace("#", ":").split(":")
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def passed_over(trials: Sequence[Trial]) -> list[tuple[str, int]]:
    """Why proposals were dropped before they became trials, and how many, most first."""
    total: Counter[str] = Counter()
    for trial in trials:
        total.update(trial.passed_over)
    return total.most_common()


def ended_early(trials: Sequence[Trial], status: Status) -> list[tuple[str, list[int]]]:
    """The reasons of trials that failed or were rejected, each with the trials, most first."""
    groups: dict[str, list[int]] = {}
    for trial in trials:
        if trial.status is status:
            groups.setdefault(_reason(trial, status), []).append(trial.id)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _reason(trial: Trial, status: Status) -> str:
    """`params is 12000, not params <= 9000` counts as `params <= 9000`: the figures are in the table."""
    constraint = trial.reason.partition(", not ")[2] if status is Status.REJECTED else ""
    return constraint or trial.reason or "no reason is known"


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the run was, in words: name and text."""
    evaluator = values.get("evaluator", {})
    settings = [f"{key} {value}" for key, value in evaluator.items() if key != "name" and value is not None]
    found = {
        "strategy": values.get("strategy"),
        "evaluator": " · ".join([str(evaluator.get("name", "")), *settings]),
        "seed": values.get("seed"),
        "device": values.get("device"),
        "workers": values.get("workers"),
    }
    return [(name, str(value)) for name, value in found.items() if value not in (None, "")]
