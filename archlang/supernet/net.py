"""The supernet of a space: one PyTorch module that is every candidate, with shared weights.

This module imports PyTorch: whoever needs it imports it in a function.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from archlang import weights
from archlang.errors import ArchError, fail, nearest
from archlang.ir.graph import Graph
from archlang.lower import Decision
from archlang.ops.shape import Input
from archlang.search.space import Picks, Space, Walked
from archlang.supernet import decisions, mixture
from archlang.supernet.decisions import Choice
from archlang.supernet.elastic import Elastic, Pass, Statistics, computed, evaluating
from archlang.supernet.mixture import Mixture
from archlang.supernet.sharing import shared
from archlang.supernet.union import Union, union

if TYPE_CHECKING:
    from archlang.supernet.cut import Cut

KEPT = 256
"""Sub-networks that are remembered, with the statistics that were taken for them."""


@dataclass(frozen=True)
class Active:
    """A sub-network. graph: its nodes are called by their sites. picks: the decisions that it reads, sorted.

    wanted: which nodes are needed in evaluation, and in training, where auxiliary outputs are computed too.
    """

    graph: Graph
    picks: Picks
    wanted: tuple[frozenset[int], frozenset[int]]

    @property
    def key(self) -> tuple[tuple[str, int], ...]:
        return tuple(self.picks.items())


class SuperNet(nn.Module):
    """Every candidate of a space in one module. `select` says which one it is now; `build` makes it.

    The state dict has the names `<site>.<parameter>`. space, union: what it is of. decisions: what can be chosen.
    picks: the active decisions of the sub-network that is selected; at first the largest.
    """

    def __init__(self, union: Union, transformed: bool, seed: int) -> None:
        super().__init__()
        self.union, self.space = union, union.space
        self.decisions: tuple[Choice, ...] = decisions.choices(union)
        self.transformed = transformed
        self._elastic: dict[str, Elastic] = {}
        self._known: OrderedDict[tuple[tuple[str, int], ...], Active] = OrderedDict()
        self._statistics: dict[tuple[tuple[str, int], ...], Statistics] = {}
        self._mixtures: dict[Any, Active] = {}
        self._add_sites(seed)
        self._active = self._sub_network(self.largest())
        self._mixture: tuple[Active, Mapping[str, Tensor]] | None = None

    def _add_sites(self, seed: int) -> None:
        params = self.union.params
        if weights.is_transformer(self.space.graph({})):
            params = weights.transformer(params)
        values = weights.fresh(params, seed)
        for site in self.union.sites.values():
            own = shared(site)
            if own:
                arrays = {local: torch.from_numpy(values[f"{site.name}.{local}"]) for local in own}
                trainable = {local: param.trainable for local, param in own.items()}
                self._elastic[site.name] = Elastic(site, arrays, trainable, self.transformed)
                _place(self, site.name, self._elastic[site.name])

    # which sub-network

    def select(self, picks: Mapping[str, int]) -> None:
        """Make a sub-network the active one. Decisions that it does not read are passed over.

        Raises ArchError E1306 for a decision that is missing, E1307 for one that the space does not have, E0501 for an
        alternative that it does not have; then the sub-network before stays active.
        """
        self._active, self._mixture = self._sub_network(picks), None

    @cached_property
    def mixable(self) -> tuple[str, ...]:
        """The decisions that `mixture` takes: their alternatives give tensors of one shape, all else being as in the
        largest network."""
        return mixture.mixable(self.union, self.largest())

    def mixture(self, weights: Mapping[str, Tensor] | None) -> None:
        """Compute all alternatives of some decisions at once from now on, until the next `select`.

        weights: decision -> the weights of its alternatives, a vector; gradients reach it. The other decisions are as
        in the sub-network that is selected, and those that its alternatives wake take their first. None: no mixture.
        Raises ArchError E1310 for a decision whose alternatives cannot be mixed, E1307 for one that is not there.
        """
        self._mixture = None if weights is None else (self._mixed(frozenset(weights)), dict(weights))

    def _mixed(self, keys: frozenset[str]) -> Active:
        settled = tuple((key, index) for key, index in self._active.key if key not in keys)
        if (keys, settled) not in self._mixtures:
            try:
                graph = mixture.mixed(self.union, keys, self._active.picks)
            except ArchError:
                mixture.check(self.union, sorted(keys), self._active.picks)
                raise
            self._check_known(dict.fromkeys(keys, 0))
            self._mixtures[keys, settled] = _active(graph, {})
        return self._mixtures[keys, settled]

    @property
    def picks(self) -> Picks:
        return dict(self._active.picks)

    def _sub_network(self, picks: Mapping[str, int]) -> Active:
        key = tuple(sorted(picks.items()))
        if key not in self._known:
            self._check_known(picks)
            graph, trace = self.union.lowered(picks, _missing)
            self._remember(key, _active(graph, trace))
        self._known.move_to_end(key)
        return self._known[key]

    def _check_known(self, picks: Mapping[str, int]) -> None:
        known = self.union.contexts
        for key in picks:
            if key not in known:
                message = f"`{self.space.name}` has no decision {key}"
                raise fail("E1307", message, self.space.net.decl.name.span, help=nearest(key, known))

    def _remember(self, key: tuple[tuple[str, int], ...], active: Active) -> None:
        self._known[key] = active
        if len(self._known) > KEPT:
            _, old = self._known.popitem(last=False)
            self._statistics.pop(old.key, None)

    def largest(self) -> Walked:
        """The picks of the sub-network of the most MACs."""
        return decisions.largest(self.space)

    def smallest(self) -> Walked:
        """The picks of the sub-network of the fewest MACs."""
        return decisions.smallest(self.space)

    @property
    def resolution(self) -> tuple[int, int]:
        """Height and width of the images that the active sub-network takes. (1, 1) where it takes none."""
        shape = self._active.graph.nodes[self._active.graph.inputs[0]].type.shape
        return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)

    def graph(self, picks: Mapping[str, int]) -> Graph:
        """The network of the picks as the space names it."""
        return self.space.graph(picks)

    # what it computes

    def forward(self, *xs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The active sub-network. xs: its inputs, (N, C, H, W) in the sub-network's resolution.

        Several outputs are a tuple; auxiliary ones follow them, in training mode only.
        """
        if self._mixture is not None:
            return self._run(self._mixture[0], xs, Pass(self.training))
        statistics = {} if self.training else self._statistics.get(self._active.key, {})
        return self._run(self._active, xs, Pass(self.training, statistics))

    def _run(self, active: Active, xs: Sequence[Tensor], state: Pass) -> Tensor | tuple[Tensor, ...]:
        graph, wanted = active.graph, active.wanted[self.training]
        values: dict[int, Tensor] = {}
        given = iter(xs)
        for i, node in enumerate(graph.nodes):
            if isinstance(node.op, Input):
                values[i] = next(given)
            elif i in wanted:
                values[i] = self._value(graph, i, [values[j] for j in node.inputs], state)
        outputs = [values[output.value] for output in graph.outputs if self.training or not output.aux]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _value(self, graph: Graph, index: int, xs: list[Tensor], state: Pass) -> Tensor:
        node = graph.nodes[index]
        types = graph.input_types(node)
        elastic = self._elastic.get(node.name)
        if isinstance(node.op, Mixture):
            return self._weighted(node.op, xs)
        if elastic is None:
            return computed(node.op, types, {}, xs, state)
        y: Tensor = elastic(node.op, types, xs, state)
        return y

    def _weighted(self, op: Mixture, xs: list[Tensor]) -> Tensor:
        assert self._mixture is not None
        weights, total = self._mixture[1], torch.zeros_like(xs[0])
        for way, x in zip(op.ways, xs, strict=True):
            share = torch.ones((), device=x.device)
            for key, index in way:
                share = share * weights[key][index]
            total = total + share * x
        return total

    # BatchNorm's statistics

    def recalibrate(self, batches: Iterable[Tensor | Sequence[Tensor]], shared: bool = False) -> None:
        """Take the BatchNorm statistics of the active sub-network from batches of images (N, C, H, W).

        They are kept for these picks alone, and used whenever these are evaluated, until the weights change by
        training or loading; shared: they are also written into the shared statistics.
        """
        state = Pass(training=False, counted={})
        with evaluating(self):
            for batch in batches:
                self._run(self._active, (batch,) if isinstance(batch, Tensor) else batch, state)
        self._statistics[self._active.key] = state.statistics
        if shared:
            self._share(state.statistics)

    def _share(self, statistics: Statistics) -> None:
        for site, (mean, variance) in statistics.items():
            state = self._elastic[site].state_dict(keep_vars=True)
            state["running_mean"][: len(mean)].copy_(mean)
            state["running_var"][: len(variance)].copy_(variance)

    def train(self, mode: bool = True) -> SuperNet:
        if mode:
            self._statistics.clear()
        super().train(mode)
        return self

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False):  # type: ignore[no-untyped-def]
        self._statistics.clear()
        return super().load_state_dict(state_dict, strict, assign)

    # taking a sub-network out

    def cut(self, picks: Mapping[str, int], name: str = "Cut") -> Cut:
        """A sub-network as a network of its own: its source, its weights, its graph; see `archlang.supernet.cut`."""
        from archlang.supernet.cut import cut

        return cut(self, self._sub_network(picks), name)

    def arrays(self, active: Active) -> dict[str, dict[str, Tensor]]:
        """The arrays that a sub-network takes, by site and local name."""
        statistics = self._statistics.get(active.key, {})
        found: dict[str, dict[str, Tensor]] = {}
        for node, types in active.graph.modules():
            if node.name in self._elastic:
                found[node.name] = self._elastic[node.name].arrays(node.op, types)
                if node.name in statistics:
                    own = dict(zip(("running_mean", "running_var"), statistics[node.name], strict=True))
                    found[node.name].update(own)
        return found

    def save(self, path: Path) -> None:
        """Write the shared weights as a .safetensors file that knows the space."""
        from archlang.supernet.checkpoint import save

        save(self, path)


def build(space: Space, *, kernel_transform: bool = False, seed: int = 0) -> SuperNet:
    """The supernet of a space with fresh weights. kernel_transform: whether smaller kernels come from larger ones
    through matrices of their own, as in once-for-all; at first these change nothing.

    Raises ArchError, located, for alternatives that cannot share weights.
    """
    return SuperNet(union(space), kernel_transform, seed)


def _missing(decision: Decision) -> NoReturn:
    raise fail(
        "E1306", f"nothing says which alternative {decision.label} takes: {decision.key} is missing", decision.span
    )


def _active(graph: Graph, trace: Mapping[str, int]) -> Active:
    main = _reached(graph, [output.value for output in graph.outputs if not output.aux])
    everything = _reached(graph, [output.value for output in graph.outputs])
    return Active(graph, dict(sorted(trace.items())), (main, everything))


def _reached(graph: Graph, values: Iterable[int]) -> frozenset[int]:
    """The nodes that these values are computed from."""
    wanted = set(values)
    for i in reversed(range(len(graph.nodes))):
        if i in wanted:
            wanted.update(graph.nodes[i].inputs)
    return frozenset(wanted)


def _place(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module under a dotted name. A site may be called as an attribute of nn.Module is: so it becomes none."""
    *path, last = name.split(".")
    for step in path:
        within = root._modules.setdefault(step, nn.Module())
        assert within is not None
        root = within
    root._modules[last] = module
