"""SPEC on the command line and in `archlang.load`: `FILE[:NAME]` or `zoo:FAMILY[:NAME]`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archlang.errors import fail, nearest
from archlang.files import IMPORT_PATH
from archlang.lower import (
    LIBRARY,
    Loader,
    Module,
    NetValue,
    default_net,
    expression,
    net_expression,
    net_named,
    read_source,
)
from archlang.lower.values import Value
from archlang.source import Source
from archlang.syntax.parser import parse_expression


@dataclass(frozen=True)
class Spec:
    """A SPEC taken apart. shown: how diagnostics call the file."""

    text: str
    path: Path
    name: str
    shown: str


def split(spec: str) -> Spec:
    """The file and the net's name, which may be empty. Raises ArchError where there is no such file."""
    if spec.startswith("zoo:"):
        family, _, name = spec[4:].partition(":")
        return Spec(spec, zoo_path(family), name, f"zoo:{family}")
    path, colon, name = spec, "", ""
    if not Path(spec).is_file():
        path, colon, name = spec.rpartition(":")
        if not colon or not path.endswith(".arch"):
            path, name = spec, ""
    found = Path(path)
    if not found.is_file():
        known = [str(file) for file in sorted(found.parent.glob("*.arch"))] if found.parent.is_dir() else []
        what = "is a folder" if found.is_dir() else "there is no file"
        message = f"{path} is a folder" if found.is_dir() else f"{what} {path}"
        help_ = nearest(path, [*known, *(f"zoo:{family}" for family in families() if family == path)])
        raise fail("E0001", message, help=help_)
    return Spec(spec, found, name, path)


def families() -> list[str]:
    """The families that ship, the search spaces after the nets."""
    nets = sorted(path.stem for path in LIBRARY.glob("*.arch"))
    return nets + sorted(path.stem for path in (LIBRARY / "spaces").glob("*.arch"))


def zoo_path(family: str) -> Path:
    """The file of a family that ships."""
    for path in (LIBRARY / f"{family}.arch", LIBRARY / "spaces" / f"{family}.arch"):
        if family.isidentifier() and path.is_file():
            return path
    raise fail("E0001", f"the zoo has no family `{family}`", help=nearest(family, families()))


def module_of(spec: Spec) -> Module:
    return Loader(import_roots()).load(spec.path, spec.shown)


def module_of_text(text: str, name: str) -> Module:
    return Loader(import_roots()).loads(Source(name, text))


def import_roots() -> list[Path]:
    """The folders of the variable ARCHLANG_IMPORT_PATH, which imports may reach. `--import-path` sets it, so that
    worker processes know them too."""
    return [Path(part) for part in os.environ.get(IMPORT_PATH, "").split(os.pathsep) if part]


def net_of(module: Module, name: str, expr: str | None) -> NetValue:
    """The net that NAME or `--net` means, or the file's own."""
    if expr is not None:
        node = parse_expression(expr, "--net")
        return net_expression(module, node)
    return net_named(module, name) if name else default_net(module)


def values(module: Module, overrides: Mapping[str, Any]) -> dict[str, Value]:
    """Overrides from Python or `--set` as values of the language: text is an expression in the file's scope."""
    return {name: _value(module, value) for name, value in overrides.items()}


def _value(module: Module, value: Any) -> Value:
    if isinstance(value, list | tuple):
        return tuple(_value(module, item) for item in value)
    if isinstance(value, str):
        return expression(module, parse_expression(value, "--set"))
    return value


__all__ = ["Spec", "families", "module_of", "module_of_text", "net_of", "read_source", "split", "values", "zoo_path"]
