"""Progressive shrinking (Cai et al., once-for-all, arXiv:1908.09791, section 3.3 and appendix B)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archlang.errors import fail
from archlang.search.strategies.kinds import Nonnegative, Positive
from archlang.supernet.train.drawing import drawn
from archlang.supernet.train.protocol import Batch, Course, Stage
from archlang.supernet.train.run import Run, soft_loss, total

if TYPE_CHECKING:
    import torch

    from archlang.supernet.net import SuperNet

WIDTH = "width"

PARTS: tuple[tuple[str, tuple[str, ...], int, int, float], ...] = (
    ("kernel", ("kernel",), 1, 1, 120.0),
    ("depth", ("depth",), 2, 2, 145.0),
    (WIDTH, ("expansion", "width"), 2, 4, 145.0),
)
"""What opens one after the other: a name, the kinds of decisions, in how many phases, how many sub-networks a step then
trains, and how many epochs the paper's release gives it, beside `LARGEST` for the largest network."""

LARGEST = 180.0

FIRST_PHASE = 25.0
"""Of the epochs of a part with two phases, those of the first."""


@dataclass(frozen=True)
class Shrinking:
    """The largest network is trained first; then kernels, then depths, then expansions and widths may be smaller, the
    largest alternatives first. Before the widths, channels are sorted by importance (`archlang.supernet.sorting`).
    Every sub-network learns from the labels and, `teacher` times as much, from the largest network as the first stage
    left it.

    Resolutions, operators and connections are open from the beginning. rate: the peak learning rate of the stages
    after the first over the recipe's. Of the epochs each stage gets the paper's share, one at least.
    """

    teacher: Nonnegative = 1.0
    rate: Positive = 0.375

    held = 0.0

    def stages(self, net: SuperNet, epochs: int) -> tuple[Stage, ...]:
        plan = list(_plan(net, self.rate))
        if epochs < len(plan):
            help = f"train for more epochs: --epochs {len(plan)}"
            raise fail("E1321", f"progressive shrinking of {net.space.name} has {len(plan)} stages", help=help)
        shares = _shared(epochs, [weight for _, weight in plan])
        return tuple(
            Stage(each.name, count, each.open, each.rate, each.sampled, each.distilled)
            for (each, _), count in zip(plan, shares, strict=True)
        )

    def course(self, run: Run) -> Course:
        return _Course(run, self)


def _plan(net: SuperNet, rate: float) -> Iterator[tuple[Stage, float]]:
    """The stages without their epochs, and what share of all epochs each has. A part without a decision is left out."""
    orders = _orders(net)
    kinds = {choice.key: choice.kind for choice in net.decisions}
    open = {key: order[:1] for key, order in orders.items()}
    yield Stage("largest", 0, open), LARGEST
    for name, members, phases, sampled, weight in PARTS:
        keys = [key for key in orders if kinds[key] in members]
        phases = min(phases, max((len(orders[key]) - 1 for key in keys), default=0))
        for phase in range(1, phases + 1):
            open = {**open, **{key: _opened(orders[key], phase / phases) for key in keys}}
            title = name if phases == 1 else f"{name} {phase}"
            first = FIRST_PHASE if phases > 1 else weight
            yield Stage(title, 0, open, rate, sampled, True), first if phase < phases else weight - first * (phases > 1)


def _orders(net: SuperNet) -> dict[str, tuple[int, ...]]:
    """Decisions of size -> their alternatives, the one with the most MACs first, with all else at its largest."""
    space, largest = net.space, net.largest()
    members = {kind for _, kinds, *_ in PARTS for kind in kinds}

    def macs(key: str, index: int) -> float:
        return float(space.sketch({**largest, key: index}).amounts["macs"])

    return {
        choice.key: tuple(sorted(range(len(choice.alternatives)), key=lambda i: -macs(choice.key, i)))
        for choice in net.decisions
        if choice.kind in members
    }


def _opened(order: Sequence[int], share: float) -> tuple[int, ...]:
    """The largest alternative and this share of the others."""
    return tuple(order[: 1 + -int(-(len(order) - 1) * share // 1)])


def _shared(epochs: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers from 1 in proportion to the weights; their sum is `epochs`. There are as many epochs as weights."""
    counts = [1] * len(weights)
    wanted = [epochs * weight / sum(weights) for weight in weights]
    for _ in range(epochs - len(weights)):
        short = max(range(len(weights)), key=lambda i: wanted[i] - counts[i])
        counts[short] += 1
    return counts


class _Course(Course):
    def __init__(self, run: Run, method: Shrinking) -> None:
        super().__init__(run)
        self._method, self._weight = method, method.teacher
        self._largest = run.net.largest()
        self._teacher: SuperNet | None = None

    def enter(self) -> None:
        if self.stage.name.startswith(WIDTH):
            self._sort()
        if self.stage.distilled and self._teacher is None and self._weight:
            self._teacher = _copied(self.run.net)

    def _sort(self) -> None:
        """Narrower sub-networks will take the first channels: the most important ones are to be these."""
        from archlang.supernet.sorting import sort_channels

        recipe, stages = self.run.recipe, self._method.stages(self.run.net, self.run.recipe.epochs)
        number = [stage.name for stage in stages].index(self.stage.name)
        sort_channels(self.run.net, stages[number - 1].open, recipe.seed)

    def step(self, batch: Batch) -> torch.Tensor:
        run, stage = self.run, self.stage
        wanted = self._wanted(batch)
        losses = []
        for _ in range(stage.sampled):
            scores = run.scores(batch.x, drawn(run.net.space, stage.open, batch.rng))
            loss = run.loss(scores, batch.y)
            if wanted is not None:
                loss = loss + self._weight * soft_loss(scores, wanted)
            losses.append(run.backward(loss / stage.sampled))
        return total(losses)

    def _wanted(self, batch: Batch) -> torch.Tensor | None:
        """What the teacher says; it normalises by the batch, as the release's does."""
        import torch

        if self._teacher is None or not self.stage.distilled:
            return None
        with torch.no_grad():
            return self.run.scores(batch.x, self._largest, self._teacher)

    def state(self) -> dict[str, Any]:
        return {} if self._teacher is None else {"teacher": self._teacher.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        if "teacher" in state:
            self._teacher = _copied(self.run.net, state["teacher"])


def _copied(net: SuperNet, state: Mapping[str, torch.Tensor] | None = None) -> SuperNet:
    """Another supernet of the space, with the weights of this one or with others, in training mode."""
    made = type(net)(net.union, net.transformed, 0).to(next(net.parameters()))
    made.load_state_dict(state or net.state_dict())
    return made
