"""The files that a search was read from, kept in its run: it can be read again when they have changed or are gone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from archlang.errors import fail
from archlang.lower import LIBRARY, Loader, Module
from archlang.lower.module import Imported
from archlang.lower.values import show


@dataclass(frozen=True)
class Bundle:
    """files: path below a common folder, with `/`, -> text; `main` is the one that was asked for, `search` the name of
    its search. What ships with archlang is left out. overrides: the net's parameters, as the language writes them."""

    files: Mapping[str, str]
    main: str
    search: str
    overrides: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def imported(self) -> dict[str, str]:
        """The files beside the main one."""
        return {name: text for name, text in self.files.items() if name != self.main}

    def module(self) -> Module:
        """The module of the main file. Raises ArchError where this version of the language does not take it."""
        with TemporaryDirectory() as folder:
            root = Path(folder).resolve()
            for name, text in self.files.items():
                path = root / _inside(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return Loader([root]).load(root / self.main, PurePosixPath(self.main).name)


def bundle(module: Module, search: str, overrides: Mapping[str, Any]) -> Bundle:
    """What the search of that name in `module` needs. A text that is no file is called `search.arch`."""
    files = {path: found for found in _modules(module, set()) if (path := found.path or Path.cwd() / "search.arch")}
    root = os.path.commonpath([path.parent for path in files])
    texts = {path.relative_to(root).as_posix(): found.source.text for path, found in files.items()}
    written = {name: value if isinstance(value, str) else show(value) for name, value in overrides.items()}
    return Bundle(texts, next(iter(texts)), search, written)


def _modules(module: Module, seen: set[int]) -> Iterator[Module]:
    """The module and those that it imports, each once, without those that ship. The first is always there."""
    seen.add(id(module))
    yield module
    for value in module.names.values():
        if isinstance(value, Imported) and id(value.module) not in seen and not _ships(value.module):
            yield from _modules(value.module, seen)


def _ships(module: Module) -> bool:
    return module.path is not None and module.path.is_relative_to(LIBRARY.resolve())


def _inside(name: str) -> PurePosixPath:
    """The name, which comes from a database that anyone may have made, as a path that stays where it is put."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise fail("E1206", f"the database keeps a file of the name {name!r}")
    return path
