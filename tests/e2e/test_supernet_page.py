"""The page on supernets, tried literally: its file, commands and Python in their order, with shorter trainings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.e2e.program import archlang as run

pytest.importorskip("torch")
pytest.importorskip("sklearn")

PAGE = Path(__file__).parents[2] / "docs" / "supernet.md"
BLOCKS = [
    re.sub(r"^    ", "", block, flags=re.MULTILINE)
    for block in re.findall(r"(?:^    .*\n|(?<=\n)\n(?=    ))+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
]
SHORTER = {
    "--epochs 20": "--epochs 2",
    "--trials 40": "--trials 6",
    "epochs=20": "epochs=1",
}


def block(start: str) -> str:
    """The one that begins so, with less of what takes long."""
    found = next(each for each in BLOCKS if each.lstrip("\n").startswith(start))
    for whole, part in SHORTER.items():
        found = found.replace(whole, part)
    return found


def typed(start: str) -> None:
    for command in block(start).strip().splitlines():
        done = run(*shlex.split(command)[1:])
        assert done.status == 0, (command, done.err)


@pytest.mark.slow
def test_the_page_tried_literally(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("small.arch").write_text(block("choice K"))
    typed("archlang supernet info small.arch")
    pytest.importorskip("ai_edge_litert")
    typed("archlang search small.arch --data digits --evaluator 'supernet(file=small.safetensors)'")
    typed("archlang search small.arch --data digits --evaluator 'supernet(file=small.safetensors, epochs=1)'")
    assert len(list(Path("runs/tuned/weights").iterdir())) >= 6
    done = run("supernet", "cut", "small.safetensors", "small.arch", "--trial", "runs/small:3", "-o", "third.arch")
    assert done.status == 0, done.err
    typed("archlang supernet predictor")
    typed("archlang supernet small.arch --to pytorch")
    exec(block("import archlang"), {})
    assert 0 <= float(capsys.readouterr().out) <= 1
    names: dict[str, object] = {}
    exec(block("import torch"), names)
    assert getattr(names["y"], "shape", None) == (1, 10)


def test_every_command_of_the_page_is_one() -> None:
    """Those with placeholders, too: their words and options are known."""
    commands = [line for each in BLOCKS for line in each.splitlines() if line.startswith("archlang ")]
    assert len(commands) >= 13
    for command in commands:
        words = [word for word in command.split()[1:] if re.fullmatch(r"[a-z]+", word)][:2]
        known = run(*(words if words[0] == "supernet" and len(words) > 1 else words[:1]), "--help")
        assert known.status == 0, command
        for option in re.findall(r"(?<![\w-])--[a-z]+", command):
            assert option in known.out, (command, option)
