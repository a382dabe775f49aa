"""Options of `compile` that belong to the quantize pass, and how its report is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from archlang.cli import table
from archlang.errors import fail
from archlang.quantize import observers
from archlang.quantize.options import Budget, Options, Range

if TYPE_CHECKING:
    from archlang.quantize.report import Report

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

AUTO = "auto="
_TERMINAL = "-"


def quantize_options(function: Decorated) -> Decorated:
    """`--observer`, `--equalize`, `--bias-correction`, `--float`, `--report`; `options` takes their values."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS = (
    click.option(
        "--observer",
        default="min-max",
        show_default=True,
        metavar="NAME[=X]",
        help="How seen values become a range: " + ", ".join(observers.OBSERVERS) + "; `percentile=99.9`.",
    ),
    click.option("--equalize", is_flag=True, help="Bring the channels between layers to about the same range."),
    click.option(
        "--bias-correction/--no-bias-correction",
        default=None,
        help="Take back what rounded weights add to the mean.  [default: with --calibration]",
    ),
    click.option(
        "--float",
        "keep_float",
        multiple=True,
        metavar="LAYERS",
        help="Layers that stay float: names with `*`, commas between; `auto=3`: as many; `auto=30dB`: until so good.",
    ),
    click.option(
        "--report",
        is_flag=False,
        flag_value=_TERMINAL,
        metavar="[FILE]",
        help="What quantization costs, layer by layer; FILE is .md or .html.",
    ),
)


def options(given: Mapping[str, Any], ranges: Mapping[str, Range]) -> Options:
    """What the options ask for. ranges: from training. Raises ArchError, or click's error, where they cannot be."""
    names, budget = _kept(given["keep_float"])
    _check_suffix(given["report"])
    return Options(
        observers.parsed(given["observer"]),
        given["equalize"],
        given["bias_correction"],
        names,
        budget,
        dict(ranges),
        given["report"] is not None,
    )


def _kept(texts: tuple[str, ...]) -> tuple[tuple[str, ...], Budget | None]:
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    budgets = [_budget(part.removeprefix(AUTO)) for part in parts if part.startswith(AUTO)]
    if len(budgets) > 1:
        raise click.UsageError("--float takes one `auto=`")
    return tuple(part for part in parts if not part.startswith(AUTO)), budgets[0] if budgets else None


def _budget(text: str) -> Budget:
    number = text.removesuffix("dB")
    if text.isascii() and text.isdigit() and int(text) > 0:
        return Budget(layers=int(text))
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if number == text or not 0 < value < 200:
        raise click.UsageError(f"`auto={text}`: neither a number of layers (auto=3) nor decibels (auto=30dB)")
    return Budget(snr=value)


def _check_suffix(report: str | None) -> None:
    from archlang.quantize.report import WRITERS

    if report is not None and is_file(report) and Path(report).suffix not in WRITERS:
        raise fail("E0825", f"a report is written as {' or '.join(WRITERS)}, not to {report}")


def write(report: Report, path: Path) -> None:
    from archlang.files import write_whole
    from archlang.quantize.report import WRITERS

    write_whole(path, WRITERS[path.suffix](report).encode())


def show(report: Report) -> None:
    """The report in the terminal."""
    from archlang.quantize.report import TITLES, rows

    click.echo(report.summary())
    optional = ("in float", "bytes", "values dB", "weights dB", "op")
    table.show(table.Table(TITLES, rows(report), optional=optional))


def is_file(report: str | None) -> bool:
    """Whether the report goes to a file."""
    return report not in (None, _TERMINAL)
