"""Differentiable search: all alternatives at once, weighted by what is learnt (DARTS, Liu et al., arXiv:1806.09055)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archlang.errors import fail
from archlang.search.space import Picks
from archlang.search.strategies.kinds import Nonnegative, Positive, Share
from archlang.supernet.train.drawing import drawn, settled
from archlang.supernet.train.protocol import Batch, Course, Stage
from archlang.supernet.train.run import Run

if TYPE_CHECKING:
    import torch

    from archlang.supernet.net import SuperNet

SPREAD = 1e-3
"""Standard deviation of the first architecture parameters."""

BETAS = (0.5, 0.999)
"""Adam's, for the architecture."""

RADIUS = 0.01
"""How far the weights are moved along a gradient for a finite difference: `RADIUS` over its norm (section 2.3)."""


@dataclass(frozen=True)
class Darts:
    """Every step first moves the architecture: a softmax over the alternatives of each decision that can be mixed, by
    the loss on held images; then the shared weights, by the loss on the others. Decisions that cannot be mixed, since
    their alternatives differ in shape, are drawn at random in every step.

    order 1 takes the weights as they are for their best; order 2 follows a step of theirs, with a finite difference in
    place of the Hessian. At the end every mixed decision takes its likeliest alternative, but none that gives nothing
    but zeros, unless `zero`; the other decisions take the alternatives of the largest network.
    learning_rate, weight_decay: Adam's, of the architecture. held: the share of the images that it learns from.
    """

    order: int = 1
    learning_rate: Positive = 3e-4
    weight_decay: Nonnegative = 1e-3
    zero: bool = False
    held: Share = 0.5

    def stages(self, net: SuperNet, epochs: int) -> tuple[Stage, ...]:
        return (Stage("darts", epochs),)

    def course(self, run: Run) -> Course:
        if self.order not in (1, 2):
            raise fail("E1322", f"`order` of `darts` cannot be {self.order}", help="1 or 2")
        if not run.net.mixable:
            help = "take `single`, `sandwich` or `enas`"
            raise fail("E1323", f"{run.net.space.name} has no decision whose alternatives could be mixed", help=help)
        if run.recipe.precision == "float16":
            raise fail("E1103", "`darts` does not train in float16", help="precision=bfloat16, or float32")
        return _Course(run, self)


class _Course(Course):
    def __init__(self, run: Run, method: Darts) -> None:
        super().__init__(run)
        import torch

        self._method = method
        counts = {choice.key: len(choice.alternatives) for choice in run.net.decisions}
        generator = torch.Generator().manual_seed(run.recipe.seed)
        self.alphas = {
            key: (SPREAD * torch.randn(counts[key], generator=generator)).to(run.device).requires_grad_()
            for key in run.net.mixable
        }
        self._optimizer = torch.optim.Adam(
            self.alphas.values(), method.learning_rate, BETAS, weight_decay=method.weight_decay
        )

    # the two turns of a step

    def step(self, batch: Batch) -> torch.Tensor:
        run, picks = self.run, drawn(self.run.net.space, {}, batch.rng)
        for alpha, gradient in zip(self.alphas.values(), self._slopes(batch, picks), strict=True):
            alpha.grad = gradient
        self._optimizer.step()
        with self._fixed():
            return run.backward(self._loss(batch.x, batch.y, picks))

    def _slopes(self, batch: Batch, picks: Picks) -> list[torch.Tensor]:
        """The gradients of the architecture, averaged over the processes."""
        held = self.run.held_batch(batch.rng)
        slopes = list(self._first(held, picks) if self._method.order == 1 else self._second(batch, held, picks))
        self.run.processes.average(slopes)
        return slopes

    def _first(self, held: tuple[torch.Tensor, torch.Tensor], picks: Picks) -> Sequence[torch.Tensor]:
        import torch

        return torch.autograd.grad(self._loss(*held, picks), self._parameters())

    def _second(self, batch: Batch, held: tuple[torch.Tensor, torch.Tensor], picks: Picks) -> Iterator[torch.Tensor]:
        """Through one step of the weights (equations 7 and 8): with w' after it, and the gradient v at w',
        the gradient of alpha at w' less the rate times the difference of those at w + e v and w - e v over 2 e."""
        import torch

        weights, rate = self.run.weights, self.run.optimizer.param_groups[0]["lr"]
        with self._moved(self._unrolled(batch, picks), -rate):
            found = torch.autograd.grad(
                self._loss(*held, picks), [*self._parameters(), *weights], allow_unused=True, materialize_grads=True
            )
        direct, along = found[: len(self.alphas)], found[len(self.alphas) :]
        self.run.processes.average(along)
        norm = torch.stack([each.norm() for each in along]).norm()
        reach = RADIUS / float(norm.clamp_min(1e-12))
        sides = []
        for sign in (reach, -reach):
            with self._moved(along, sign):
                sides.append(torch.autograd.grad(self._loss(batch.x, batch.y, picks), self._parameters()))
        for straight, plus, minus in zip(direct, *sides, strict=True):
            yield straight - rate * (plus - minus) / (2 * reach)

    def _unrolled(self, batch: Batch, picks: Picks) -> list[torch.Tensor]:
        """What a step of the optimizer takes from the weights, over the rate: momentum, gradient and decay, as in the
        release."""
        import torch

        run = self.run
        slopes = torch.autograd.grad(
            self._loss(batch.x, batch.y, picks), run.weights, allow_unused=True, materialize_grads=True
        )
        run.processes.average(slopes)
        decays = {id(p): group["weight_decay"] for group in run.optimizer.param_groups for p in group["params"]}
        steps = []
        for weight, slope in zip(run.weights, slopes, strict=True):
            before = run.optimizer.state.get(weight, {}).get("momentum_buffer")
            step = slope + decays[id(weight)] * weight.detach()
            steps.append(step if before is None else step + run.recipe.momentum * before)
        return steps

    @contextmanager
    def _moved(self, along: Sequence[torch.Tensor], by: float) -> Iterator[None]:
        """The weights moved inside, and back as they were."""
        import torch

        kept = [weight.detach().clone() for weight in self.run.weights]
        with torch.no_grad():
            for weight, step in zip(self.run.weights, along, strict=True):
                weight.add_(step, alpha=by)
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, value in zip(self.run.weights, kept, strict=True):
                    weight.copy_(value)

    @contextmanager
    def _fixed(self) -> Iterator[None]:
        """The architecture is not learnt inside."""
        for alpha in self.alphas.values():
            alpha.requires_grad_(False)
        try:
            yield
        finally:
            for alpha in self.alphas.values():
                alpha.requires_grad_()

    def _parameters(self) -> list[torch.Tensor]:
        return list(self.alphas.values())

    def _loss(self, x: torch.Tensor, y: torch.Tensor, picks: Picks) -> torch.Tensor:
        net = self.run.net
        net.select(picks)
        net.mixture({key: alpha.softmax(0) for key, alpha in self.alphas.items()})
        return self.run.loss(self.run.given(x), y)

    # what it comes to

    def found(self) -> Picks | None:
        net = self.run.net
        net.mixture(None)
        taken = dict(net.largest())
        for key, alpha in self.alphas.items():
            barred = set() if self._method.zero else _zeros(net, key, len(alpha))
            order = alpha.detach().argsort(descending=True).tolist()
            taken[key] = next((i for i in order if i not in barred), order[0])
        return settled(net.space, taken)

    def state(self) -> dict[str, Any]:
        alphas = {key: alpha.detach() for key, alpha in self.alphas.items()}
        return {"alphas": alphas, "optimizer": self._optimizer.state_dict()}

    def load(self, state: Mapping[str, Any]) -> None:
        for key, alpha in self.alphas.items():
            alpha.detach().copy_(state["alphas"][key])
        self._optimizer.load_state_dict(state["optimizer"])


def _zeros(net: SuperNet, key: str, count: int) -> set[int]:
    """The alternatives that bring a `zero` with them: the release leaves out `none` likewise."""
    largest = net.largest()

    def zeros(index: int) -> int:
        graph = net.space.graph(settled(net.space, {**largest, key: index}))
        return sum(node.op.name == "zero" for node in graph.nodes)

    counts = [zeros(index) for index in range(count)]
    return {index for index in range(count) if counts[index] > min(counts)}
