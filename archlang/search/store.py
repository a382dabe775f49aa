"""The run's database: SQLite in WAL mode, one writer, any number of readers.

Every statement is committed on its own, so that a process that is killed leaves all that was finished; trials that are
known by their costs alone are committed together, some hundredths of a second of them. There is no state of a
generator to keep: trial i draws its numbers from the run's seed and i alone.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from archlang.errors import ArchError, OutsideError, fail
from archlang.search.trial import Outcome, Status, Trial

VERSION = 2
"""Of the tables. A database of another version is refused."""

BATCH_SECS = 0.02
"""How long trials that are committed together may wait. A commit takes longer than a candidate's costs."""

_SCHEMA = """
create table if not exists run (key text primary key, value text not null) without rowid;
create table if not exists candidates (
    id integer primary key,
    picks text not null,
    digest text,
    parent integer references candidates (id),
    origin text not null,
    status text not null check (status in ('running', 'done', 'rejected', 'failed')),
    metrics text not null,
    reason text not null,
    seconds real not null,
    passed_over text not null,
    fidelity real not null,
    unique (digest, fidelity)
);
create table if not exists events (
    id integer primary key, time real not null, kind text not null, text text not null
);
"""

_COLUMNS = "id, picks, digest, parent, origin, status, metrics, reason, seconds, passed_over, fidelity"
_INSERT = f"insert into candidates ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Store:
    """A run's database. Open it with `with`.

    durable: what was finished survives a power cut too, not only the end of the process; a few milliseconds each time.
    """

    def __init__(self, path: Path, durable: bool = False) -> None:
        """Opens or makes the file. Raises ArchError where it is no database of a run, OutsideError where it cannot be
        written; so does the end of `with` where the database was damaged, or the disk full."""
        self.path = path
        self._waiting: list[tuple[Any, ...]] = []
        self._since = 0.0
        self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            self._check_version()
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
            self._connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise _told(path, error) from error

    @classmethod
    def reading(cls, path: Path) -> Store:
        """What the database holds now, in memory: another process may be writing it, or have died while it did.

        Raises ArchError where it is no database of a run.
        """
        store = cls(Path(":memory:"))
        store.path = path
        try:
            _copy(path, store._connection)
            store._check_version()
        except sqlite3.DatabaseError as error:
            store._connection.close()
            raise _told(path, error) from error
        return store

    def _check_version(self) -> None:
        (version,) = self._connection.execute("pragma user_version").fetchone()
        (tables,) = self._connection.execute("select count(*) from sqlite_master").fetchone()
        if tables and version != VERSION:
            self._connection.close()
            raise fail("E1206", f"{self.path} is a database of another version of archlang, or of another program")
        self._connection.execute(f"pragma user_version = {VERSION}")

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.commit()
        except sqlite3.DatabaseError as failed:
            error = failed
        finally:
            self._connection.close()
        if isinstance(error, sqlite3.IntegrityError):
            raise error
        if isinstance(error, sqlite3.DatabaseError):
            raise _told(self.path, error) from error

    def commit(self) -> None:
        """Make what was written visible to others, and safe."""
        rows, self._waiting = self._waiting, []
        if rows:
            self._connection.execute("begin immediate")
            try:
                self._connection.executemany(_INSERT, rows)
            except sqlite3.Error:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Write facts about the run, in place of older ones of the same name."""
        self.commit()
        rows = [(key, json.dumps(value)) for key, value in facts.items()]
        self._connection.execute("begin")
        self._connection.executemany("insert or replace into run values (?, ?)", rows)
        self._connection.execute("commit")

    def facts(self) -> dict[str, Any]:
        rows = self._connection.execute("select key, value from run")
        try:
            return {key: json.loads(value) for key, value in rows}
        except ValueError as error:
            raise fail("E1206", f"{self.path} is damaged: {error}") from error

    def add(self, trial: Trial, together: bool = False) -> None:
        """Write a trial down, begun or finished. sqlite3.IntegrityError where its id is there already, or its digest
        is at this fidelity. together: it may wait to be committed with others."""
        values = (
            trial.id,
            trial.key,
            trial.digest,
            trial.parent,
            trial.origin,
            trial.status,
            _json(trial.metrics),
            trial.reason,
            trial.seconds,
            _json(trial.passed_over) if trial.passed_over else "{}",
            trial.fidelity,
        )
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(values)
        if not (together and time.monotonic() - self._since < BATCH_SECS):
            self.commit()

    def finish(self, id: int, outcome: Outcome, seconds: float) -> None:
        """Write down what became of a trial that was begun."""
        self.commit()
        done = self._connection.execute(
            "update candidates set status = ?, metrics = ?, reason = ?, seconds = ? where id = ? and status = ?",
            (outcome.status, _json(outcome.metrics), outcome.reason, seconds, id, Status.RUNNING),
        )
        assert done.rowcount == 1, f"trial {id} is not running"

    def trials(self) -> list[Trial]:
        """All trials, by their number."""
        self.commit()
        rows = self._connection.execute(f"select {_COLUMNS} from candidates order by id")
        try:
            return [_trial(row) for row in rows]
        except ValueError as error:
            raise fail("E1206", f"{self.path} is damaged: {error}") from error

    def log(self, kind: str, text: str) -> None:
        """Write down an event: `started`, `resumed`, `interrupted`, `worker`, `finished`."""
        self.commit()
        self._connection.execute("insert into events (time, kind, text) values (?, ?, ?)", (time.time(), kind, text))

    def events(self) -> list[tuple[str, str]]:
        return list(self._connection.execute("select kind, text from events order by id"))


_OUTSIDE = ("disk I/O error", "disk is full", "readonly", "read-only", "unable to open", "is locked")
"""What SQLite says where the file system is at fault."""


def _told(path: Path, error: sqlite3.DatabaseError) -> ArchError | OutsideError:
    """The error for a user."""
    if any(words in str(error) for words in _OUTSIDE):
        return OutsideError(f"cannot write {path}: {error}; what was written before is kept: go on with --resume")
    return fail("E1206", f"{path} is damaged, or is not the database of a search: {error}")


def _json(numbers: Mapping[str, float]) -> str:
    return json.dumps(numbers if type(numbers) is dict else dict(numbers))


def _trial(row: tuple[Any, ...]) -> Trial:
    id, picks, digest, parent, origin, status, metrics, reason, seconds, passed_over, fidelity = row
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
        fidelity,
    )


def _copy(path: Path, target: sqlite3.Connection) -> None:
    """SQLite makes files beside a database even to read it. Where it may not, a copy is read, with its log."""
    try:
        _backup(path, target)
    except sqlite3.OperationalError:
        with TemporaryDirectory() as folder:
            for file in (path, path.with_name(f"{path.name}-wal")):
                if file.exists():
                    shutil.copy(file, folder)
            _backup(Path(folder, path.name), target)


def _backup(path: Path, target: sqlite3.Connection) -> None:
    source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        source.backup(target)
    finally:
        source.close()
