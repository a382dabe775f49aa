"""`archlang search FILE[:SEARCH]`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete
from archlang.cli.common import (
    Remembering,
    called,
    data_option,
    emit_json,
    import_path_option,
    json_option,
    recipe_option,
    set_option,
    words_of,
)
from archlang.cli.failures import INTERRUPTED

if TYPE_CHECKING:
    from archlang.search.driver import Plan, Progress, SearchResult
    from archlang.search.plan import Options


PROGRESS = ("auto", "live", "lines", "json", "none")
"""live: a view that is drawn anew. lines: one now and then. json: the same as JSON. auto: live on a terminal, lines on
one that cannot go back, nothing where stderr is no terminal."""


_ADDRESS = re.compile(r"auto|local|(ray://)?[^\s/:]+:\d+|(ray://)?\[[0-9a-fA-F:]+\]:\d+")
"""Of a Ray cluster."""


def _address(ctx: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and not _ADDRESS.fullmatch(text):
        raise click.BadParameter(f"{text!r} is none of auto, local, HOST:PORT and ray://HOST:PORT")
    return text


@click.command(cls=Remembering)
@click.argument("spec", metavar="FILE[:SEARCH]", shell_complete=complete.search_spec)
@set_option
@data_option()
@click.option(
    "--device",
    metavar="D",
    shell_complete=complete.devices,
    help="Where latency is measured; `host` is this machine.",
)
@click.option("--trials", type=click.IntRange(1), help="How many candidates; 100 where the file does not say.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Candidates at once; 1, or as many as the cluster has room for.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    callback=_address,
    help="Evaluate on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local, which starts one here.",
)
@click.option("--seed", type=click.IntRange(0))
@click.option(
    "--strategy",
    metavar="S",
    shell_complete=complete.strategies,
    help="bayesian, evolution, nsga2, ...; arguments so: 'evolution(population=20)'.",
)
@click.option(
    "--evaluator",
    default="train",
    show_default=True,
    metavar="E",
    shell_complete=complete.evaluators,
    help="train; cost: static metrics alone; proxy; module:function; arguments so: 'train(inherit=true)'.",
)
@click.option("--epochs", default=5, show_default=True, type=click.IntRange(1), help="Of each candidate's training.")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(2))
@click.option(
    "--lr", default=0.1, show_default=True, type=click.FloatRange(0, min_open=True), help="Peak learning rate."
)
@recipe_option
@click.option(
    "--accelerator",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="What candidates are trained on; auto: CUDA where PyTorch finds it.",
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="For measuring latency.")
@click.option(
    "--latency-table",
    metavar="T",
    shell_complete=complete.latency_tables,
    help="Predict latency by this table, a file or a device, and measure none.",
)
@click.option("--timeout", default=900.0, show_default=True, type=click.FloatRange(1), help="Seconds for a candidate.")
@click.option("--run", "folder", type=click.Path(path_type=Path), metavar="DIR", help="runs/SEARCH by default.")
@click.option("--resume", is_flag=True, help="Go on with the run in DIR.")
@click.option("--dry-run", is_flag=True, help="Say what would be searched, and begin nothing.")
@click.option(
    "--progress",
    default="auto",
    show_default=True,
    type=click.Choice(PROGRESS),
    help="On stderr; auto: live on a terminal, else nothing.",
)
@click.option("--optuna", "storage", metavar="URL", help="Keep an Optuna study of the run, such as sqlite:///study.db.")
@import_path_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, spec: str, overrides: dict[str, Any], as_json: bool, **options: Any) -> None:
    """Search the space of a `search` item. DIR holds the database, and the front as plain .arch files.

    A run that was killed goes on with --resume: nothing that was finished is lost or done again. Ctrl-C ends it
    cleanly.
    """
    from archlang.cli.search_preview import show_preview
    from archlang.cli.search_view import live, show_front
    from archlang.search.driver import run
    from archlang.search.plan import plan_of
    from archlang.search.space import load_search

    plan, notes = plan_of(load_search(spec, overrides), _options(options, called(ctx)))
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if options["dry_run"]:
        show_preview(plan, as_json)
        return
    with live(plan, options["progress"]) as progress, _study(plan, options["storage"]) as follow, _own_output(plan):

        def show(now: Progress) -> None:
            progress(now)
            follow()

        result = run(plan, options["resume"], show)
    if as_json:
        emit_json(result.as_json())
    else:
        show_front(result)
    _ending(ctx, result)


@contextmanager
def _own_output(plan: Plan) -> Iterator[None]:
    """Ray prints on stdout what it sees of lost machines, a screen for each; the run's events tell it in a line."""
    if plan.cluster is None:
        yield
        return
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing):
        yield


@contextmanager
def _study(plan: Plan, storage: str | None) -> Iterator[Callable[[], None]]:
    """What to call now and then so that the study follows the run. It is brought up to date at the end."""
    if storage is None:
        yield lambda: None
        return
    from archlang.report.study import Mirror

    mirror = Mirror(storage, plan.folder)
    yield mirror.follow
    mirror.update()


def _options(given: dict[str, Any], called: str) -> Options:
    """The library's options."""
    from archlang.search.plan import Options
    from archlang.train import Recipe

    settings = {name: given[name] for name in ("epochs", "batch_size", "lr")}
    recipe = Recipe(**settings, device=given["accelerator"]).with_text(given["settings"])
    passed = ("evaluator", "data", "device", "trials", "seed", "strategy", "folder", "resume", "threads", "cluster")
    kept = {name: given[name] for name in (*passed, "latency_table")}
    workers = given["workers"] or (1 if given["cluster"] is None else 0)
    return Options(**kept, workers=workers, timeout_secs=given["timeout"], recipe=recipe, command=called)


def _ending(ctx: click.Context, result: SearchResult) -> None:
    folder = result.plan.folder
    if result.exhausted:
        click.echo("the space holds no further candidate that is new and keeps to the constraints", err=True)
    if result.interrupted:
        where = "" if any(word.split("=")[0] == "--run" for word in words_of(ctx)) else f" --run {folder}"
        click.echo(f"stopped; to go on:  {called(ctx)}{where} --resume", err=True)
        ctx.exit(INTERRUPTED)
