"""What a table says: a benchmark whose candidates were all evaluated before."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from archlang.errors import fail, nearest
from archlang.search.diagram import AMOUNTS
from archlang.search.evaluators.protocol import Evaluate
from archlang.search.evaluators.setting import Setting
from archlang.search.trial import Candidate, Metrics, Picks

_PLACE = re.compile(r"\{(\d+)\}")

Row = Mapping[str, float]


class Decided(Protocol):
    """A space whose candidates are decided piece by piece."""

    def taken(self, picks: Picks) -> list[tuple[int, str]]:
        """What each decision takes, in order: the alternative's number, and what it is as text."""
        ...


@dataclass(frozen=True)
class TableEvaluator:
    """Looks a candidate up in a CSV file, which may be compressed (`.gz`); the file's columns of numbers are metrics.

    pattern: the row's key, with `{1}` for what the first decision takes, `{2}` for the second, in the order in which
    they are met. key: the column that holds the keys. words: what the alternatives are called there, in their order;
    none: as they are written in the source. renamed: metric -> the column that it is read from.
    """

    file: Path
    space: Decided
    key: str
    pattern: str
    words: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    name = "table"
    isolated = False
    instant = True

    @classmethod
    def of(
        cls,
        setting: Setting,
        *,
        file: str,
        pattern: str,
        key: str | None = None,
        words: str = "",
        accuracy: str | None = None,
        latency: str | None = None,
    ) -> TableEvaluator:
        """file, pattern, key, words: see above; without `key` it is the first column, `words` are separated by spaces.
        accuracy, latency: the columns that these metrics are read from.

        Raises ArchError E1215 where the file is no such table.
        """
        if not hasattr(setting.space, "taken"):
            raise fail("E1215", "a table tells of the candidates of a net with choices in it")
        path = Path(file).expanduser()
        given = {"accuracy": accuracy, "latency": latency}
        renamed = tuple((metric, column) for metric, column in given.items() if column is not None)
        found = cls(path, setting.space, key or _header(path)[0], pattern, tuple(words.split()), renamed)
        found._check()
        return found

    def identity(self) -> dict[str, object]:
        content = hashlib.sha256(self.file.read_bytes()).hexdigest()
        rest = {"key": self.key, "pattern": self.pattern, "words": self.words, "renamed": self.renamed}
        return {"name": self.name, "table": content, **rest}

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*AMOUNTS, *self._columns)

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        """The metrics of the table: those of its columns that hold numbers alone."""
        rows = list(self._rows.values())
        return tuple(name for name in rows[0] if all(name in row for row in rows)) if rows else ()

    @cached_property
    def _rows(self) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for line, row in enumerate(_read(self.file), 2):
            key = row[self.key]
            if key in found:
                raise fail("E1215", f"line {line} of {self.file} has the key `{key}` a second time")
            numbers = {name: number for name, text in row.items() if (number := _number(text)) is not None}
            found[key] = {**numbers, **{to: numbers[column] for to, column in self.renamed if column in numbers}}
        return found

    def _check(self) -> None:
        columns = _header(self.file)
        for column in (self.key, *(column for _, column in self.renamed)):
            if column not in columns:
                raise fail("E1215", f"{self.file} has no column `{column}`", help=nearest(column, columns))
        if not _PLACE.search(self.pattern):
            raise fail("E1215", f"`{self.pattern}` names no decision", help="write {1} for the first one, {2}, ...")
        for metric, column in self.renamed:
            if metric not in self._columns:
                raise fail("E1215", f"the column `{column}` of {self.file} does not hold numbers in all rows")

    def row(self, picks: Picks) -> Row:
        """What the table says of a candidate. Raises ArchError E1215 where it says nothing."""
        key = self.key_of(picks)
        if key not in self._rows:
            raise fail("E1215", f"{self.file.name} has no row `{key}`", help=nearest(key, self._rows))
        return self._rows[key]

    def key_of(self, picks: Picks) -> str:
        taken = self.space.taken(picks)

        def word(match: re.Match[str]) -> str:
            place = int(match[1])
            if not 1 <= place <= len(taken):
                raise fail("E1215", f"`{self.pattern}` names decision {place} of a candidate that has {len(taken)}")
            index, text = taken[place - 1]
            if not self.words:
                return text
            if index >= len(self.words):
                raise fail("E1215", f"`words` has {len(self.words)} of them, and none for alternative {index + 1}")
            return self.words[index]

        return _PLACE.sub(word, self.pattern)

    def prepare(self) -> Evaluate:
        return self._evaluate

    def _evaluate(self, candidate: Candidate) -> Iterator[Metrics]:
        yield {**candidate.amounts, **self.row(candidate.picks)}


def _opened(path: Path) -> Any:
    return gzip.open(path, "rt", newline="") if path.suffix == ".gz" else open(path, newline="")


def _read(path: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = _with(
        path, lambda file: [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(file)]
    )
    return rows


def _header(path: Path) -> Sequence[str]:
    columns: Sequence[str] = _with(path, lambda file: next(csv.reader(file), []))
    if not columns:
        raise fail("E1215", f"{path} is empty", help="a CSV file with a line of column names")
    return columns


def _with(path: Path, read: Callable[[Any], Any]) -> Any:
    """What `read` makes of the file. Raises ArchError E1215 where it cannot be read."""
    try:
        with _opened(path) as file:
            return read(file)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise fail("E1215", f"cannot read the table {path}: {error}") from error


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
