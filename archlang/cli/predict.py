"""`archlang bench --build-table` and `--validate`: latency models of a device, and how good they are."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from archlang.cli.common import Decorated, console, emit_json, load_net

if TYPE_CHECKING:
    from archlang.device.predict.campaign import Progress, Reading
    from archlang.device.predict.table import Identity, Table
    from archlang.device.predict.validate import Report
    from archlang.ir.graph import Graph
    from archlang.lower import Decision
    from archlang.search.space import Space

RUNS, MIN_SECS = 20, 0.2
"""Of each candidate, where the command line does not say: many networks, each a little less exactly, tell more."""

ATTEMPTS = 3
"""Where every turn is a process."""

PATIENCE_SECS = 20.0
"""At first, for each network."""

VALIDATION_PROCESSES = 2
"""Of each network to validate with."""

VALIDATION_SEED = 1_000_003
"""Added to the seed: so that networks to validate with are other ones than those to fit."""

_MOST_DRAWN = 100
_BY_DEFAULT = click.core.ParameterSource.DEFAULT


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs only
    """`90s`, `10m`, `1.5h`, or seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value).strip())
        if found is None or float(found[1]) == 0:
            self.fail(f"`{value}` is no duration: such as 90s, 10m or 1h", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def table_options(function: Decorated) -> Decorated:
    """The options of `bench` that are about latency tables."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--build-table", is_flag=True, help="Measure a sample of --space, and fit a model of its latency: -o TABLE."
    ),
    click.option(
        "--validate",
        metavar="TABLE",
        help="Measure -n networks of --space that TABLE was not fitted to: how good is it?",
    ),
    click.option("--space", metavar="SPACE", help="A SPEC with choices in it."),
    click.option(
        "--pick",
        "picks",
        multiple=True,
        metavar="NAME=VALUE",
        help="Of --space, only networks with this value of a decision: `r=224`, or `k in row 2=5`.",
    ),
    click.option(
        "-o", "output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="TABLE, or the plot."
    ),
    click.option("--budget", type=Duration(), default="10m", show_default=True, help="For all of the measuring."),
    click.option(
        "-n", "count", type=click.IntRange(2), default=50, show_default=True, help="Networks to validate with."
    ),
    click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is drawn from the space."
    ),
)


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    build_table: bool
    validate: str | None
    space: str | None
    picks: tuple[str, ...]
    output: Path | None
    budget: float
    count: int
    seed: int
    overrides: dict[str, Any]
    device: str
    threads: int
    quantize: str
    runs: int
    min_secs: float
    reference: str
    as_json: bool


def asks_for_table(options: dict[str, Any]) -> bool:
    """Whether these options of `bench` are to build or to validate a table."""
    return bool(options["build_table"] or options["validate"])


def run(ctx: click.Context, spec: str | None) -> None:
    """Build a table, or validate one: the command `bench` without a SPEC. Raises UsageError."""
    given = ctx.params
    if not asks_for_table(given):
        raise click.UsageError("Missing argument 'SPEC'.")
    if spec is not None or given["net"] is not None or given["profile"]:
        raise click.UsageError("--build-table and --validate take --space SPACE, and neither SPEC, --net nor --profile")
    if given["space"] is None:
        raise click.UsageError("--build-table and --validate need --space SPACE")
    if given["build_table"] and given["validate"] is not None:
        raise click.UsageError("give --build-table or --validate, not both")
    usual = {"runs": RUNS, "min_secs": MIN_SECS}
    shorter = {name: value for name, value in usual.items() if ctx.get_parameter_source(name) is _BY_DEFAULT}
    asked = Asked(**{name: {**given, **shorter}[name] for name in Asked.__dataclass_fields__})
    assert asked.space is not None
    (_build if asked.build_table else _validate)(asked, _part(asked))


# what is drawn


@dataclass(frozen=True)
class Part:
    """The networks of a space that have these values of these decisions: by the names that `check` shows."""

    space: Space
    picked: dict[str, str]

    def draw(self, rng: Random) -> Graph:
        """A random network. What does not fit together is drawn again. Raises ArchError where nothing seems to fit."""
        from archlang.errors import ArchError

        for _ in range(_MOST_DRAWN - 1):
            try:
                return self._drawn(rng)
            except ArchError:
                continue
        return self._drawn(rng)

    def _drawn(self, rng: Random) -> Graph:
        walk = self.space.diagram.walk({}, lambda decision: self._index(decision, rng))
        return self.space.graph(walk.trace)

    def _index(self, decision: Decision, rng: Random) -> int:
        value = self.picked.get(_name(decision))
        return rng.randrange(decision.count) if value is None else _alternatives(decision).index(value)

    @property
    def name(self) -> str:
        return " with ".join(filter(None, (self.space.name, ", ".join(f"{k}={v}" for k, v in self.picked.items()))))

    @property
    def digest(self) -> str:
        own = self.space.digest
        return sha256(repr((own, sorted(self.picked.items()))).encode()).hexdigest() if self.picked else own


def _part(asked: Asked) -> Part:
    """Raises UsageError where a pick names no decision, or no value of it."""
    from archlang.search.space import Space

    assert asked.space is not None
    net = load_net(asked.space, None, asked.overrides)
    part = Part(Space(net.value, net.args), {})
    rng = Random(0)
    for _ in range(_MOST_DRAWN if asked.picks else 0):  # in these, all decisions are met
        part.draw(rng)
    return Part(part.space, dict(_checked(text, part.space) for text in asked.picks))


def _checked(text: str, space: Space) -> tuple[str, str]:
    name, _, value = text.rpartition("=")
    known = {_name(decision): _alternatives(decision) for decision in space.memo.decisions.values()}
    if name not in known:
        raise click.UsageError(f"--pick {text}: no decision of {space.name} is called `{name}`: {', '.join(known)}")
    if value not in known[name]:
        raise click.UsageError(f"--pick {text}: `{name}` is one of {', '.join(known[name])}")
    return name, value


def _name(decision: Decision) -> str:
    return decision.label.replace("`", "")


def _alternatives(decision: Decision) -> list[str]:
    from archlang.search.extent import alternative

    return [alternative(decision, index) for index in range(decision.count)]


class Patience:
    """How long it is worth waiting for a device to be undisturbed: half as long after each time that it was in vain,
    so that one which is busy for hours does not eat up a budget."""

    def __init__(self) -> None:
        self.secs = PATIENCE_SECS

    def learn(self, in_vain: bool) -> None:
        self.secs = self.secs / 2 if in_vain else PATIENCE_SECS


@dataclass(frozen=True)
class Meter:
    """Measures networks. processes, attempts: of each; see `bench`."""

    asked: Asked
    quantize: str
    threads: int
    processes: int
    attempts: int
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def of(cls, asked: Asked, quantize: str, threads: int, processes: int) -> Meter:
        """Where each process meets the reference in turns of milliseconds, one attempt is enough; else it takes
        another process to tell a slow moment."""
        from archlang.device import transport

        if transport.interleaves(transport.get(asked.device)) and asked.reference != "none":
            return cls(asked, quantize, threads, processes, 1)
        return cls(asked, quantize, threads, max(processes, 2), ATTEMPTS)

    def __call__(self, graph: Graph) -> Reading:
        from archlang.backend import Request, compile_graph
        from archlang.device import bench
        from archlang.device.predict.campaign import Reading

        asked = self.asked
        model = bytes(compile_graph(graph, "tflite", Request(quantize=self.quantize, seed=asked.seed)).data)
        compare = None if asked.reference == "none" else asked.reference
        result = bench(
            model,
            self.threads,
            asked.device,
            asked.runs,
            asked.min_secs,
            processes=self.processes,
            compare=compare,
            attempts=self.attempts,
            patience_secs=self.patience.secs,
        )
        self.patience.learn(result.corrected)
        return Reading(result.median_ms, result.iqr_ms, result.runtime)


# build


def _build(asked: Asked, part: Part) -> None:
    from archlang.device.predict import table
    from archlang.device.predict.campaign import Campaign, build

    path = asked.output or table.place(asked.device)
    path.parent.mkdir(parents=True, exist_ok=True)
    measure = Meter.of(asked, asked.quantize, asked.threads, 1)
    campaign = Campaign(_identity(asked, part), part.draw, measure, path, asked.budget, asked.seed)
    with _live() as report:
        made = build(campaign, report)
    _show_table(asked, made, path)


def _identity(asked: Asked, part: Part) -> Identity:
    from archlang.device import transport
    from archlang.device.predict.table import Identity

    device = transport.get(asked.device)
    try:
        fingerprint = device.describe().fingerprint
    finally:
        device.close()
    return Identity(asked.device, fingerprint, "", asked.threads, asked.quantize, part.name, part.digest)


def _show_table(asked: Asked, made: Table, path: Path) -> None:
    import numpy as np

    error = float(np.abs(made.model.held_out).mean())
    if asked.as_json:
        counts = {"networks": made.networks, "blocks": len(made.measured) - made.networks, "seconds": made.seconds}
        emit_json({"table": str(path), **counts, "held_out_mape": error})
        return
    click.echo(f"{path}: {made}")
    click.echo(f"each network from all other measurements: mean relative error {error:.1%}")


@contextmanager
def _live() -> Iterator[Callable[[Progress], None]]:
    """What to call with each progress. Draws on stderr, and on a terminal only."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda progress: None
        return
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Bar(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("measuring", total=None)

        def report(progress: Progress) -> None:
            said = f"{progress.networks} networks, {progress.blocks} blocks; {progress.label}"
            bar.update(task, completed=progress.seconds, total=progress.budget_secs, description=said)

        yield report


# validate


def _validate(asked: Asked, part: Part) -> None:
    from archlang.device.predict import plot, table

    assert asked.validate is not None
    known = table.find(asked.validate)
    path = asked.output or Path(asked.validate).with_suffix(".svg")
    found = _report(asked, part, known)
    title = f"{known.identity.space}, {known.identity.quantize} on {known.identity.device}"
    plot.write(found, title, path)
    if asked.as_json:
        emit_json({**found.as_json(), "plot": str(path)})
    else:
        click.echo(f"{known}\n{found}\n{path}: predicted against measured")


def _report(asked: Asked, part: Part, known: Table) -> Report:
    from archlang.cost import cost
    from archlang.device.predict import validate

    graphs = _held_out(asked, part, known)
    known.model.predict(graphs[0])  # conditions the model on its measurements, once for all predictions
    start = time.perf_counter()
    predictions = known.model.predict_all(graphs)
    predicting = time.perf_counter() - start
    measure = Meter.of(asked, known.identity.quantize, known.identity.threads, VALIDATION_PROCESSES)
    pairs, start = [], time.perf_counter()
    with _live() as report:
        for graph, prediction in zip(graphs, predictions, strict=True):
            reading = measure(graph)
            pairs.append(validate.Pair(graph.digest, reading.ms, prediction, cost(graph).total.macs))
            report(_step(len(pairs), asked, time.perf_counter() - start))
    return validate.report(pairs, time.perf_counter() - start, predicting)


def _step(done: int, asked: Asked, seconds: float) -> Progress:
    from archlang.device.predict.campaign import Progress

    return Progress(done, 0, 0, seconds, seconds * asked.count / done, "to validate")


def _held_out(asked: Asked, part: Part, known: Table) -> list[Graph]:
    """Different networks, none of which the table was fitted to."""
    rng, seen = Random(asked.seed + VALIDATION_SEED), {row.digest for row in known.measured}
    found: list[Graph] = []
    for _ in range(_MOST_DRAWN * asked.count):
        graph = part.draw(rng)
        if graph.digest not in seen:
            seen.add(graph.digest)
            found.append(graph)
        if len(found) == asked.count:
            break
    return found
