"""`archlang supernet train SPACE`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete
from archlang.cli.common import Remembering, called, console, emit_json, json_option, net_options, training_options
from archlang.cli.failures import INTERRUPTED
from archlang.errors import fail

if TYPE_CHECKING:
    from archlang.data import Dataset
    from archlang.search.space import Picks
    from archlang.supernet.net import SuperNet
    from archlang.supernet.train import Processes, Progress, Trained

    Show = Callable[[Progress], None]

_FILE = click.Path(path_type=Path)

PROGRESS = ("auto", "live", "lines", "none")
"""live: a bar. lines: one after every epoch. auto: live on a terminal, else none."""


@click.command("train", cls=Remembering)
@net_options
@training_options(epochs=30, batch_size=64, batch_help="Of all processes together.")
@click.option(
    "--method",
    default="sandwich",
    show_default=True,
    metavar="M",
    shell_complete=complete.supernet_methods,
    help="single, sandwich, shrinking, enas, darts; arguments so: 'darts(order=2)'.",
)
@click.option(
    "--kernel-transform/--no-kernel-transform",
    "transform",
    default=None,
    help="Smaller kernels come from larger ones through matrices that are learnt.  [default: with shrinking]",
)
@click.option("--weights", type=_FILE, metavar="FILE", help="Start from this supernet.")
@click.option("--resume", is_flag=True, help="Go on with the training that was stopped.")
@click.option("--progress", default="auto", show_default=True, type=click.Choice(PROGRESS), help="On stderr.")
@click.option("-o", "--output", required=True, type=_FILE, metavar="FILE.safetensors")
@json_option
@click.pass_context
def train_command(
    ctx: click.Context, /, spec: str, net: str | None, overrides: dict[str, Any], as_json: bool, **options: Any
) -> None:
    """Train the supernet of SPEC to classify images, and write its shared weights.

    A fifth of the training images is held out, as in a search; the test images stay unseen. Every epoch is kept in
    FILE.safetensors.checkpoint: what was stopped or killed goes on with --resume.

    \b
    archlang supernet train zoo:digits --data digits --epochs 40 -o supernet.safetensors
    archlang supernet train zoo:ofa_mbv3 --data folder:imagenet --method shrinking -o supernet.safetensors
    torchrun --nproc-per-node 4 -m archlang supernet train SPACE --data D -o supernet.safetensors
    """
    from archlang.cli.supernet import space_of
    from archlang.supernet import train as training
    from archlang.supernet.judge import load_images
    from archlang.train import Recipe

    output: Path = options["output"]
    if output.suffix != ".safetensors":
        raise click.BadParameter(f"{output} does not end in .safetensors", param_hint="-o")
    method = training.method(options["method"])
    named = {name: options[name] for name in ("epochs", "batch_size", "lr", "seed", "device")}
    recipe = Recipe(**named).with_text(options["settings"])
    checkpoint = _checkpoint(output, options["resume"])
    made = _net(space_of(spec, net, overrides), options, recipe.seed)
    data = load_images(options["data"], made.graph(made.largest()))
    with training.processes(recipe.device) as processes, _showing(options["progress"], processes) as show:
        try:
            trained = training.train(made, data, recipe, method, show, checkpoint, processes)
        except KeyboardInterrupt:
            _stopped(ctx, checkpoint, processes)
    if processes.is_first:
        made.save(output)
        checkpoint.unlink(missing_ok=True)
        _report(trained, data, output, as_json)


def _checkpoint(output: Path, resume: bool) -> Path:
    """Where the epochs are kept. Raises ArchError E1326 where a training has left one that it is not to go on with."""
    path = output.with_name(output.name + ".checkpoint")
    if path.exists() and not resume:
        help = "go on with it: --resume; or remove the file"
        raise fail("E1326", f"{path} keeps a training that was stopped", help=help)
    return path


def _net(space: Any, options: dict[str, Any], seed: int) -> SuperNet:
    """A fresh supernet, or the one that is to be trained further."""
    from archlang.supernet.checkpoint import load
    from archlang.supernet.net import build

    if options["weights"] is not None:
        return load(options["weights"], space)
    transform = options["transform"]
    if transform is None:
        transform = options["method"].startswith("shrinking")
    return build(space, kernel_transform=transform, seed=seed)


def _stopped(ctx: click.Context, checkpoint: Path, processes: Processes) -> None:
    """Say how to go on, and end."""
    if processes.is_first:
        kept = checkpoint.exists()
        click.echo(
            f"stopped; to go on:  {called(ctx)} --resume" if kept else "stopped before the first epoch", err=True
        )
    ctx.exit(INTERRUPTED)


# ---- what comes of it ------------------------------------------------------------------------------------------------


def _report(trained: Trained, data: Dataset, output: Path, as_json: bool) -> None:
    from archlang.supernet.judge import Judge

    net, judge = trained.net, Judge(trained.net, data)
    ends: dict[str, Picks] = {"largest": net.largest(), "smallest": net.smallest()}
    if trained.found is not None:
        ends["found"] = trained.found
    judged = {name: _judged(net, judge, picks) for name, picks in ends.items()}
    document = {
        "output": str(output),
        "epochs": len(trained.losses),
        "loss": list(trained.losses),
        "seconds": trained.seconds,
        "train_images": len(data.y_train),
        "held_images": len(data.y_test),
        **judged,
    }
    if as_json:
        emit_json(document)
        return
    click.echo(f"supernet in {output}, after {len(trained.losses)} epochs in {trained.seconds:.1f} s")
    for name, found in judged.items():
        click.echo(
            f"{name:8}  accuracy {found['accuracy']:.4f}, {found['params']:,} parameters, {found['macs']:,} MACs"
        )
    if trained.found is not None:
        for line in net.space.describe(trained.found):
            click.echo(f"  {line}")


def _judged(net: SuperNet, judge: Any, picks: Picks) -> dict[str, Any]:
    amounts = net.space.sketch(picks).amounts
    params, macs = int(amounts["params"]), int(amounts["macs"])
    return {"accuracy": judge.accuracy(picks), "params": params, "macs": macs, "picks": dict(picks)}


# ---- progress --------------------------------------------------------------------------------------------------------


@contextmanager
def _showing(wanted: str, processes: Processes) -> Iterator[Show | None]:
    """What is called as the training goes on. Only the first process tells."""
    kind = wanted
    if wanted == "auto":
        kind = "live" if sys.stderr.isatty() else "none"
    if kind == "none" or not processes.is_first:
        yield None
    elif kind == "lines":
        yield _line
    else:
        with _bar() as show:
            yield show


def _line(progress: Progress) -> None:
    if progress.epoch.is_integer():
        where = f"epoch {progress.epoch:.0f} of {progress.epochs} ({progress.stage})"
        click.echo(f"{where}: loss {progress.loss:.4f}", err=True)


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[place]}"), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, place="")

        def show(now: Any) -> None:
            loss = "" if now.loss is None else f" loss {now.loss:.3f}"
            place = f"epoch {min(int(now.epoch) + 1, now.epochs)} of {now.epochs}"
            bar.update(task, total=now.epochs, completed=now.epoch, description=f"{now.stage}{loss}", place=place)

        yield show
