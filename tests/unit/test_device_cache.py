"""Latencies that are known already: when they are found, when not, and that nothing damaged is believed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import archlang
from archlang.device import BenchResult, transport
from archlang.device.cache import Asked, Cache, Key
from archlang.device.transport import Conditions, Description, OpTime, Sampled, Settings

KEY = Key("a1", "b2", "LiteRT 2.1", "XNNPACK", 1)
ASKED = Asked(50, 1.0, 3, False, "c3")
RESULT: dict[str, Any] = {"median_ms": 1.5, "samples_ms": [1.0, 1.5, 2.0]}


def _cache(folder: Path) -> tuple[Cache, list[str]]:
    notes: list[str] = []
    return Cache(folder, notes.append), notes


def test_what_was_put_there_is_found(tmp_path: Path) -> None:
    cache, notes = _cache(tmp_path / "not" / "yet")
    assert cache.find(KEY, ASKED) is None
    cache.put(KEY, ASKED, RESULT)
    assert cache.find(KEY, ASKED) == RESULT
    assert notes == []


@pytest.mark.parametrize(
    "other",
    [{"model": "a2"}, {"device": "b3"}, {"runtime": "LiteRT 2.2"}, {"delegate": ""}, {"threads": 2}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_key_is_another_latency(tmp_path: Path, other: dict[str, Any]) -> None:
    cache, _ = _cache(tmp_path)
    cache.put(KEY, ASKED, RESULT)
    assert cache.find(replace(KEY, **other), ASKED) is None


@pytest.mark.parametrize(
    ("asked", "enough"),
    [
        ({"runs": 20, "min_secs": 0.1, "processes": 2}, True),
        ({"runs": 51}, False),
        ({"min_secs": 2.0}, False),
        ({"processes": 4}, False),
        ({"profile": True}, False),
        ({"reference": "c4"}, False),
    ],
)
def test_a_result_counts_where_at_least_as_much_was_measured(
    tmp_path: Path, asked: dict[str, Any], enough: bool
) -> None:
    cache, notes = _cache(tmp_path)
    cache.put(KEY, ASKED, RESULT)
    assert (cache.find(KEY, replace(ASKED, **asked)) is not None) == enough
    assert notes == []


def _damage(text: str) -> dict[str, bytes]:
    other = json.loads(text)
    other["entry"]["result"]["median_ms"] = 0.5
    return {
        "empty": b"",
        "cut off": text.encode()[: len(text) // 2],
        "no JSON": b"\x00\x01 not JSON",
        "no text": b"\xff\xfe\xff",
        "another document": b"[1, 2]",
        "without fields": b'{"sha256": "", "entry": {}}',
        "a changed figure": json.dumps(other).encode(),
    }


@pytest.mark.parametrize("how", _damage('{"entry": {"result": {}}}'))
def test_a_damaged_entry_is_passed_over_with_a_note(tmp_path: Path, how: str) -> None:
    cache, notes = _cache(tmp_path)
    cache.put(KEY, ASKED, RESULT)
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(_damage(path.read_text())[how])
    assert cache.find(KEY, ASKED) is None
    assert len(notes) == 1
    assert str(path) in notes[0]
    cache.put(KEY, ASKED, RESULT)
    assert cache.find(KEY, ASKED) == RESULT


def test_a_folder_that_cannot_be_written_is_noted_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache, notes = _cache(tmp_path / "file" / "below")
    cache.put(KEY, ASKED, RESULT)
    assert len(notes) == 1


WRITER = """
import sys
from pathlib import Path
from archlang.device.cache import Asked, Cache, Key
key, asked = Key("a1", "b2", "LiteRT 2.1", "XNNPACK", 1), Asked(50, 1.0, 3, False, "c3")
for _ in range(150):
    result = {"writer": sys.argv[2], "samples": [1.5] * 2000}
    Cache(Path(sys.argv[1]), lambda text: sys.exit(text)).put(key, asked, result)
"""


def test_several_processes_may_write_the_same_entry(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in ("one", "two")]
    cache, notes = _cache(tmp_path)
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = cache.find(KEY, ASKED)
        if found is not None:
            assert found["samples"] == [1.5] * 2000
            seen.add(found["writer"])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert notes == []
    assert seen <= {"one", "two"}
    assert len(list(tmp_path.iterdir())) == 1


# bench with a cache, on a device that counts its runs.


class Board:
    """A device that is always as fast, or as noisy. Runs of a single round tell which runtime there is."""

    def __init__(self) -> None:
        self.fingerprint, self.runtime = "board-1", "fake 1.0"
        self.samples: tuple[float, ...] = (1.0, 1.01, 0.99, 1.0)
        self.measurements = 0

    def run(self, model: Path, settings: Settings) -> Sampled:
        self.measurements += settings.runs > 1 and not model.name.startswith("reference")
        ops = (OpTime("0", "CONV_2D", 1.0, 1.0),) if settings.profile else None
        return Sampled(self.runtime, self.samples, 1, ops)

    def describe(self) -> Description:
        return Description(self.fingerprint, "board", "Linux", 4, Conditions())

    def close(self) -> None:
        pass


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board()
    monkeypatch.setattr(transport, "get", lambda name: made)
    return made


def _bench(folder: Path, content: bytes = b"an onnx file", **options: Any) -> BenchResult:
    return archlang.bench(content, compare=None, runs=6, min_secs=0.0, cache=Cache(folder), **options)


def test_what_is_known_is_not_measured_again(board: Board, tmp_path: Path) -> None:
    first = _bench(tmp_path)
    assert (board.measurements, first.cached) == (3, "")
    again = _bench(tmp_path)
    assert board.measurements == 3
    assert again.cached.startswith("20")
    assert replace(again, cached="") == first
    assert "measured 20" in str(again)


def test_what_a_latency_depends_on_is_measured_anew(board: Board, tmp_path: Path) -> None:
    _bench(tmp_path)
    _bench(tmp_path, b"another onnx file")
    _bench(tmp_path, threads=2)
    board.runtime = "fake 1.1"
    _bench(tmp_path)
    board.fingerprint = "board-2"
    _bench(tmp_path)
    assert board.measurements == 5 * 3
    assert len(list(tmp_path.iterdir())) == 5


def test_a_noisy_result_is_not_kept(board: Board, tmp_path: Path) -> None:
    board.samples = (1.0, 1.3, 1.2, 1.0, 1.05)
    assert _bench(tmp_path).noisy
    assert _bench(tmp_path).cached == ""
    assert list(tmp_path.iterdir()) == []


def test_a_profile_is_kept_with_it_and_shown_where_it_is_asked_for(board: Board, tmp_path: Path) -> None:
    _bench(tmp_path)
    assert _bench(tmp_path, profile=True).cached == ""
    found = _bench(tmp_path, profile=True)
    assert found.cached
    assert found.ops == (OpTime("0", "CONV_2D", 1.0, 1.0),)
    assert _bench(tmp_path).ops is None


def test_without_a_cache_nothing_is_looked_up(board: Board, tmp_path: Path) -> None:
    for _ in range(2):
        archlang.bench(b"an onnx file", compare=None, runs=6, min_secs=0.0)
    assert board.measurements == 6


def test_an_entry_of_another_release_is_measured_anew(board: Board, tmp_path: Path) -> None:
    _bench(tmp_path)
    older = Cache(tmp_path)
    (path,) = tmp_path.glob("*.json")
    entry = json.loads(path.read_text())["entry"]
    del entry["result"]["processes"]
    older.put(Key(**entry["key"]), Asked(**entry["asked"]), entry["result"])
    assert _bench(tmp_path).cached == ""
