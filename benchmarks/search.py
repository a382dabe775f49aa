"""How many candidates a second a search goes through when nothing is trained.

One candidate of `zoo:mnas_space` (37 decisions): a parent is chosen by ageing evolution, one decision is changed, the
network is checked, its parameters, MACs, FLOPs and latency are known, one that was seen before is passed over. Beside
it PyGlove's regularized evolution over as many decisions of as many alternatives, which knows nothing of networks: the
costs of a candidate are there a sum of random numbers.

Latency comes from a table that is made first, from random figures: what they are changes nothing about the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from archlang.collector import sparing
from archlang.cost import cost
from archlang.device.predict.features import kernels
from archlang.device.predict.model import Sample, fit_samples
from archlang.device.predict.table import Identity, Table
from archlang.search.driver import Plan, run
from archlang.search.evaluate import evaluated
from archlang.search.evaluators import CostEvaluator
from archlang.search.objective import Objective
from archlang.search.propose import Proposer
from archlang.search.space import Space, load_search
from archlang.search.strategies import make
from archlang.search.trial import Status, Trial
from benchmarks.measure import Result, medians

POPULATION, SAMPLE = 64, 16
CANDIDATES, PEERS_CANDIDATES = 5000, 100
TABLE_NETWORKS = 100
LIMIT_US = 200.0
"""Microseconds a candidate: 5,000 a second."""


def results(runs: int) -> Iterator[Result]:
    count = CANDIDATES if runs > 2 else 300
    with TemporaryDirectory() as folder:
        yield from _rows(*_search(Path(folder)), runs, count)


def _rows(space: Space, evaluator: CostEvaluator, objective: Objective, runs: int, count: int) -> Iterator[Result]:
    seeds = iter(range(10_000))
    peer = _pyglove(space, PEERS_CANDIDATES)
    functions: list[Callable[[], object]] = [lambda: _loop(space, evaluator, objective, next(seeds), count)]
    functions += [lambda: _driven(space, evaluator, objective, next(seeds), count)]
    functions += [] if peer is None else [peer]
    start = time.process_time()
    functions[0]()
    cold = 1e6 * (time.process_time() - start) / count
    ours, driven, *theirs = medians(functions, min(runs, 5), clock=time.process_time)
    ours, driven = 1000 * ours / count, 1000 * driven / count
    peer_name, its = ("PyGlove", 1000 * theirs[0] / PEERS_CANDIDATES) if theirs else ("", None)
    yield Result("a candidate of a search", ours, peer_name, its, LIMIT_US, "µs")
    yield Result("the same, written to the run's database", driven, peer_name, its, unit="µs")
    yield Result(f"the same, the first {count:,} of a process", cold, peer_name, its, unit="µs")


def _search(folder: Path) -> tuple[Space, CostEvaluator, Objective]:
    space = load_search("zoo:mnas_space").space
    assert isinstance(space, Space)
    evaluator = CostEvaluator(str(_table(space, folder)), peak_memory=False)
    assert evaluator.measure is not None
    space.measure(evaluator.measure)
    return space, evaluator, Objective(maximize=("params",), minimize=("latency",))


def _table(space: Space, folder: Path) -> Path:
    """A latency table whose figures are work and chance."""
    rng = Random(0)
    graphs = [space.graph(space.sample(rng)) for _ in range(TABLE_NETWORKS)]
    samples = [
        Sample(kernels(graph, "compiled"), cost(graph).total.macs / 1e7 * rng.uniform(0.9, 1.1)) for graph in graphs
    ]
    identity = Identity("made", "", "none", 1, "int8", space.name, space.digest)
    path = folder / "table.json"
    Table(identity, (), fit_samples(samples, "compiled").as_json()).write(path)
    return path


def _loop(space: Space, evaluator: CostEvaluator, objective: Objective, seed: int, count: int) -> None:
    strategy = make("evolution", {"population": POPULATION, "sample": SAMPLE})
    proposer, evaluate = Proposer(space, objective, strategy, seed, exact=False), evaluator.prepare()
    history: list[Trial] = []
    with sparing():
        for id in range(1, count + 1):
            proposed = proposer.propose(id, history)
            assert proposed is not None
            assert proposed.candidate is not None
            outcome = evaluated(evaluate, objective, proposed.candidate)
            assert outcome.status is Status.DONE, outcome.reason
            history.append(proposed.trial.ended(outcome))


def _driven(space: Space, evaluator: CostEvaluator, objective: Objective, seed: int, count: int) -> None:
    strategy = make("evolution", {"population": POPULATION, "sample": SAMPLE})
    with TemporaryDirectory() as folder:
        result = run(Plan(space, objective, strategy, evaluator, Path(folder) / "run", trials=count, seed=seed))
    assert result.progress.finished == count


def _pyglove(space: Space, count: int) -> Callable[[], object] | None:
    """The same number of decisions, with as many alternatives; None where it is not installed."""
    try:
        import pyglove
    except ImportError:
        return None
    rng = Random(0)
    counts = [decision.count for decision in space.memo.decisions.values()]
    costs = [[rng.random() for _ in range(alternatives)] for alternatives in counts]
    candidate = pyglove.List([pyglove.oneof(list(range(alternatives))) for alternatives in counts])

    def search() -> None:
        algorithm = pyglove.evolution.regularized_evolution(population_size=POPULATION, tournament_size=SAMPLE)
        for found, feedback in pyglove.sample(candidate, algorithm, count):
            feedback(sum(row[index] for row, index in zip(costs, found, strict=True)))

    return search
