"""Ways to train a supernet, given about the same time: which ranks best, and what do those that settle find?

    python -m benchmarks.supernet_methods [--folder demo/supernet] [--quick]

The space, the images, and the networks trained alone are those of `benchmarks.supernet`, and its folder is gone on
with. Each method's epochs are such that it takes as long as its 60 epochs of the sandwich rule. Told are, with
recalibrated BatchNorms on the test images: Kendall's tau with the networks trained alone, and the mean accuracy of
these networks as they are cut; and of the network that a method settles on the accuracy alone, its MACs, and how many
of the random networks are worse.

What is finished is in the folder: the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from archlang.files import write_whole
from archlang.supernet.checkpoint import load
from archlang.supernet.judge import Judge
from archlang.supernet.net import build
from archlang.supernet.train import method
from archlang.supernet.train import train as train_supernet
from archlang.train import Recipe
from benchmarks.experiment import parser, percent, start
from benchmarks.supernet import QUICK, Alone, Clock, Effort, Tau, all_alone, alone_kept, data, sampled, space, tau_of

EPOCHS: Mapping[str, int] = {
    "sandwich": 60,
    "single": 240,
    "shrinking": 130,
    "enas(updates=10)": 50,
    "darts": 70,
    "darts(order=2)": 24,
}
"""Method -> how many take some 300 s of CPU."""


@dataclass(frozen=True)
class Outcome:
    """What a method came to. cut: the mean accuracy of the random networks with the supernet's weights. found: the
    network that it settled on, trained alone. worse: the share of the random networks below it."""

    method: str
    epochs: int
    seconds: float
    tau: Tau
    cut: float
    found: Alone | None = None
    worse: float | None = None


def outcome(folder: Path, text: str, epochs: int, nets: list[list[Alone]]) -> Outcome:
    name = "".join(letter if letter.isalnum() else "-" for letter in text).strip("-")
    file, notes = folder / "methods" / f"{name}.safetensors", folder / "methods" / f"{name}.json"
    settled = folder / "methods" / f"{name}-found.json"
    if not file.exists():
        print(f"{text}: {epochs} epochs", flush=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        net, clock = build(space()), Clock(notes)
        recipe = Recipe(epochs=epochs, batch_size=64, lr=0.02)
        checkpoint = file.with_suffix(".checkpoint")
        trained = train_supernet(net, data().held_out(), recipe, method(text), clock.show, checkpoint)
        write_whole(settled, json.dumps(trained.found))
        net.save(file)
    judge = Judge(load(file, space()), replace(data().held_out(), x_test=data().x_test, y_test=data().y_test))
    true = np.array([np.mean([each.test for each in seeds]) for seeds in nets])
    scores = np.array([judge.accuracy(picks) for picks in sampled(len(nets))])
    found = Outcome(
        text, epochs, json.loads(notes.read_text())["cpu"], tau_of(text, scores, true), float(scores.mean())
    )
    picks = json.loads(settled.read_text())
    if picks is None:
        return found
    alone = alone_kept(folder, f"found-{name}", space().graph(picks), 0)
    return replace(found, found=alone, worse=float((true < alone.test).mean()))


def main() -> None:
    import torch

    torch.set_num_threads(1)
    wanted = parser("supernet_methods", __doc__, "three networks, few epochs")
    wanted.set_defaults(folder=Path("demo/supernet"))
    arguments = wanted.parse_args()
    effort = QUICK if arguments.quick else Effort()
    nets = all_alone(arguments.folder, effort)
    outcomes = []
    for text, epochs in EPOCHS.items():
        outcomes.append(outcome(arguments.folder, text, max(8, epochs // 30) if arguments.quick else epochs, nets))
        write_whole(arguments.folder / "methods.json", json.dumps([asdict(each) for each in outcomes], indent=2) + "\n")
    print(f"\n{'method':18} epochs  CPU s    tau  95 % interval   as cut   settled on: alone, worse at random, MACs")
    for each in outcomes:
        tau = f"{each.tau.tau:6.2f}  {each.tau.low:5.2f} to {each.tau.high:.2f}"
        line = f"{each.method:18} {each.epochs:6} {each.seconds:6.0f} {tau:>22}  {percent(each.cut):>7}"
        if each.found is not None and each.worse is not None:
            line += f"   {percent(each.found.test)}, {percent(each.worse)}, {each.found.macs:,}"
        print(line)


if __name__ == "__main__":
    start(main)
