"""`archlang supernet`: a whole space as one network with shared weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import table
from archlang.cli.common import console, data_option, emit_json, json_option, load_net, net_options, title
from archlang.cli.supernet_import import import_command
from archlang.cli.supernet_train import train_command
from archlang.errors import fail

if TYPE_CHECKING:
    from archlang.search.space import Picks, Space
    from archlang.supernet.decisions import Choice
    from archlang.supernet.net import SuperNet
    from archlang.supernet.predictor import Sample

_FILE = click.Path(path_type=Path)

DEFAULT = "source"
"""The subcommand that is meant where none is named."""


class _Commands(click.Group):
    """A group one of whose commands is meant where the first word is none of them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *self.get_help_option_names(ctx)):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Commands)
def command() -> None:
    """A whole space as one network whose sub-networks share their weights: train once, cut many.

    \b
    archlang supernet zoo:digits --to pytorch -o supernet.py
    archlang supernet train zoo:digits --data digits --method sandwich -o supernet.safetensors
    archlang supernet cut supernet.safetensors zoo:digits --smallest --data digits -o net.arch
    archlang compile net.arch --to tflite --weights net.safetensors

    `archlang supernet SPACE` means `archlang supernet source SPACE`.
    """


def space_of(spec: str, net: str | None, overrides: dict[str, Any]) -> Space:
    """The space of a net with choices. Raises ArchError E1324 where it has none."""
    from archlang.search.space import Space
    from archlang.search.space import space_of as found_space

    loaded = load_net(spec, net, overrides)
    found = found_space(loaded.value, loaded.args)
    if not isinstance(found, Space):
        help = "write alternatives in braces, such as `conv({8, 16}, {3, 5})`"
        raise fail("E1324", f"{title(loaded)} has no choices, so that there is one network", help=help)
    return found


@command.command(DEFAULT)
@net_options
@click.option("--to", "target", type=click.Choice(["pytorch"]), default="pytorch", show_default=True)
@click.option("-o", "--output", type=_FILE, metavar="F.py", help="SPACE's name by default.")
@json_option
def source_command(
    spec: str, net: str | None, overrides: dict[str, Any], target: str, output: Path | None, as_json: bool
) -> None:
    """Write the supernet of SPEC as a readable Python file, which needs PyTorch alone.

    Its weights have the names of those that `archlang supernet train` writes.
    """
    from archlang.backends.pytorch.supernet import generate_supernet
    from archlang.files import write_whole

    space = space_of(spec, net, overrides)
    made = generate_supernet(space, spec)
    path = output or Path(f"{space.name.lower()}_supernet.py")
    write_whole(path, made.text)
    if as_json:
        emit_json({"output": str(path), "target": target, "class": made.class_name, "lines": made.text.count("\n")})
    else:
        click.echo(f"wrote {path}: class {made.class_name}, {made.text.count(chr(10))} lines")


command.add_command(train_command)
command.add_command(import_command)


# ---- cut -------------------------------------------------------------------------------------------------------------


@command.command("cut")
@click.argument("file", type=_FILE)
@net_options
@click.option("--largest", "base", flag_value="largest", help="The sub-network of the most MACs.")
@click.option("--smallest", "base", flag_value="smallest", help="The sub-network of the fewest MACs.")
@click.option("--picks", metavar="JSON|FILE", help="An alternative's number for every decision's key.")
@click.option("--trial", metavar="DIR:N", help="What trial N of the search in DIR picked.")
@click.option("--pick", "texts", multiple=True, metavar="K=V", help="A decision's label or key, and its alternative.")
@data_option(help="Recalibrates the BatchNorms, and tells the accuracy.")
@click.option("-o", "--output", type=_FILE, required=True, metavar="NET.arch")
@json_option
def cut_command(
    file: Path, spec: str, net: str | None, overrides: dict[str, Any], output: Path, as_json: bool, **asked: Any
) -> None:
    """Take a sub-network out of FILE, a supernet of SPEC: NET.arch, and its weights in NET.safetensors.

    It computes what the supernet does with these picks. With --data its BatchNorm statistics are taken anew from
    training images; those of the training are of all sub-networks together.

    \b
    archlang supernet cut supernet.safetensors zoo:digits --largest --pick 'k in row 1=3' --data digits -o net.arch
    archlang supernet cut supernet.safetensors zoo:digits --trial runs/digits:12 --data digits -o net.arch
    """
    from archlang.cost import cost
    from archlang.supernet.checkpoint import load

    if output.suffix != ".arch":
        raise click.BadParameter(f"{output} does not end in .arch", param_hint="-o")
    loaded = load(file, space_of(spec, net, overrides))
    picks = _picks(loaded, asked)
    loaded.select(picks)
    accuracy = _accuracy(loaded, picks, asked["data"]) if asked["data"] else None
    made = loaded.cut(picks, output.stem if output.stem.isidentifier() else "Cut")
    arch, weights = made.save(output)
    total = cost(made.graph).total
    document = {
        "output": str(arch),
        "weights": str(weights),
        "picks": loaded.picks,
        "params": total.params,
        "macs": total.macs,
        "accuracy": accuracy,
    }
    if as_json:
        emit_json(document)
        return
    click.echo(f"wrote {arch} and {weights}: {total.params:,} parameters, {total.macs:,} MACs")
    if accuracy is not None:
        click.echo(f"accuracy {accuracy:.4f} on the images of {asked['data']} that are held out")
    else:
        click.echo(
            "note: its BatchNorm statistics are those of all sub-networks together; --data takes its own", err=True
        )


def _picks(net: SuperNet, asked: dict[str, Any]) -> Picks:
    """What the options ask for. Raises click's error where two of them do."""
    from archlang.supernet import picking

    bases = [name for name in ("base", "picks", "trial") if asked[name]]
    if len(bases) > 1:
        raise click.UsageError("give one of --largest, --smallest, --picks and --trial")
    changed = picking.picked(net.decisions, asked["texts"])
    if not bases:
        return changed
    return {**_base(net, bases[0], asked[bases[0]]), **changed}


def _base(net: SuperNet, option: str, value: str) -> Picks:
    """What an option that names a whole sub-network asks for."""
    from archlang.supernet import picking

    ways: dict[str, Callable[[], Picks]] = {
        "base": net.largest if value == "largest" else net.smallest,
        "picks": lambda: picking.read(value),
        "trial": lambda: picking.of_trial(value, net.space),
    }
    return ways[option]()


def _accuracy(net: SuperNet, picks: Picks, data: str) -> float:
    """On the held-out images, after recalibration. Raises ArchError where the data does not fit."""
    from archlang.supernet.judge import Judge, load_images

    return Judge(net, load_images(data, net.graph(net.largest()))).accuracy(picks)


# ---- predictor -------------------------------------------------------------------------------------------------------


@command.command("predictor")
@click.argument("file", type=_FILE)
@net_options
@data_option(required=True)
@click.option("--samples", default=200, show_default=True, type=click.IntRange(20), help="Sub-networks to learn from.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("-o", "--output", type=_FILE, required=True, metavar="P.json")
@json_option
def predictor_command(
    file: Path,
    spec: str,
    net: str | None,
    overrides: dict[str, Any],
    data: str,
    samples: int,
    seed: int,
    output: Path,
    as_json: bool,
) -> None:
    """Learn what accuracy to expect of any sub-network of FILE, a supernet of SPEC, from a random sample of them.

    A search with --evaluator 'predictor(file=P.json)' then tries thousands of candidates a second. What it prints is
    how well each fifth of the sample is predicted from the others. Ctrl-C ends the sampling, and what there is counts.
    """
    from archlang.supernet.checkpoint import load
    from archlang.supernet.predictor import agreement, fitted

    loaded = load(file, space_of(spec, net, overrides))
    found = _sampled(loaded, data, samples, seed)
    made, held = fitted(loaded.space.digest, found), agreement(loaded.space.digest, found)
    made.save(output)
    document = {
        "output": str(output),
        "samples": len(found),
        "spearman": held.spearman,
        "kendall": held.kendall,
        "mean_absolute_error": held.error,
    }
    if as_json:
        emit_json(document)
        return
    click.echo(f"wrote {output}, which has learnt from {len(found)} sub-networks")
    click.echo(
        f"Spearman {held.spearman:.3f}, Kendall {held.kendall:.3f}, mean error {held.error:.4f} where it has not"
    )


def _sampled(net: SuperNet, data: str, count: int, seed: int) -> list[Sample]:
    """Different sub-networks, drawn at random, with their accuracies; fewer than `count` after Ctrl-C."""
    from random import Random

    from archlang.search.trial import key_of
    from archlang.supernet.judge import Judge, load_images

    judge, rng = Judge(net, load_images(data, net.graph(net.largest()))), Random(seed)
    found: dict[str, Sample] = {}
    with suppress(KeyboardInterrupt), _counted(count) as show:
        for _ in range(20 * count):  # a small space has fewer
            picks = net.space.sample(rng)
            if (key := key_of(picks)) not in found:
                found[key] = (dict(picks), judge.accuracy(picks))
                show(len(found))
            if len(found) == count:
                break
    return list(found.values())


@contextmanager
def _counted(count: int) -> Iterator[Callable[[int], None]]:
    """What to call with the number of sub-networks that are judged. It is shown on a terminal."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda done: None
        return
    with screen.status("") as status:
        yield lambda done: status.update(f"{done} of {count} sub-networks")


# ---- info ------------------------------------------------------------------------------------------------------------


@command.command("info")
@net_options
@click.option("--weights", type=_FILE, metavar="FILE", help="A supernet, to see whether it is one of this space.")
@json_option
def info_command(spec: str, net: str | None, overrides: dict[str, Any], weights: Path | None, as_json: bool) -> None:
    """What the supernet of SPEC is made of: decisions with their keys, kinds and alternatives; its size beside that of
    its largest and smallest sub-network."""
    from archlang.supernet import decisions
    from archlang.supernet.union import union

    space = space_of(spec, net, overrides)
    found = union(space)
    if weights is not None:
        from archlang.supernet.checkpoint import load

        load(weights, space)
    choices = decisions.choices(found)
    ends = {"largest": decisions.largest(space), "smallest": decisions.smallest(space)}
    shared = sum(_size(param.shape) for param in found.params.values() if param.trainable)
    document = {
        "net": space.name,
        "log10_size": space.log10_size,
        "params": shared,
        "sites": len(found.sites),
        **{name: {"picks": dict(picks), **picks.sketch.amounts} for name, picks in ends.items()},
        "decisions": [
            {"key": each.key, "label": each.label, "kind": each.kind, "alternatives": list(each.alternatives)}
            for each in choices
        ],
    }
    if as_json:
        emit_json(document)
    else:
        _show(document, choices)


def _size(shape: tuple[int, ...]) -> int:
    from math import prod

    return prod(shape)


def _show(document: dict[str, Any], choices: tuple[Choice, ...]) -> None:
    rows = [[each.key, each.kind, each.label.replace("`", ""), ", ".join(each.alternatives)] for each in choices]
    table.show(table.Table(("key", "kind", "decision", "alternatives"), rows))
    size = document["log10_size"]
    count = "too many networks to be counted" if size is None else f"10^{size:.1f} networks"
    click.echo(f"{document['net']}: {count} in {document['params']:,} shared parameters at {document['sites']} sites")
    for name in ("largest", "smallest"):
        found = document[name]
        click.echo(f"{name}: {found['params']:,.0f} parameters, {found['macs']:,.0f} MACs")
