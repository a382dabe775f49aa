"""What the commands share: options, reading a spec, printing."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from archlang.cli import complete
from archlang.files import DEVICES_FILE, IMPORT_PATH

if TYPE_CHECKING:
    from rich.console import Console

    from archlang.net import Net

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_JSON = "archlang.json"
_WORDS = "archlang.words"


def json_option(function: Decorated) -> Decorated:
    """`--json`: the command's result, or its errors, as one document on stdout."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
        ctx.meta[_JSON] = value or wants_json(ctx)
        return value

    help = "One JSON document on stdout and nothing else there."
    return click.option("--json", "as_json", is_flag=True, is_eager=True, callback=remember, help=help)(function)


def wants_json(ctx: click.Context) -> bool:
    return bool(ctx.meta.get(_JSON))


def net_options(function: Decorated, spec_required: bool = True) -> Decorated:
    """SPEC, `--net` and `--set`: which network; `load_net` takes their values."""
    function = click.option(
        "--net", metavar="EXPR", help="An expression that yields the net, such as `compound(1.5)`."
    )(set_option(import_path_option(function)))
    return click.argument("spec", required=spec_required, shell_complete=complete.spec)(function)


def import_path_option(function: Decorated) -> Decorated:
    """`--import-path`: folders that imports may reach, besides that of the file itself."""

    def allow(ctx: click.Context, _: click.Parameter, folders: tuple[str, ...]) -> None:
        if not folders:
            return
        before = os.environ.get(IMPORT_PATH)
        os.environ[IMPORT_PATH] = os.pathsep.join([*folders, *filter(None, [before])])
        ctx.call_on_close(lambda: _restore(IMPORT_PATH, before))

    return click.option(
        "--import-path",
        multiple=True,
        type=click.Path(exists=True, file_okay=False),
        callback=allow,
        expose_value=False,
        help="A folder that imports may reach, besides the file's own.",
    )(function)


def devices_option(function: Decorated) -> Decorated:
    """`--devices`: another file with named devices than the user's own."""

    def name(ctx: click.Context, _: click.Parameter, file: str | None) -> None:
        if file is None:
            return
        before = os.environ.get(DEVICES_FILE)
        os.environ[DEVICES_FILE] = file
        ctx.call_on_close(lambda: _restore(DEVICES_FILE, before))

    return click.option(
        "--devices",
        "devices_file",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        callback=name,
        expose_value=False,
        is_eager=True,
        help="The file that names the devices, in place of your own devices.toml.",
    )(function)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def set_option(function: Decorated) -> Decorated:
    """`--set`: parameters of the net, as `overrides`."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        callback=_parse_overrides,
        metavar="K=V",
        shell_complete=complete.parameters,
        help="Set a parameter of the net.",
    )(function)


def training_options(epochs: int, batch_size: int, batch_help: str | None = None) -> Callable[[Decorated], Decorated]:
    """`--data`, and what a `Recipe` holds: `--epochs`, `--batch-size`, `--lr`, `--seed`, `--device`, `--recipe`, whose
    text is `settings`. `epochs` and `batch_size` are the defaults."""
    positive, device = click.FloatRange(0, min_open=True), click.Choice(["auto", "cpu", "cuda"])
    options = (
        data_option(required=True),
        click.option("--epochs", default=epochs, show_default=True, type=click.IntRange(1)),
        click.option("--batch-size", default=batch_size, show_default=True, type=click.IntRange(2), help=batch_help),
        click.option("--lr", default=0.1, show_default=True, type=positive, help="Peak learning rate."),
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0)),
        click.option(
            "--device",
            "--accelerator",
            default="auto",
            show_default=True,
            type=device,
            help="auto: CUDA where PyTorch finds it.",
        ),
        recipe_option,
    )

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def data_option(
    required: bool = False, help: str = "digits, npz:FILE, folder:DIR, idx:DIR or module:function."
) -> Callable[[Decorated], Decorated]:
    """`--data`: images and their classes."""
    return click.option("--data", required=required, metavar="D", shell_complete=complete.data, help=help)


def recipe_option(function: Decorated) -> Decorated:
    """`--recipe`: how a training goes, as `settings`, a text that `Recipe.with_text` reads."""
    help = "More of the training: 'schedule=step, augment=crop+flip, precision=bfloat16, patience=3'."
    return click.option("--recipe", "settings", default="", metavar="'K=V, ...'", help=help)(function)


class Remembering(click.Command):
    """Keeps the words that it was called with: results say how they were made, and what was stopped how to go on."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = list(args)
        return super().parse_args(ctx, args)


def words_of(ctx: click.Context) -> list[str]:
    """What stood on the command line behind the name of a `Remembering` command."""
    return list(ctx.meta[_WORDS])


def called(ctx: click.Context) -> str:
    """The line that asks for the same result again: without what says to go on, or how to tell of it."""
    words = [word for word in words_of(ctx) if word not in ("--resume", "--json")]
    names: list[str] = []
    while ctx.parent is not None:  # the outermost is archlang, however it was started
        names.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return shlex.join(["archlang", *names, *words])


def load_net(spec: str, net: str | None, overrides: dict[str, str]) -> Net:
    """The network that the options of `net_options` ask for. Raises ArchError."""
    import archlang

    return archlang.load(spec, net=net, **overrides)


def title(net: Net) -> str:
    """What a net is called: `Net.variant`, a call such as `Net(width=0.5)`, or the name alone."""
    return net.value.label or net.name


def _parse_overrides(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """The texts by name; they are expressions of the language, which `archlang.load` evaluates."""
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip().isidentifier():
            raise click.BadParameter(f"`{pair}` is not of the form name=value")
        values[name.strip()] = text.strip()
    return values


def emit_json(document: Any) -> None:
    """The one document on stdout. NaN and infinities, which JSON has not, become null."""
    click.echo(json.dumps(_finite(document), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def console(stderr: bool = False) -> Console:
    """A rich console, imported late: it takes a tenth of a second. Progress goes to stderr."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def stdout_colours() -> bool | None:
    """For click: None lets it find out whether stdout is a terminal. See https://no-color.org."""
    return False if os.environ.get("NO_COLOR") else None


def coloured_source(text: str) -> str:
    """Source text of the language, coloured where stdout is a terminal, Pygments is there and NO_COLOR does not forbid
    it."""
    if not sys.stdout.isatty() or stdout_colours() is False:
        return text
    try:
        from pygments import highlight
        from pygments.formatters import TerminalFormatter
    except ImportError:
        return text
    from archlang.grammar.pygments_lexer import TERMINAL, ArchLexer

    return highlight(text, ArchLexer(stripnl=False, ensurenl=False), TerminalFormatter(colorscheme=TERMINAL))


_DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def echo_diff_line(line: str) -> None:
    """A line of a unified diff, coloured on a terminal."""
    styled = click.style(line, fg=_DIFF_COLOURS.get(line[:1]), bold=line.startswith(("---", "+++")))
    click.echo(styled, color=stdout_colours())


def bytes_text(count: float) -> str:
    """A number of bytes for a person: `4.6 MB` (powers of 1000)."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
