"""`archlang ir SPEC`."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

import click

from archlang.cli import complete
from archlang.cli.common import echo_diff_line, emit_json, json_option, load_net, net_options, title
from archlang.errors import nearest

if TYPE_CHECKING:
    from archlang.ir.graph import Graph, Node


def _known_passes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    from archlang.passes import PASSES

    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if names == ("all",):
        return tuple(PASSES)
    for name in names:
        if name not in PASSES:
            raise click.BadParameter(f"there is no pass `{name}`; {nearest(name, PASSES)}")
    return names


@click.command
@net_options
@click.option(
    "--passes",
    default="",
    callback=_known_passes,
    metavar="A,B",
    shell_complete=complete.passes,
    help="Passes to run, in this order; `all` of them.",
)
@click.option("--each", "view", flag_value="each", help="The graph before the passes and after each of them.")
@click.option("--diff", "view", flag_value="diff", help="What each pass changes, line by line.")
@json_option
def command(
    spec: str, net: str | None, overrides: dict[str, str], passes: tuple[str, ...], view: str | None, as_json: bool
) -> None:
    """Print the flat graph of SPEC as text, before or after passes.

    --each and --diff take all passes where --passes names none. In a diff, a value is called by its name instead of
    by its number, so that what a pass leaves alone stays equal.
    """
    from archlang.passes import PASSES

    loaded = load_net(spec, net, overrides)
    steps = run_steps(loaded.graph, passes or (tuple(PASSES) if view else ()))
    if as_json:
        emit_json({"net": title(loaded), **document(steps)})
    else:
        _VIEWS[view or "last"](steps)


@dataclass(frozen=True)
class Step:
    """A pass that has run. name: empty for the graph before all passes."""

    name: str
    before: Graph
    after: Graph

    def diff(self) -> list[str]:
        """A unified diff, without a line where the pass changed nothing."""
        names = (f"before {self.name}", f"after {self.name}")
        return list(unified_diff(named_lines(self.before), named_lines(self.after), *names, lineterm="", n=1))


def run_steps(graph: Graph, passes: tuple[str, ...]) -> list[Step]:
    """The graph as it is, and after each pass."""
    from archlang.passes import PASSES

    steps = [Step("", graph, graph)]
    for name in passes:
        before = steps[-1].after
        steps.append(Step(name, before, PASSES[name](before)))
    return steps


def document(steps: list[Step]) -> dict[str, Any]:
    """The document of `--json`: the last graph, and each pass with what it changed."""
    from archlang.ir import print_graph

    last = steps[-1].after
    ran = [
        {"pass": step.name, "nodes": len(step.after.nodes), "digest": step.after.digest, "diff": "\n".join(step.diff())}
        for step in steps[1:]
    ]
    names = [step.name for step in steps[1:]]
    return {"passes": names, "digest": last.digest, "text": print_graph(last), "steps": ran}


def named_lines(graph: Graph) -> list[str]:
    """A line for each node, in which values are called by the names of the last op that is in them."""
    called = [(node, *node.fused)[-1].name for node in graph.nodes]
    lines = [_named_line(node, [called[j] for j in node.inputs]) for node in graph.nodes]
    return [*lines, *(f"return {'aux ' * out.aux}{out.name}={called[out.value]}" for out in graph.outputs)]


def _named_line(node: Node, inputs: list[str]) -> str:
    from archlang.ir.graph import op_text

    fused = "".join(f" + {op_text(part.op)} as {part.name}" for part in node.fused)
    read = f"({', '.join(inputs)})" if inputs else ""
    return f"{node.name} = {op_text(node.op)}{read}{fused} : {node.type}"


def _show_last(steps: list[Step]) -> None:
    from archlang.ir import print_graph

    click.echo(print_graph(steps[-1].after), nl=False)


def _show_each(steps: list[Step]) -> None:
    from archlang.ir import print_graph

    parts = [f"# {_headline(step)}\n{print_graph(step.after)}" for step in steps]
    click.echo("\n".join(parts), nl=False)


def _show_diffs(steps: list[Step]) -> None:
    for step in steps[1:]:
        click.echo(f"# {_headline(step)}")
        for line in step.diff():
            echo_diff_line(line)


def _headline(step: Step) -> str:
    if not step.name:
        return f"before all passes: {len(step.after.nodes)} nodes"
    if not step.diff():
        return f"{step.name}: changes nothing"
    return f"after {step.name}: {len(step.before.nodes)} nodes -> {len(step.after.nodes)}"


_VIEWS = {"last": _show_last, "each": _show_each, "diff": _show_diffs}
