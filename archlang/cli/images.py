"""Options of the commands that take photographs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def pixel_options(function: Decorated) -> Decorated:
    """`--mean` and `--std`: how pixels of 0..255 become inputs."""
    std = click.option(
        "--std", callback=_numbers, metavar="X[,Y,Z]", help="What they are divided by; 255 if not given."
    )
    mean = click.option(
        "--mean", callback=_numbers, metavar="X[,Y,Z]", help="What is taken from pixels of 0..255; 0 if not given."
    )
    return mean(std(function))


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """One number, or one a channel with commas between them."""
    if value is None:
        return None
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"`{value}` is not a number, or several with commas between them") from error
    if param.name == "std" and not all(number > 0 for number in numbers):
        raise click.BadParameter("it must be larger than 0")
    return numbers
