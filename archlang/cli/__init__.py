"""The command line: one module a command, each imported when it is called.

A command's module `archlang.cli.NAME` exports `command`. This one knows the names, and how the program ends: every
error that a command raises becomes text (or, with `--json`, a document) and an exit code here, and nowhere else.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

from archlang.cli import failures
from archlang.cli.common import wants_json
from archlang.errors import nearest

COMMANDS = {
    "check": "Check .arch files: syntax, names, shapes, `expect` lines; a space: its size, and that it fits.",
    "fmt": "Format .arch files in place.",
    "cost": "Parameters, multiply-accumulates and memory of a network, layer by layer.",
    "graph": "Draw a network: SVG, PNG, an HTML page, Mermaid, DOT.",
    "ir": "Print the flat graph as text, before or after passes.",
    "diff": "What changed between two networks: source, cost, layers.",
    "compile": "Generate PyTorch, ONNX or TFLite.",
    "bench": "Measure latency on a device.",
    "devices": "The devices that latency is measured on: list, check, add.",
    "compare": "Compiled files side by side: operators, sizes, latency, outputs.",
    "train": "Train the generated PyTorch on a data set.",
    "mutate": "Rewrite a network in small ways: kernels, widths, blocks, skips.",
    "search": "Search a space for the best networks, measured on the device.",
    "scale": "Families of a network: deeper, wider, finer; the member that meets a budget.",
    "supernet": "A whole space as one network with shared weights: write, train, cut.",
    "report": "A search as one HTML page that works offline.",
    "classify": "What a compiled file sees in photographs.",
    "weights": "Import a foreign checkpoint, look into a file of weights, compare two.",
    "deploy": "A folder to ship: the model, its metadata, a runner, a manifest.",
    "zoo": "The networks that ship: list, show, copy.",
    "completion": "The code for bash, zsh or fish that completes words on Tab.",
    "explain": "What an error code means, with a wrong and a right example.",
}


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        if "_ARCHLANG_COMPLETE" in os.environ:
            import_module("archlang.cli.completion").register()
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"archlang.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command `{name}`; {nearest(name, COMMANDS) or _SEE_HELP}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> None:
        try:
            super().invoke(ctx)
        except failures.CLICKS_OWN:
            raise
        except BaseException as error:
            if failures.traceback_wanted():
                raise
            ctx.exit(failures.report(error, wants_json(ctx)))


_SEE_HELP = "`archlang --help` lists them"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="archlang", prog_name="archlang")
def main() -> None:
    """A compiler for neural network architectures: .arch files in, PyTorch, ONNX and quantized TFLite out.

    SPEC is FILE[:NAME], or zoo:FAMILY[:VARIANT] for a network that ships.
    """
