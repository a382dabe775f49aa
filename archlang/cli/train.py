"""`archlang train SPEC`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli.common import console, emit_json, json_option, load_net, net_options, training_options

if TYPE_CHECKING:
    from archlang.data import Dataset
    from archlang.train import Epoch, TrainResult


@click.command
@net_options
@training_options(epochs=10, batch_size=32)
@click.option(
    "--ema", default=0.0, show_default=True, type=click.FloatRange(0, 1, max_open=True), help="Decay; 0: none."
)
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="FILE", help="Kept each epoch; goes on from it.")
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="Start from these.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="W.safetensors")
@json_option
def command(
    spec: str,
    net: str | None,
    overrides: dict[str, Any],
    data: str,
    weights: Path | None,
    checkpoint: Path | None,
    settings: str,
    output: Path,
    as_json: bool,
    **recipe: Any,
) -> None:
    """Train the PyTorch of SPEC to classify images; writes the weights and prints the accuracy.

    The images are resized to the network's input. SGD with Nesterov momentum, label smoothing, warm-up, cosine decay,
    where --recipe asks for nothing else.
    """
    from archlang import weights as arrays
    from archlang.data import load_data
    from archlang.train import Recipe, check_recipe, train

    if output.suffix != ".safetensors":
        raise click.BadParameter(f"{output} does not end in .safetensors", param_hint="-o")
    settled = Recipe(**recipe).with_text(settings)
    check_recipe(settled)
    graph = load_net(spec, net, overrides).graph
    start = arrays.checked(graph, arrays.load(weights), str(weights)) if weights is not None else None
    dataset = load_data(data, graph.nodes[graph.inputs[0]].type.shape)
    with _epochs(settled.epochs) as progress:
        result = train(graph, dataset, settled, start, progress, checkpoint)
    arrays.save(result.weights, output, {"net": graph.name, "digest": graph.digest, "data": data})
    _report(result, dataset, output, as_json)


def _report(result: TrainResult, data: Dataset, output: Path, as_json: bool) -> None:
    document = {
        "output": str(output),
        "accuracy": result.accuracy,
        "loss": list(result.loss),
        "epochs": len(result.loss),
        "epoch": result.epoch,
        "seconds": result.seconds,
        "train_images": len(data.y_train),
        "test_images": len(data.y_test),
    }
    if as_json:
        emit_json(document)
        return
    where = f"{len(data.y_test)} test images of {data.name}, after {len(result.loss)} epochs"
    click.echo(f"accuracy {result.accuracy:.4f} on {where} in {result.seconds:.1f} s\nweights in {output}")


@contextmanager
def _epochs(count: int) -> Iterator[Callable[[Epoch], None] | None]:
    """A bar on stderr, on a terminal only."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("epochs", total=count)
        yield lambda epoch: bar.update(task, completed=epoch.number, description=f"loss {epoch.loss:.3f}")
