"""A space made by hand: stages of convolutions with kernels, widths and repeats to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from archlang.errors import fail
from archlang.ir import Builder, verify
from archlang.ir.graph import Graph
from archlang.ops.activation import Relu
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.norm import BatchNorm
from archlang.ops.pool import GlobalAvgPool
from archlang.ops.shape import Flatten
from archlang.search.trial import Picks, Sketch, sketch_of

CHOICES: dict[str, tuple[int, ...]] = {"k": (1, 3, 5), "c": (4, 8, 12, 16), "n": (0, 1, 2)}


@dataclass(frozen=True)
class FakeSpace:
    """Kernel and width of a stage without layers are inactive. bad: a width that does not fit."""

    stages: int = 3
    bad: int = 0
    classes: int = 10
    name: str = "Fake"

    @property
    def digest(self) -> str:
        return f"fake-{self.stages}-{self.bad}-{self.classes}"

    @property
    def keys(self) -> list[str]:
        return [f"{choice}{stage}" for stage in range(self.stages) for choice in CHOICES]

    def sample(self, rng: Random) -> Picks:
        return {key: rng.randrange(len(CHOICES[key[0]])) for key in self.keys}

    def mutate(self, picks: Picks, rng: Random) -> tuple[Picks, str]:
        key = rng.choice(sorted(picks))
        values = CHOICES[key[0]]
        new = rng.choice([i for i in range(len(values)) if i != picks[key]])
        story = f"{key[0]}: {values[picks[key]]} -> {values[new]} (stage {key[1:]})"
        return {**dict.fromkeys(self.keys, 0), **picks, key: new}, story

    def crossover(self, a: Picks, b: Picks, rng: Random) -> Picks:
        return {key: rng.choice((a, b)).get(key, 0) for key in self.keys}

    def canonical(self, picks: Picks) -> Picks:
        active = [key for key in self.keys if key[0] == "n" or CHOICES["n"][picks[f"n{key[1:]}"]] > 0]
        return {key: picks[key] for key in sorted(active)}

    def values(self, picks: Picks) -> dict[str, int]:
        return {key: CHOICES[key[0]][index] for key, index in picks.items()}

    def sketch(self, picks: Picks) -> Sketch:
        return sketch_of(picks, self.graph(picks))

    def graph(self, picks: Picks) -> Graph:
        values = self.values(picks)
        b = Builder(self.name)
        x = b.input(1, 8, 8)
        for stage in range(self.stages):
            for _ in range(values[f"n{stage}"]):
                kernel, channels = values[f"k{stage}"], values[f"c{stage}"]
                if channels == self.bad:
                    raise fail("E0312", f"a width of {channels} does not fit")
                pad = kernel // 2
                conv = Conv2d(channels, (kernel, kernel), padding=(pad, pad, pad, pad), bias=False)
                x = b.add(Relu(), b.add(BatchNorm(), b.add(conv, x)))
        b.output(b.add(Linear(self.classes), b.add(Flatten(), b.add(GlobalAvgPool(), x))))
        return verify(b.build())

    def source(self, picks: Picks, name: str, header: list[str]) -> str:
        lines = [f"# {line}" for line in header]
        return "\n".join([*lines, f"net {name}", str(self.values(picks))]) + "\n"
