"""Files: their definitions by name, and what they import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from archlang.errors import ArchError, Diagnostic, Label, fail, nearest
from archlang.lower.builtins import NAMES
from archlang.lower.values import Block, ChoiceValue, FnValue, NetValue, Value
from archlang.source import Source, Span
from archlang.syntax import parse, tree
from archlang.syntax.parser import MAX_BYTES

LIBRARY = Path(__file__).parents[1] / "zoo"
"""specs/, where `std.mobile` is std/mobile.arch."""

MAX_IMPORT_DEPTH = 50

_IDENTITIES = count()


@dataclass(eq=False)
class Module:
    """A file's top-level names. Constants are evaluated at their first use.

    path: of the file, None for text. constants: name -> definition; variants: net name -> its tables; docs: block or
    net -> its comment, rows: net -> those of its variants, once they were looked for.
    """

    program: tree.Program
    path: Path | None
    names: dict[str, Value] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    constants: dict[str, tree.ConstDef] = field(default_factory=dict)
    aliases: dict[str, tree.NetAlias] = field(default_factory=dict)
    variants: dict[str, list[tree.Variants]] = field(default_factory=dict)
    nets: list[str] = field(default_factory=list)
    docs: dict[str, str] = field(default_factory=dict)
    rows: dict[Any, Any] = field(default_factory=dict)

    @property
    def source(self) -> Source:
        return self.program.source

    def known(self) -> list[str]:
        return [*self.names, *self.constants, *self.aliases]

    def definitions(self, name: str) -> list[tuple[tree.Node, Module]]:
        """The source of what a name of the file means, and the file that it stands in."""
        value = self.names.get(name)
        if isinstance(value, Imported):
            return value.module.definitions(value.name)
        if isinstance(value, Block | ChoiceValue | NetValue | FnValue):
            return [(value.decl, self)]
        found = (self.constants.get(name), self.aliases.get(name))
        return [(node, self) for node in found if node is not None]


def read_source(path: Path, name: str | None = None) -> Source:
    """The text of a file. Raises ArchError where there is none, it is too large, or it is not UTF-8."""
    if path.exists() and not path.is_file():  # a device or a pipe may have no end
        raise fail("E0001", f"{name or path} is {'a folder' if path.is_dir() else 'a device or a pipe'}, not a file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = "there is no file" if isinstance(error, FileNotFoundError) else f"cannot read ({error.strerror})"
        raise fail("E0001", f"{reason} {name or path}") from error
    if len(data) > MAX_BYTES:
        message = f"{name or path} is larger than {MAX_BYTES // 1_000_000} MB"
        raise fail("E0003", message, help="split it into files that import each other")
    try:
        return Source(name or str(path), data.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise fail(
            "E0002", f"{name or path} is not UTF-8 text: byte {error.start} is not", help="save it as UTF-8"
        ) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


class Loader:
    """Loads files and what they import, each once.

    roots: folders that imports may reach besides that of the file that is loaded first.
    """

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        self.roots = roots
        self.modules: dict[Path, Module] = {}
        self.loading: list[Path] = []

    def load(self, path: Path, name: str | None = None) -> Module:
        real = path.resolve()
        if real not in self.modules:
            self.loading.append(real)
            self.modules[real] = self.link(parse(read_source(path, name)), real)
            self.loading.pop()
        return self.modules[real]

    def loads(self, source: Source) -> Module:
        return self.link(parse(source), None)

    def link(self, program: tree.Program, path: Path | None) -> Module:
        """The module of a program. Raises ArchError with every definition or import that is wrong."""
        module = Module(program, path)
        errors: list[Diagnostic] = []
        for item in program.items:
            try:
                _DEFINE[type(item)](self, module, item)
            except ArchError as error:
                errors += error.diagnostics
        if errors:
            raise ArchError(errors)
        return module

    def imports(self, module: Module, item: tree.Import) -> None:
        source = self._imported(module, item)
        for name in item.names:
            if name.id not in source.names and name.id not in source.constants and name.id not in source.aliases:
                help_ = nearest(name.id, source.known())
                raise fail("E0204", f"{item.path} defines no `{name.id}`", name.span, help=help_)
            _claim(module, name)
            module.names[name.id] = Imported(source, name.id)

    def _imported(self, module: Module, item: tree.Import) -> Module:
        where = self._import_path(module, item)
        if where.resolve() in self.loading:
            raise fail("E0205", f"{item.path} is imported in a circle", item.span)
        if len(self.loading) > MAX_IMPORT_DEPTH:
            raise fail("E0205", f"imports are nested deeper than {MAX_IMPORT_DEPTH}", item.span)
        if not _is_file(where):
            known = [f"std.{path.stem}" for path in sorted((LIBRARY / "std").glob("*.arch"))]
            help_ = nearest(item.path, known) if not item.path.startswith('"') else ""
            raise fail("E0001", f"there is no file {where.name} to import", item.span, help=help_)
        try:
            return self.load(where)
        except ArchError as error:
            raise error.expanded(f"the import of {item.path} in {module.source.name}") from None

    def _import_path(self, module: Module, item: tree.Import) -> Path:
        if not item.path.startswith('"'):
            return LIBRARY.joinpath(*item.path.split(".")).with_suffix(".arch")
        if module.path is None:
            raise fail("E0205", "text that is not a file cannot import a file beside it", item.span)
        where = module.path.parent / item.path.strip('"')
        roots = (self.loading[0].parent, LIBRARY, *self.roots)
        try:
            real = where.resolve()
        except (OSError, RuntimeError) as error:  # a name too long; symbolic links in a circle
            raise fail("E0001", f"there is no file {item.path} to import", item.span) from error
        if not any(real.is_relative_to(root.resolve()) for root in roots):
            message = f"{item.path} lies outside the folder of the file that is compiled"
            help_ = "another folder may be read where `--import-path FOLDER` says so"
            raise fail("E0205", message, item.span, help=help_)
        return where

    # definitions

    def block(self, module: Module, item: tree.BlockDef) -> None:
        _claim(module, item.name)
        _check_params((*item.inputs, *item.params))
        module.names[item.name.id] = Block(item, module, next(_IDENTITIES))

    def net(self, module: Module, item: tree.NetDef) -> None:
        _claim(module, item.name)
        _check_params(item.params or ())
        module.names[item.name.id] = NetValue(item, module, next(_IDENTITIES))
        module.nets.append(item.name.id)

    def alias(self, module: Module, item: tree.NetAlias) -> None:
        _claim(module, item.name)
        module.aliases[item.name.id] = item
        module.nets.append(item.name.id)

    def function(self, module: Module, item: tree.FnDef) -> None:
        _claim(module, item.name)
        module.names[item.name.id] = FnValue(item, module)

    def choice(self, module: Module, item: tree.ChoiceDef) -> None:
        _claim(module, item.name)
        module.names[item.name.id] = ChoiceValue(item, module)

    def constant(self, module: Module, item: tree.ConstDef) -> None:
        _claim(module, item.name)
        module.constants[item.name.id] = item

    def variant_table(self, module: Module, item: tree.Variants) -> None:
        module.variants.setdefault(item.net.id, []).append(item)

    def nothing(self, module: Module, item: tree.Item) -> None:
        """Searches and expectations define no names."""


@dataclass(frozen=True, eq=False)
class Imported:
    """A name of another module, looked up there when it is used."""

    module: Module
    name: str


def _claim(module: Module, name: tree.Name) -> None:
    if name.id in module.spans:
        first = Label(module.spans[name.id], "first defined here")
        raise fail("E0203", f"`{name.id}` is defined twice", name.span, labels=(first,))
    if name.id in NAMES and not isinstance(NAMES[name.id], str):
        raise fail("E0203", f"`{name.id}` is built in and cannot be defined anew", name.span)
    module.spans[name.id] = name.span


def _check_params(params: tuple[tree.Param, ...]) -> None:
    seen: dict[str, tree.Param] = {}
    for param in params:
        if param.name.id in seen:
            raise fail("E0203", f"two parameters are called `{param.name.id}`", param.span)
        if param.once and param.default is None:
            help_ = f"write `{param.name.id}=1 once`"
            raise fail("E0207", "a parameter marked `once` needs a default for the repeats", param.span, help=help_)
        seen[param.name.id] = param


_DEFINE: dict[type, Callable[..., None]] = {
    tree.Import: Loader.imports,
    tree.BlockDef: Loader.block,
    tree.NetDef: Loader.net,
    tree.NetAlias: Loader.alias,
    tree.FnDef: Loader.function,
    tree.ChoiceDef: Loader.choice,
    tree.ConstDef: Loader.constant,
    tree.Variants: Loader.variant_table,
    tree.SearchDef: Loader.nothing,
    tree.ExpectItem: Loader.nothing,
}
