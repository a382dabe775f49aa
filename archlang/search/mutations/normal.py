"""A net as a file of its own, which is what mutations rewrite: the net last, before it what it uses and nothing else.

What stands in the standard library is imported in the *closed* form, which is printed and kept, and stands in the file
in the *open* form, in which every block can be rewritten. Closing an open program imports again what is still as the
library has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from archlang.errors import fail
from archlang.lower import LIBRARY, Loader, Module, NetValue, lower
from archlang.lower.builtins import NAMES
from archlang.lower.module import Imported
from archlang.lower.values import Value, show
from archlang.search.rewrite import overrides_text, parsed
from archlang.source import Source
from archlang.syntax import parse, tree
from archlang.syntax.printer import print_program
from archlang.syntax.tree import replace

Definition = tree.FnDef | tree.ConstDef | tree.BlockDef | tree.NetDef | tree.NetAlias | tree.Variants | tree.ChoiceDef


@cache
def library() -> Mapping[str, Module]:
    """The modules of the standard library, `std.mobile` and so on, read once."""
    loader = shared_loader()
    paths = sorted((LIBRARY / "std").glob("*.arch"))
    return {f"std.{path.stem}": loader.load(path) for path in paths}


@cache
def shared_loader() -> Loader:
    """One loader for all programs of a process: a block of the library is the same block in each of them."""
    return Loader()


def normal_text(net: NetValue, args: Mapping[str, Value] | None = None) -> str:
    """The net as the text of a closed file. args, and those of a variant, become the defaults of its parameters.

    Raises ArchError E1230 where two of the files that it is made of use one name for different things.
    """
    given = {**dict(net.args), **(args or {})}
    params = tuple(_with_default(param, given) for param in net.decl.params or ())
    decl = replace(net.decl, params=params if net.decl.params is not None else None)
    gathered = _Gathered(open_library=False, entry=net.decl)
    gathered.take(net.module, net.decl, decl)
    alias = f"net {net.name}With = {net.name}{overrides_text(net)}\n" if net.overrides else ""
    return print_program(closed(opened(gathered.program(net.module, alias))))


def ordinary(net: NetValue, args: Mapping[str, Value] | None = None) -> str:
    """The same. Raises ArchError E1233 where the net has choices: it is a space already."""
    if lower(net, args).trace:
        help = "let `archlang search` pick, or mutate one of the files that it wrote"
        raise fail(
            "E1233", f"`{net.label or net.name}` has choices, so nothing mutates it", net.decl.name.span, help=help
        )
    return normal_text(net, args)


def _with_default(param: tree.Param, given: Mapping[str, Value]) -> tree.Param:
    if param.name.id not in given:
        return param
    value = given[param.name.id]
    text = f"{value:.1f}" if isinstance(value, float) and value.is_integer() else show(value)
    return replace(param, default=parsed(text, param.span))


def opened(program: tree.Program) -> tree.Program:
    """The program with what it uses of the library put in."""
    module = shared_loader().link(program, None)
    gathered = _Gathered(open_library=True, entry=program.items[-1])
    for item in program.items:
        if not isinstance(item, tree.Import):
            gathered.take(module, item, item)
    return gathered.program(module)


def closed(program: tree.Program) -> tree.Program:
    """The program with what is as the library has it imported, and without what nothing uses."""
    known = _as_in_library(program)
    own = [item for item in program.items if not isinstance(item, tree.Import) and _name(item) not in known]
    wanted: dict[str, set[str]] = {}
    for item in program.items:
        if isinstance(item, tree.Import):
            wanted.setdefault(item.path, set()).update(name.id for name in item.names)
    for name, path in known.items():
        wanted.setdefault(path, set()).add(name)
    items = list(_reachable(own))
    used = {name for item in items for name in mentioned(item)}
    imports = {path: names & used for path, names in sorted(wanted.items())}
    part = _Part(program.source, items, program)
    return _file(part.head(), imports, part.body())


def _reachable(items: Sequence[tree.Item]) -> Iterator[tree.Item]:
    """The items that the last net needs."""
    last = max(i for i, item in enumerate(items) if isinstance(item, tree.NetDef | tree.NetAlias))
    named: dict[str, list[tree.Item]] = {}
    for item in items:
        named.setdefault(_name(item), []).append(item)
    reached: set[str] = set()
    waiting = [_name(items[last])]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [used for item in named.get(name, ()) for used in mentioned(item)]
    return (item for item in items if _name(item) in reached)


def _as_in_library(program: tree.Program) -> dict[str, str]:
    """The definitions that are as in the library, with all that they use -> the library's file."""
    here = {_name(item): item for item in program.items if isinstance(item, tree.BlockDef | tree.FnDef | tree.ConstDef)}
    found = {
        name: path
        for path, module in library().items()
        for theirs in module.program.items
        if (name := _name(theirs)) in here and here[name] == theirs
    }
    while True:
        broken = [name for name in found if any(n in here and n not in found for n in mentioned(here[name]))]
        if not broken:
            return found
        for name in broken:
            del found[name]


@dataclass
class _Part:
    """The items of one file that are taken over, with their comments."""

    source: Source
    items: Sequence[tree.Item]
    whole: tree.Program

    def head(self) -> str:
        """The comments over the file: those above its imports, or apart from its first definition."""
        last = max((comment.start + len(comment.text) for comment in self._head()), default=0)
        return self.source.text[:last] + "\n" if last else ""

    def body(self) -> str:
        """The items, printed."""
        head = self._head()
        kept = list(self.items)
        comments = [c for c in self.whole.comments if c not in head and _belongs(c, self.whole, kept)]
        return print_program(tree.Program(self.source, tuple(kept), tuple(comments)))

    def _head(self) -> list[tree.Comment]:
        first = self.whole.items[0]
        above = [comment for comment in self.whole.comments if comment.start < first.span.start]
        if isinstance(first, tree.Import):
            return above
        line = first.span.line
        for comment in reversed(above):
            if self.source.position(comment.start)[0] != line - 1:
                break
            line -= 1
        return [comment for comment in above if self.source.position(comment.start)[0] < line]


def _belongs(comment: tree.Comment, program: tree.Program, kept: Sequence[tree.Item]) -> bool:
    """Whether a comment stands in, behind or above an item that is kept."""
    line = program.source.position(comment.start)[0]
    for item in reversed(program.items):
        if item.span.end <= comment.start and program.source.position(item.span.end - 1)[0] == line:
            return item in kept
    following = next((item for item in program.items if item.span.end > comment.start), None)
    return following is not None and any(following is item for item in kept)


@dataclass
class _Gathered:
    """Definitions of several files, each once, those that are used before those that use them."""

    open_library: bool
    entry: tree.Item
    imports: dict[str, list[str]] = field(default_factory=dict)
    parts: dict[int, tuple[Module, list[tuple[tree.Item, tree.Item]]]] = field(default_factory=dict)
    owners: dict[str, Module] = field(default_factory=dict)

    def take(self, module: Module, item: tree.Item, written: tree.Item) -> None:
        """The item, as `written`, and what it mentions."""
        name = _name(item)
        part = self.parts.setdefault(id(module), (module, []))[1]
        if any(known is item for known, _ in part):
            return
        self._claim(name, module, item)
        part.append((item, written))
        for used in mentioned(written):
            self._name(module, used, item)

    def _claim(self, name: str, module: Module, item: tree.Item) -> None:
        if self.owners.setdefault(name, module) is not module:
            message = f"`{name}` means two things in the files that make this net, which cannot be one file then"
            raise fail("E1230", message, item.span, help="rename one of them")

    def _name(self, module: Module, name: str, user: tree.Item) -> None:
        for item in _definitions(module, name):
            if not (isinstance(item, tree.Variants) and item.net.id == _name(self.entry)):  # its row is its defaults
                self.take(module, item, item)
        found = module.names.get(name)
        if not isinstance(found, Imported):
            return
        path = next((path for path, std in library().items() if _same_file(std, found.module)), None)
        if path is None or (self.open_library and self._fits(found.module, found.name)):
            self._name(found.module, found.name, user)
            return
        self._claim(name, found.module, user)
        names = self.imports.setdefault(path, [])
        if name not in names:
            names.append(name)

    def _fits(self, module: Module, name: str) -> bool:
        """Whether nothing that the library's definition needs is called as something else here."""
        return all(self.owners.get(each, module) is module for each in _needs(module, name))

    def program(self, entry: Module, end: str = "") -> tree.Program:
        """All of it as one file. end: text behind the last definition."""
        head = _Part(entry.source, (), entry.program).head()
        ordered = sorted(self.parts.values(), key=lambda part: part[0] is entry)
        return _file(head, self.imports, *(_printed(module, pairs) for module, pairs in ordered), end)


def _file(head: str, imports: Mapping[str, Iterable[str]], *parts: str) -> tree.Program:
    return parse(Source("<mutant>", "\n".join(part for part in (head, _imports(imports), *parts) if part)))


def _printed(module: Module, pairs: Sequence[tuple[tree.Item, tree.Item]]) -> str:
    written = {id(item): text for item, text in pairs}
    kept = [item for item in module.program.items if id(item) in written]
    whole = tree.Program(
        module.source,
        tuple(written.get(id(item), item) for item in module.program.items),
        module.program.comments,
    )
    return _Part(module.source, [written[id(item)] for item in kept], whole).body()


def joined(parts: Sequence[str]) -> tree.Program:
    """Definitions as text, as one program; imports and definitions in any order, but the net last."""
    return parse(Source("<mutant>", "\n".join(parts)))


def printed_item(program: tree.Program, item: tree.Item, written: tree.Item | None = None) -> str:
    """One item of a program with its comments, as text. written: in its place."""
    new = written or item
    whole = tree.Program(
        program.source, tuple(new if each is item else each for each in program.items), program.comments
    )
    return _Part(program.source, [new], whole).body()


def head_of(program: tree.Program) -> str:
    """The comments over a file."""
    return _Part(program.source, (), program).head()


def _imports(imports: Mapping[str, Iterable[str]]) -> str:
    return "".join(
        f"from {path} import {', '.join(sorted(names))}\n" for path, names in sorted(imports.items()) if names
    )


def _definitions(module: Module, name: str) -> list[tree.Item]:
    kinds = Definition
    return [item for item in module.program.items if isinstance(item, kinds) and _name(item) == name]


def _needs(module: Module, name: str) -> set[str]:
    """The names of the definitions of the file that this one needs, itself among them."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = waiting.pop()
        items = _definitions(module, each)
        if items and each not in found:
            found.add(each)
            waiting += [used for item in items for used in mentioned(item)]
    return found


def _same_file(one: Module, other: Module) -> bool:
    return one is other or (one.path is not None and one.path == other.path)


def _name(item: tree.Item) -> str:
    if isinstance(item, tree.Variants):
        return item.net.id
    name = getattr(item, "name", None)
    return name.id if isinstance(name, tree.Name) else ""


def mentioned(item: tree.Node) -> list[str]:
    """The names in an item that may mean something of the file, each once, in order."""
    names = (node.id for node in item.walk() if isinstance(node, tree.Name))
    return [name for name in dict.fromkeys(names) if name not in NAMES]
