"""The run's database: SQLite in WAL mode, one writer, any number of readers.

Every statement is committed on its own, so that a process that is killed leaves all that was finished. There is no
state of a generator to keep: trial i draws its numbers from the run's seed and i alone.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from archlang.errors import fail
from archlang.search.trial import Outcome, Status, Trial

_SCHEMA = """
create table if not exists run (key text primary key, value text not null) without rowid;
create table if not exists candidates (
    id integer primary key,
    picks text not null unique,
    digest text unique,
    parent integer references candidates (id),
    origin text not null,
    status text not null check (status in ('running', 'done', 'rejected', 'failed')),
    metrics text not null,
    reason text not null,
    seconds real not null,
    passed_over text not null
);
create table if not exists events (
    id integer primary key, time real not null, kind text not null, text text not null
);
"""

_COLUMNS = "id, picks, digest, parent, origin, status, metrics, reason, seconds, passed_over"


class Store:
    """A run's database. Open it with `with`.

    durable: what was finished survives a power cut too, not only the end of the process; a few milliseconds each time.
    """

    def __init__(self, path: Path, durable: bool = False) -> None:
        """Opens or makes the file. Raises ArchError where it is no database of a run."""
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise fail("E1206", f"{path} is not the database of a search: {error}") from error

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Write facts about the run, in place of older ones of the same name."""
        rows = [(key, json.dumps(value)) for key, value in facts.items()]
        self._connection.execute("begin")
        self._connection.executemany("insert or replace into run values (?, ?)", rows)
        self._connection.execute("commit")

    def facts(self) -> dict[str, Any]:
        return {key: json.loads(value) for key, value in self._connection.execute("select key, value from run")}

    def begin(self, trial: Trial) -> None:
        """Write a trial down. sqlite3.IntegrityError where its id, picks or digest are there already."""
        values = (
            trial.id,
            trial.key,
            trial.digest,
            trial.parent,
            trial.origin,
            trial.status,
            json.dumps(dict(trial.metrics)),
            trial.reason,
            trial.seconds,
            json.dumps(dict(trial.passed_over)),
        )
        self._connection.execute(f"insert into candidates ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def finish(self, id: int, outcome: Outcome, seconds: float) -> None:
        """Write down what became of a trial that was begun."""
        done = self._connection.execute(
            "update candidates set status = ?, metrics = ?, reason = ?, seconds = ? where id = ? and status = ?",
            (outcome.status, json.dumps(dict(outcome.metrics)), outcome.reason, seconds, id, Status.RUNNING),
        )
        assert done.rowcount == 1, f"trial {id} is not running"

    def trials(self) -> list[Trial]:
        """All trials, by their number."""
        rows = self._connection.execute(f"select {_COLUMNS} from candidates order by id")
        return [_trial(row) for row in rows]

    def log(self, kind: str, text: str) -> None:
        """Write down an event: `started`, `resumed`, `interrupted`, `worker`, `finished`."""
        self._connection.execute("insert into events (time, kind, text) values (?, ?, ?)", (time.time(), kind, text))

    def events(self) -> list[tuple[str, str]]:
        return list(self._connection.execute("select kind, text from events order by id"))


def _trial(row: tuple[Any, ...]) -> Trial:
    id, picks, digest, parent, origin, status, metrics, reason, seconds, passed_over = row
    return Trial(
        id,
        json.loads(picks),
        digest,
        parent,
        origin,
        Status(status),
        json.loads(metrics),
        reason,
        seconds,
        json.loads(passed_over),
    )
