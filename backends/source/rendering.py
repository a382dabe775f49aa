"""What backends that generate source share: the facts in a file's header, and the templates."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import archlang
from archlang.cost import cost
from archlang.ir.graph import Graph

if TYPE_CHECKING:
    from jinja2 import Environment


def facts(graph: Graph, origin: str, escaped: Callable[[str], str]) -> dict[str, str]:
    """Where generated text comes from, and what its network costs. escaped: makes text of the source harmless there."""
    total = cost(graph).total
    return {
        "name": escaped(graph.name),
        "version": archlang.__version__,
        "origin": escaped(origin),
        "digest": graph.digest,
        "params": f"{total.params:,}",
        "macs": f"{total.macs:,}",
    }


def render(package: str, template: str, **values: Any) -> str:
    """A template of the backend `package`, filled in. An undefined name is an error."""
    return _environment(package).get_template(template).render(**values)


@cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(loader=PackageLoader(package), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
