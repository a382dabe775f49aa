"""`archlang supernet`: train, cut, info, predictor, and the searches that use what they write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

import archlang as library
from archlang import weights
from archlang.data import load_data
from archlang.errors import ArchError
from archlang.search.space import Space
from archlang.supernet.checkpoint import load
from archlang.supernet.net import build
from archlang.supernet.predictor import Sample, agreement, fitted
from archlang.supernet.predictor import load as load_predictor
from tests.e2e.program import archlang
from tests.unit.test_supernet_train import SPACE

SEARCH = SPACE + "\nsearch tiny over Tiny:\n  maximize accuracy\n  minimize macs\n  method nsga2(population=4)\n"
TRAIN = ("supernet", "train", "tiny.arch", "--data", "few:data", "--batch-size", "32", "--device", "cpu")

DATA = """
from dataclasses import replace
import numpy as np
from archlang.data import load_data

def data():
    found = load_data("digits")
    return replace(found, x_train=found.x_train[:120], y_train=found.y_train[:120])

def even():
    # ten images of each digit, of which eight are trained on: no batch of 32 has an odd number of them
    found = load_data("digits")
    some = np.concatenate([np.flatnonzero(found.y_train == label)[:10] for label in range(10)])
    return replace(found, x_train=found.x_train[some], y_train=found.y_train[some])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tiny.arch").write_text(SEARCH)
    (tmp_path / "few.py").write_text(DATA)
    return tmp_path


@pytest.fixture
def trained(folder: Path) -> Path:
    done = archlang(*TRAIN, "--epochs", "1", "-o", "net.safetensors", "--json")
    assert done.status == 0, done.err
    return folder / "net.safetensors"


def space() -> Space:
    return Space(library.load("tiny.arch").value)


def test_train_writes_a_supernet_and_tells_of_its_ends(folder: Path) -> None:
    done = archlang(
        *TRAIN, "--epochs", "2", "--method", "single", "--progress", "lines", "-o", "s.safetensors", "--json"
    )
    assert done.status == 0, done.err
    document = done.document
    assert (document["epochs"], document["train_images"], document["held_images"]) == (2, 95, 25)
    net = load(folder / "s.safetensors", space())
    for name, picks in (("largest", net.largest()), ("smallest", net.smallest())):
        amounts = net.space.sketch(picks).amounts
        assert (document[name]["macs"], document[name]["params"]) == (amounts["macs"], amounts["params"])
        assert 0 <= document[name]["accuracy"] <= 1
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["epoch 1 of 2 (single)", "epoch 2 of 2 (single)"]
    assert not list(folder.glob("*.checkpoint"))


def test_a_training_starts_from_a_supernet(trained: Path) -> None:
    done = archlang(*TRAIN, "--epochs", "1", "--lr", "1e-9", "--weights", trained, "-o", "more.safetensors")
    assert done.status == 0, done.err
    before, after = weights.load(trained), weights.load(Path("more.safetensors"))
    name = "classifier.weight"
    np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    assert np.abs(after[name] - weights.fresh(build(space()).union.params, 0)[name]).max() > 1e-4


def test_darts_tells_what_it_found(folder: Path) -> None:
    done = archlang(*TRAIN, "--epochs", "1", "--method", "darts", "-o", "d.safetensors", "--json")
    assert done.status == 0, done.err
    found = done.document["found"]["picks"]
    Path("found.json").write_text(json.dumps(found))
    cut = archlang("supernet", "cut", "d.safetensors", "tiny.arch", "--picks", "found.json", "-o", "f.arch", "--json")
    assert (cut.status, cut.document["picks"]) == (0, found)


def test_what_is_cut_computes_what_the_supernet_does(trained: Path) -> None:
    arguments = ("--largest", "--pick", "n in row 1=1", "--data", "few:data", "-o", "small.arch")
    done = archlang("supernet", "cut", trained, "tiny.arch", *arguments, "--json")
    assert done.status == 0, done.err
    document = done.document
    net = library.load("small.arch")
    total = net.cost().total
    assert (document["params"], document["macs"]) == (total.params, total.macs)
    assert archlang("weights", "check", "small.safetensors", "small.arch").status == 0
    supernet = load(trained, space())
    supernet.select(document["picks"])
    x = torch.from_numpy(load_data("few:data").x_train[:16])
    module = net.to_torch(weights.load(Path("small.safetensors")))
    supernet.train(), module.train()  # BatchNorms that see a batch do not ask for statistics
    with torch.no_grad():
        torch.testing.assert_close(module(x).flatten(1), supernet(x).flatten(1), rtol=1e-5, atol=1e-5)


def test_a_cut_without_data_says_what_it_lacks(trained: Path) -> None:
    done = archlang("supernet", "cut", trained, "tiny.arch", "--smallest", "-o", "small.arch")
    assert done.status == 0
    assert "--data" in done.err


def test_a_sub_network_of_a_search_is_cut(trained: Path) -> None:
    search = ("search", "tiny.arch", "--data", "few:data", "--trials", "4", "--run", "run")
    done = archlang(*search, "--evaluator", f"supernet(file={trained.name})", "--json")
    assert done.status == 0, done.err
    best = done.document["best"]
    trial = f"run:{best['trial']}"
    cut = archlang("supernet", "cut", trained, "tiny.arch", "--trial", trial, "-o", "best.arch", "--json")
    assert (cut.status, cut.document["picks"]) == (0, best["picks"]), cut.err
    assert cut.document["macs"] == best["metrics"]["macs"]


def test_info_lists_the_decisions(folder: Path) -> None:
    found = archlang("supernet", "info", "tiny.arch", "--json").document
    kinds = {each["label"].replace("`", ""): (each["kind"], each["alternatives"]) for each in found["decisions"]}
    assert kinds["n in row 1"] == ("depth", ["1", "2", "3"])
    assert {kind for kind, _ in kinds.values()} == {"width", "kernel", "depth", "operator"}
    assert found["params"] == found["largest"]["params"]
    assert found["smallest"]["macs"] < found["largest"]["macs"]
    assert "n in row 1" in archlang("supernet", "info", "tiny.arch").out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--pick", "k=5"], "E1325", "no decision `k`"),
        (["--largest", "--pick", "n in row 1=7"], "E1325", "no alternative `7`"),
        (["--pick", "n in row 1"], "E1325", "DECISION=ALTERNATIVE"),
        (["--pick", "n in row 1=#1"], "E1306", "missing"),
        (["--picks", "{"], "E1325", "no JSON"),
        (["--picks", "none.json"], "E1325", "no file"),
        (["--picks", '{"1:1": 0}'], "E1307", "1:1"),
        (["--picks", '{"1:1": "x"}'], "E1325", "whole numbers"),
        (["--trial", "run:1"], "E1325", "no trial of a search"),
    ],
)
def test_picks_that_cannot_be(trained: Path, arguments: list[str], code: str, words: str) -> None:
    done = archlang("supernet", "cut", trained, "tiny.arch", *arguments, "-o", "small.arch")
    assert done.status == 1
    assert code in done.err, done.err
    assert words in done.err, done.err
    assert not Path("small.arch").exists()


def test_what_is_no_space_or_no_supernet_of_it_is_refused(trained: Path) -> None:
    Path("plain.arch").write_text("net A:\n  input 1x8x8\n  gap -> linear(10)\n")
    assert "E1324" in archlang("supernet", "info", "plain.arch").err
    Path("other.arch").write_text(SPACE.replace("{4, 6}", "{4, 8}"))
    assert "E1308" in archlang("supernet", "info", "other.arch", "--weights", trained).err
    assert "E1309" in archlang("supernet", "info", "tiny.arch", "--weights", "few.py").err
    assert archlang("supernet", "cut", trained, "tiny.arch", "--largest", "--picks", "{}", "-o", "x.arch").status == 2
    assert archlang(*TRAIN, "-o", "net.pt").status == 2


# ---- stopping and going on -------------------------------------------------------------------------------------------


def test_a_stopped_training_is_not_begun_again_by_mistake(folder: Path) -> None:
    Path("net.safetensors.checkpoint").write_bytes(b"kept")
    done = archlang(*TRAIN, "-o", "net.safetensors")
    assert (done.status, "E1326" in done.err) == (1, True)
    assert Path("net.safetensors.checkpoint").read_bytes() == b"kept"


def _running(*more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "archlang", *TRAIN, "--epochs", "8", "--progress", "lines", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGINT"])
def test_a_killed_training_goes_on_to_the_same_end(folder: Path, signal: str) -> None:
    import signal as signals

    whole = _running("-o", "whole.safetensors")
    assert whole.wait() == 0
    killed = _running("-o", "killed.safetensors")
    assert killed.stderr is not None
    while not killed.stderr.readline().startswith("epoch 3"):
        assert killed.poll() is None
    time.sleep(0.05)
    killed.send_signal(getattr(signals, signal))
    _, said = killed.communicate()
    assert not Path("killed.safetensors").exists()
    if signal == "SIGINT":
        assert killed.returncode == 130
        assert said.rstrip().endswith("-o killed.safetensors --resume")
    assert _running("-o", "killed.safetensors", "--resume").wait() == 0
    again, once = weights.load(Path("killed.safetensors")), weights.load(Path("whole.safetensors"))
    assert all(np.array_equal(again[name], once[name]) for name in once)


@pytest.mark.slow
def test_two_processes_train_what_one_does(folder: Path) -> None:
    """Without BatchNorm, whose statistics each process takes of its own images, the sum of two halves is the whole."""
    text = SPACE.replace("norm=bn", "norm=none")
    Path("tiny.arch").write_text(text)
    arguments = [*TRAIN, "--data", "few:even", "--epochs", "2", "--lr", "0.2", "--method", "sandwich(sampled=1)"]
    assert archlang(*arguments, "-o", "one.safetensors").status == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "archlang"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [*launch, *arguments, "-o", "two.safetensors", "--json"], env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert json.loads(done.stdout)["epochs"] == 2  # one of them tells
    one, two = weights.load(Path("one.safetensors")), weights.load(Path("two.safetensors"))
    fresh = weights.fresh(build(space()).union.params, 0)
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-4, atol=1e-5)
    assert np.abs(one["classifier.weight"] - fresh["classifier.weight"]).max() > 1e-3


# ---- the predictor ---------------------------------------------------------------------------------------------------


def made_up(count: int) -> list[Sample]:
    """Accuracies that add up from decisions, two of which also act together, and a little noise."""
    rng, noise = Random(0), np.random.default_rng(0)
    found: list[Sample] = []
    for _ in range(count):
        picks = {f"{i}:1": rng.randrange(3) for i in range(8)}
        score = sum(picks[f"{i}:1"] * (i + 1) for i in range(8)) / 72 + 0.3 * (picks["0:1"] == picks["1:1"])
        found.append((picks, float(0.3 + 0.5 * score + noise.normal(0, 0.005))))
    return found


def test_a_predictor_ranks_what_it_has_not_seen() -> None:
    found = agreement("a space", made_up(120))
    assert found.kendall > 0.85
    assert found.error < 0.02


def test_a_predictor_learns_more_from_more() -> None:
    rest = made_up(400)[200:]
    true = np.array([accuracy for _, accuracy in rest])
    errors = [
        np.abs(fitted("", made_up(count)).accuracies([picks for picks, _ in rest]) - true).mean() for count in (20, 200)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_a_predictor_searches(trained: Path) -> None:
    arguments = ("tiny.arch", "--data", "few:data", "--samples", "20", "-o", "p.json", "--json")
    done = archlang("supernet", "predictor", trained, *arguments)
    assert done.status == 0, done.err
    assert done.document["samples"] == 20
    predictor = load_predictor(Path("p.json"), space().digest)
    search = ("search", "tiny.arch", "--trials", "6", "--run", "run", "--evaluator", "predictor(file=p.json)", "--json")
    found = archlang(*search)
    assert found.status == 0, found.err
    best = found.document["best"]
    expected = predictor.accuracies([best["picks"]])[0]
    assert best["metrics"]["accuracy"] == pytest.approx(expected)


def test_what_is_no_predictor_of_the_space_is_refused(folder: Path) -> None:
    Path("broken.json").write_text('{"space": 1}')
    fitted("another", made_up(12)).save(Path("other.json"))
    for name, words in (
        ("broken.json", "holds no predictor"),
        ("other.json", "another space"),
        ("no.json", "holds no"),
    ):
        done = archlang("search", "tiny.arch", "--evaluator", f"predictor(file={name})", "--trials", "2", "--run", "r")
        assert (done.status, "E1327" in done.err, words in done.err) == (1, True, True), done.err
    with pytest.raises(ArchError, match="too few"):
        fitted("", made_up(5))
