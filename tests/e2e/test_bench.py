"""`archlang bench`: what it prints, what it keeps, and what it says of a cache that is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import archlang as run

TEXT = """block Wide(c):
  conv(c, 3) as body

net Two:
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(8, 3, s=2) as stem
  Wide(24) as wide
  gap -> linear(4) as head
"""
QUICK = ("--runs", "20", "--min-secs", "0.05", "--processes", "2", "--reference", "none", "--cache", "kept")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.arch").write_text(TEXT)


def _document(*words: str) -> dict[str, Any]:
    done = run("bench", *words, "--json")
    assert (done.status, done.err) == (0, "")
    found: dict[str, Any] = done.document
    return found


def test_a_profile_by_line_and_block() -> None:
    found = _document("two.arch", "--profile", *QUICK, "--no-cache")
    assert {"name", "ms", "share", "macs", "layer", "file", "line", "block"} <= set(found["ops"][0])
    for parts in (found["ops"], found["lines"], found["blocks"]):
        assert sum(part["share"] for part in parts) == pytest.approx(1)
    assert {part["name"]: part["what"] for part in found["blocks"]}["wide"] == "Wide(24)"
    assert {part["name"]: part["macs"] for part in found["lines"]}["two.arch:2"] == 8 * 24 * 9 * 8 * 8
    assert not Path("kept").exists()


def test_a_profile_in_tables() -> None:
    done = run("bench", "two.arch", "--profile", *QUICK, "--no-cache")
    assert done.status == 0
    assert "two.arch:2" in done.out
    assert "conv(c, 3) as body" in done.out
    assert "Wide(24)" in done.out


def test_a_file_of_ours_is_profiled_by_its_source() -> None:
    assert run("compile", "two.arch", "--to", "tflite", "-o", "two.tflite").status == 0
    found = _document("two.tflite", "--profile", *QUICK, "--no-cache")
    assert {"two.arch:2", "two.arch:7"} <= {part["name"] for part in found["lines"]}
    Path("two.arch").unlink()
    found = _document("two.tflite", "--profile", *QUICK, "--no-cache")
    assert found["lines"] == []
    assert {"stem", "wide"} <= {part["name"] for part in found["blocks"]}


def test_a_known_latency_is_found_again_and_a_damaged_one_is_not_believed() -> None:
    """Noisy results are not kept, so a busy machine gets a few tries."""
    first = run("bench", "two.arch", *QUICK, "--json").document
    for _ in range(5):
        if list(Path("kept").glob("*.json")):
            break
        first = run("bench", "two.arch", *QUICK, "--json").document
    else:
        pytest.skip("the machine was not calm for a moment")
    again = _document("two.arch", *QUICK)
    assert again["cached"]
    assert again["median_ms"] == first["median_ms"]
    (entry,) = Path("kept").glob("*.json")
    damaged = json.loads(entry.read_text())
    damaged["entry"]["result"]["median_ms"] = 1e-9
    entry.write_text(json.dumps(damaged))
    done = run("bench", "two.arch", *QUICK)
    assert "is damaged and is passed over" in done.err
    assert "from the cache" not in done.out


def test_three_runtimes_side_by_side() -> None:
    """Each tells the time of the same lines, with the same MACs."""
    macs = run("cost", "two.arch", "--json").document["macs"]
    found: Any = _document("two.arch", "--runtime", "tflite,onnx,torch", "--profile", *QUICK, "--no-cache")
    assert [each["runtime"].split()[0] for each in found] == ["LiteRT", "ONNX", "PyTorch"]
    for each in found:
        assert sum(part["macs"] for part in each["lines"]) == macs
        assert {part["name"]: part["what"] for part in each["blocks"]}["wide"] == "Wide(24)"
        assert each["median_ms"] > 0
    assert "two.arch as float32 PyTorch, eager, fresh weights" in found[2]["measured"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("two.arch", "--runtime", "caffe"), "tflite, onnx, torch"),
        (("two.arch", "--runtime", "torch", "--quantize", "int8"), "--quantize"),
        (("two.tflite", "--runtime", "torch"), "--runtime"),
    ],
)
def test_a_runtime_that_cannot_be_asked_for(words: tuple[str, ...], said: str) -> None:
    done = run("bench", *words)
    assert done.status == 2
    assert said in done.err
