"""What a latency model makes of a network adds up over the network's pieces, or says that it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import astuple
from functools import cache
from hashlib import blake2b
from random import Random
from struct import unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archlang
from archlang.device.predict.features import EXECUTIONS, Ends, Kernels, executed_piece, kernels
from archlang.device.predict.model import LatencyModel, Sample, fit_samples
from archlang.errors import ArchError
from archlang.ir.graph import Graph
from archlang.lower import Memo, NetValue, default_net, lower
from archlang.search.diagram import Diagram, Walk
from archlang.search.space import Space
from archlang.spec import module_of_text

ENDS = len(astuple(Ends()))


def space_of(spec: str) -> Space:
    return Space(archlang.load(spec).value)


def walks(diagram: Diagram, count: int, seed: int = 0) -> Iterator[Walk]:
    """Random candidates that fit."""
    rng = Random(seed)
    for _ in range(count):
        with suppress(ArchError):
            yield diagram.walk({}, lambda decision: rng.randrange(decision.count))


def numbers(found: Kernels) -> list[int]:
    """Different for different kernels, and the sums of the numbers of the parts. Each has 32 bits, so that a sum of
    thousands is exact in the float64 that a diagram adds up."""
    sums = [0] * 4
    for kernel, count in found.items():
        digest = blake2b(repr(kernel.as_json()).encode(), digest_size=16).digest()
        for i, word in enumerate(unpack("<4I", digest)):
            sums[i] += count * word
    return sums


def measure(execution: str) -> Callable[[Graph], tuple[float, ...]]:
    def of(graph: Graph) -> tuple[float, ...]:
        piece = executed_piece(graph, execution)
        return (*astuple(piece.ends), *numbers(piece.kernels))

    return of


def agree(net: NetValue, execution: str, count: int) -> tuple[int, int]:
    """How many candidates' kernels are those of their pieces, and how many of them are known to be."""
    memo, equal, decided = Memo(), 0, 0
    diagram = Diagram(net, {}, memo, measure(execution))
    for walk in walks(diagram, count):
        ends, together = walk.features[:ENDS], walk.features[ENDS:]
        same = together == numbers(kernels(lower(net, {}, walk.trace, memo).graph, execution))
        sure = Ends(*map(int, ends)).decided
        assert same or not sure
        equal, decided = equal + same, decided + sure
    return equal, decided


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("name", ["zoo:mnas_space", "zoo:ofa_mbv3", "zoo:nasbench201", "specs/spaces/digits.arch"])
def test_kernels_of_published_spaces_add_up(name: str, execution: str) -> None:
    """In cells of NAS-Bench-201 a single activation may read the cell's input; whether it is fused is not known."""
    _, decided = agree(archlang.load(name).value, execution, 6)
    assert decided >= 4 if name == "zoo:nasbench201" else decided == 6


LINES = st.sampled_from(
    [
        *("conv(4, {1, 3}, bias=0)", "bn", "relu", "relu6", "{skip, relu}", "{skip, bn}", "avgpool(3)", "zero"),
        *("dropout(0.1)", "early = _", "early -> relu", "early -> conv(4, 1)", "_ + early", "{skip, _ + early}"),
        *("conv(4, 1) -> bn -> relu", "aux helper: gap -> linear(3)", "bn as named", "late = _", "late + {early, _}"),
    ]
)
HEAD = "net A:\n  input 4x8x8\n  early = _\n  late = _\n  "


def net_of(lines: list[str]) -> NetValue:
    """Lines that do not fit together are left out."""
    kept: list[str] = []
    for line in lines:
        with suppress(ArchError):
            net = default_net(module_of_text(HEAD + "\n  ".join([*kept, line]) + "\n", "test"))
            lower(net)
            kept.append(line)
    return default_net(module_of_text(HEAD + "\n  ".join([*kept, "conv(2, 1)"]) + "\n", "test"))


@settings(max_examples=25, deadline=None)
@given(st.lists(LINES, min_size=2, max_size=8))
def test_kernels_of_random_pieces_add_up_or_say_that_they_do_not(lines: list[str]) -> None:
    for execution in EXECUTIONS:
        agree(net_of(lines), execution, 3)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(st.lists(LINES, min_size=2, max_size=10))
def test_kernels_of_many_random_pieces_add_up_or_say_that_they_do_not(lines: list[str]) -> None:
    for execution in EXECUTIONS:
        agree(net_of(lines), execution, 6)


def test_a_kernel_that_spans_two_pieces_is_not_taken_for_two() -> None:
    apart = agree(net_of(["conv(4, 3, bias=0)", "bn", "relu"]), "compiled", 4)
    assert apart == (0, 0)
    assert agree(net_of(["conv(4, 3, bias=0) -> bn -> relu"]), "compiled", 4) == (4, 4)


# latencies


@cache
def fitted(name: str, execution: str) -> tuple[Space, LatencyModel]:
    """A model of a processor made up for this test, whose noise lets all parts of the process count."""
    space, noise = space_of(name), Random(5)
    samples = []
    for walk in walks(space.diagram, 24, seed=3):
        network = kernels(space.graph(walk.trace), execution)
        ms = 0.1 + sum(n * (0.01 + (k.macs + 9 * k.moved) ** 0.9 / 1e5) for k, n in network.items())
        samples.append(Sample(network, ms * noise.lognormvariate(0, 0.02)))
    return space, fit_samples(samples, execution)


@pytest.mark.parametrize(("name", "execution"), [("zoo:mnas_space", "compiled"), ("zoo:nasbench201", "eager")])
def test_latency_from_the_sums_is_that_of_the_network(name: str, execution: str) -> None:
    space, model = fitted(name, execution)
    diagram = Diagram(space.net, {}, Memo(), model.features)
    for walk in walks(diagram, 6, seed=8):
        sums, graph = walk.features, space.graph(walk.trace)
        assert model.exact(sums)
        assert sums[ENDS:] == pytest.approx(model.features(graph)[ENDS:], rel=1e-12)
        whole, walked = model.predict(graph), model.from_features(sums)
        assert model.from_features(model.features(graph)) == whole
        assert [walked.ms, walked.low_ms, walked.high_ms] == pytest.approx([whole.ms, whole.low_ms, whole.high_ms])


def test_an_op_that_was_never_measured_has_no_latency_in_a_sum_either() -> None:
    _, model = fitted("zoo:mnas_space", "compiled")
    assert model.from_features(model.features(archlang.load("zoo:vit:ti").graph)).ms is None
