"""How a search shows itself: a live view on a terminal, the front at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from archlang.cli.common import console
from archlang.cli.table import Table, show
from archlang.search.winners import described, name_of

if TYPE_CHECKING:
    from rich.console import Console

    from archlang.search.driver import Plan, Progress, SearchResult
    from archlang.search.trial import Trial

_LIVE_ROWS = 10
_SHOWN_ROWS = 30
_COLUMNS = ("accuracy", "accuracy_int8", "latency", "params", "macs", "peak_memory", "flash")
_TITLES = {"latency": "latency ms", "accuracy_int8": "int8 accuracy", "peak_memory": "peak kB", "flash": "flash kB"}
_KILO = ("peak_memory", "flash")


_LINE_SECS = 10.0
_ORIGIN = 100
"""Characters of a story in a table."""


@contextmanager
def live(plan: Plan, style: str = "auto") -> Iterator[Callable[[Progress], None]]:
    """What to call with each progress. It is shown on stderr, in one of the styles of `--progress`."""
    screen = console(stderr=True)
    if style == "auto":
        style = "none" if not screen.is_terminal else "lines" if screen.is_dumb_terminal else "live"
    if style != "live":
        tell = {"lines": headline, "json": progress_json, "none": None}[style]
        yield _Lines(plan, tell) if tell else lambda progress: None
        return
    from rich.live import Live

    with Live(console=screen, refresh_per_second=8, transient=True) as view:
        yield lambda progress: view.update(_drawn(plan, progress, screen))


class _Lines:
    """A line at the beginning, for each new best, every ten seconds, and at the end."""

    def __init__(self, plan: Plan, tell: Callable[[Plan, Progress], str]) -> None:
        self._plan, self._tell = plan, tell
        self._last = -_LINE_SECS
        self._best: int | None = None

    def __call__(self, progress: Progress) -> None:
        best = None if progress.best is None else progress.best.id
        due = time.monotonic() - self._last >= _LINE_SECS
        if due or best != self._best or progress.finished == progress.trials:
            self._last, self._best = time.monotonic(), best
            click.echo(self._tell(self._plan, progress), err=True)


def progress_json(plan: Plan, progress: Progress) -> str:
    """Where the search stands, as one line of JSON."""
    best = progress.best
    return json.dumps(
        {
            "finished": progress.finished,
            "trials": progress.trials,
            "failed": progress.failed,
            "rejected": progress.rejected,
            "running": progress.running,
            "candidates_per_second": progress.rate,
            "seconds": progress.seconds,
            "seconds_left": progress.seconds_left,
            "front": len(progress.front),
            "best": None if best is None else {"trial": best.id, "metrics": dict(best.metrics)},
        }
    )


def _drawn(plan: Plan, progress: Progress, screen: Console) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table as RichTable
    from rich.text import Text

    rows = front_rows(plan, progress.front[:_LIVE_ROWS])
    front = RichTable(title=f"front: {len(progress.front)}", title_justify="left")
    for i, title in enumerate(rows.titles):
        front.add_column(title, justify="right" if rows.numeric(i) else "left")
    for row in rows.cells():
        front.add_row(*(Text(cell) for cell in row))
    view = RichTable.grid()
    view.add_row(Text(headline(plan, progress)))
    view.add_row(ProgressBar(total=progress.trials, completed=progress.finished, width=min(60, screen.width)))
    view.add_row(Text(_best(plan, progress)))
    if progress.last is not None and progress.last.reason:
        view.add_row(Text(f"trial {progress.last.id} {progress.last.status}: {progress.last.reason}"))
    for line in scatter(plan, progress.front, min(60, screen.width - 2)):
        view.add_row(Text(line))
    view.add_row(front if rows.rows else Text("nothing on the front yet"))
    return view


def headline(plan: Plan, progress: Progress) -> str:
    """Counts, speed and the time that is left, on one line."""
    left = progress.seconds_left
    parts = [f"{progress.finished} of {progress.trials} candidates"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [f"{progress.rejected} rejected"] if progress.rejected else []
    parts += [f"{progress.rate:.3g} a second"] if progress.rate else []
    parts += [f"{duration(left)} left"] if left else []
    return f"search in {plan.folder}: " + ", ".join(parts)


SCATTER_ROWS = 8


def scatter(plan: Plan, front: Sequence[Trial], width: int) -> list[str]:
    """The front in the first two objectives, in characters; nothing where there are fewer, or too few points. The first
    objective goes up, the second across."""
    axes = plan.objective.axes[:2]
    if len(axes) < 2 or len(front) < 3:
        return []
    points = [(trial.metrics[axes[1]], trial.metrics[axes[0]]) for trial in front]
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*points, strict=True))
    if left == right or low == high:
        return []
    rows = [[" "] * (width - 2) for _ in range(SCATTER_ROWS)]
    for x, y in points:
        column, row = (x - left) / (right - left) * (width - 3), (high - y) / (high - low) * (SCATTER_ROWS - 1)
        rows[round(row)][round(column)] = "●"
    texts = [f"│{''.join(row).rstrip()}" for row in rows]
    foot = f"{axes[1]} {_amount(axes[1], left)} to {_amount(axes[1], right)}"
    return [f"{axes[0]} {_amount(axes[0], low)} to {_amount(axes[0], high)}", *texts, "└" + "─" * (width - 2), foot]


def _amount(name: str, value: float) -> str:
    return described({name: value}, "")[0].removeprefix(f"{name} ").removesuffix(f" {name}")


def _best(plan: Plan, progress: Progress) -> str:
    if progress.best is None:
        return "the first candidates are being evaluated"
    return f"best: trial {progress.best.id}, " + " | ".join(described(progress.best.metrics, plan.device))


def duration(seconds: float) -> str:
    """`1:02:03`, `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def front_rows(plan: Plan, trials: Sequence[Trial]) -> Table:
    """The trials as a table: name, metrics, story."""
    metrics = [name for name in _COLUMNS if any(name in trial.metrics for trial in trials)]
    titles = ("arch", *(_TITLES.get(name, name) for name in metrics), "origin")
    rows = [
        (name_of(plan.space, trial), *(_cell(name, trial.metrics[name]) for name in metrics), _origin(trial))
        for trial in trials
    ]
    return Table(titles, rows)


def _cell(name: str, value: float) -> float:
    return value / 1000 if name in _KILO else value


def _origin(trial: Trial) -> str:
    text = trial.origin if trial.parent is None else f"{trial.parent}: {trial.origin}"
    return text if len(text) <= _ORIGIN else f"{text[: _ORIGIN - 1]}…"


def show_front(result: SearchResult) -> None:
    """The end of a search on stdout."""
    plan, end = result.plan, result.progress
    click.echo(f"{headline(plan, end)}, {duration(end.seconds)} in all")
    if not end.front:
        click.echo("no candidate came through" + _why(end))
        return
    click.echo(f"{_best(plan, end)}\n")
    show(front_rows(plan, end.front[:_SHOWN_ROWS]))
    more = len(end.front) - _SHOWN_ROWS
    if more > 0:
        click.echo(f"and {more} more")
    click.echo(f"\nthe front as .arch files: {plan.folder / 'front'}")


def _why(end: Progress) -> str:
    return f"; the last one: {end.last.reason}" if end.last is not None and end.last.reason else ""
