"""Limits on the command line: `2G`, `30ms`, or `2x` for twice what the original has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class Amount:
    """A limit. times: it is so many times the original's."""

    value: float
    times: bool


class Limit(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs only
    """A number with a unit of the language, or a factor."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Amount:
        from archlang.lower.expressions import number

        if isinstance(value, Amount):
            return value
        text = str(value).strip()
        times = text.endswith(("x", "×"))
        try:
            found = float(number(text[:-1] if times else text))
        except (ValueError, KeyError, OverflowError):
            self.fail(f"`{text}` is no limit: such as 2G, 5M, 30ms, or 2x for twice the original's", param, ctx)
        if not 0 < found < float("inf"):
            self.fail(f"`{text}`: a limit is more than nothing", param, ctx)
        return Amount(found, times)
