"""What a model file tells those who use it: how pixels become inputs, and what the outputs stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archlang.errors import ArchError, fail
from archlang.ir.graph import Graph, Node, Output


@dataclass(frozen=True)
class About:
    """mean, std: inputs are (pixel - mean) / std of pixels 0..255, one number or one a channel; empty where unknown.

    labels: the name of each class.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


def read_labels(path: Path) -> tuple[str, ...]:
    """The name of a class on each line. Raises ArchError where the file is missing or no text."""
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError as error:
        raise fail("E0605", f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        raise fail("E0607", f"{path} cannot be read: {error}") from error


def pixels_input(graph: Graph, about: About) -> Node | None:
    """The input that `mean` and `std` are about: the first that is an image; None where nothing is said of it.

    Raises ArchError where there is none, or where the numbers are neither one nor one a channel.
    """
    if not about.mean and not about.std:
        return None
    nodes = [graph.nodes[i] for i in graph.inputs if graph.nodes[i].type.is_image]
    if not nodes:
        raise fail("E0905", f"{graph.name} has no image as its input, so `mean` and `std` mean nothing")
    for name, values in (("mean", about.mean), ("std", about.std)):
        if len(values) not in (0, 1, nodes[0].type.channels):
            raise _numbers(name, len(values), nodes[0])
    return nodes[0]


def _numbers(name: str, count: int, node: Node) -> ArchError:
    return fail("E0905", f"{count} values of `{name}` for {node.type.channels} channels of `{node.name}`")


def labelled_output(graph: Graph, about: About) -> Output | None:
    """The output whose values the labels name: the first vector, or sequence, of as many features.

    Raises ArchError where there is none.
    """
    if not about.labels:
        return None
    outputs = [output for output in graph.outputs if not output.aux]
    types = {output.name: graph.nodes[output.value].type for output in outputs}
    for output in outputs:
        if types[output.name].channels == len(about.labels):
            return output
    found = ", ".join(f"`{name}` {type_}" for name, type_ in types.items())
    raise fail("E0609", f"there are {len(about.labels)} labels, and {graph.name} has the outputs {found}")
