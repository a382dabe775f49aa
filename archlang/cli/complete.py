"""What the shell is offered for a word that is being typed.

Nothing here imports the language: a file is looked through line by line, so that completion is quick, and works while
the file is still wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]

ZOO = Path(__file__).parents[1] / "zoo"


def _starting(words: Iterable[str], incomplete: str, prefix: str = "") -> list[CompletionItem[str]]:
    return [CompletionItem(prefix + word) for word in words if (prefix + word).startswith(incomplete)]


def one_of(words: Callable[[], Iterable[str]]) -> Completer:
    """A completer for one of some words, which are looked up when they are needed."""
    return lambda ctx, param, incomplete: _starting(words(), incomplete)


def several_of(words: Callable[[], Iterable[str]]) -> Completer:
    """A completer for words with commas between them, each once."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        done, comma, _ = incomplete.rpartition(",")
        return _starting((word for word in words() if word not in done.split(",")), incomplete, done + comma)

    return complete


# ---- SPEC ------------------------------------------------------------------------------------------------------------


def spec(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """`FILE.arch`, `FILE.arch:NAME`, `zoo:FAMILY`, `zoo:FAMILY:NAME`; of `bench` also compiled files."""
    compiled = (".tflite", ".onnx") if ctx.info_name == "bench" else ()
    return _spec(incomplete, net_names, (".arch", *compiled))


def search_spec(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The same, NAME being a search."""
    return _spec(incomplete, search_names)


def _spec(
    incomplete: str, names: Callable[[str], list[str]], suffixes: tuple[str, ...] = (".arch",)
) -> list[CompletionItem[str]]:
    head, colon, _ = incomplete.rpartition(":")
    file = spec_file(head)
    if colon and file is not None:
        return _starting(names(_text(file)), incomplete, head + colon)
    return [*_starting((f"zoo:{family}" for family in families()), incomplete), *files_with(suffixes, incomplete)]


def spec_file(spec: str) -> Path | None:
    """The file that a SPEC without a name means, where there is one."""
    if not spec.startswith("zoo:"):
        return Path(spec) if spec.endswith(".arch") else None
    return next((path for path in _shipped() if path.stem == spec[4:]), None)


def family(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """A family of the zoo, with or without `zoo:`."""
    prefix = "zoo:" if incomplete.startswith("zoo:") else ""
    return _starting(families(), incomplete, prefix)


def families() -> list[str]:
    return [path.stem for path in _shipped()]


def _shipped() -> list[Path]:
    return [*sorted(ZOO.glob("*.arch")), *sorted((ZOO / "spaces").glob("*.arch"))]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    return files_with((".arch",), incomplete)


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Compiled files."""
    return files_with((".tflite", ".onnx"), incomplete)


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Folders of searches. Where a folder holds none itself, it may hold some."""
    folders = [item for item in files_with((), incomplete) if item.value.endswith("/")]
    return [
        CompletionItem(item.value.rstrip("/") if Path(item.value, "search.db").exists() else item.value)
        for item in folders
    ]


def files_with(suffixes: tuple[str, ...], incomplete: str) -> list[CompletionItem[str]]:
    """The files with these suffixes and the folders. A folder ends in `/`, and hidden ones are offered after a dot."""
    head, tail = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(Path(head or ".").expanduser()), key=lambda entry: entry.name)
    except OSError:
        return []
    shown = [entry for entry in entries if entry.name.startswith(tail) and (tail or entry.name[0] != ".")]
    found = [(entry.name + "/" if entry.is_dir() else entry.name) for entry in shown]
    return [CompletionItem(os.path.join(head, name)) for name in found if name.endswith(("/", *suffixes))]


# ---- names in a file -------------------------------------------------------------------------------------------------


def _text(file: Path) -> str:
    try:
        return file.expanduser().read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


_NET = re.compile(r"^net +(\w+)", re.MULTILINE)
_SEARCH = re.compile(r"^search +(\w+)", re.MULTILINE)
_VARIANTS = re.compile(r"^variants +(\w+) *:.*\n((?:[ ]+.*\n?|[ ]*#.*\n?|\n)*)", re.MULTILINE)


def net_names(text: str) -> list[str]:
    """The nets of a file and their variants, bare where the file has one net and as `Net.variant` where it has more."""
    nets = _NET.findall(text)
    variants = [
        name if len(nets) == 1 else f"{net}.{name}" for net, body in _VARIANTS.findall(text) for name in _named(body)
    ]
    return [*nets, *variants]


def search_names(text: str) -> list[str]:
    return [str(name) for name in _SEARCH.findall(text)]


def _named(body: str) -> Iterator[str]:
    """The column `name` of a table."""
    rows = [[cell.strip() for cell in line.split("|")] for line in body.splitlines() if line.lstrip().startswith("|")]
    header = rows[0] if rows else []
    if "name" in header:
        at = header.index("name")
        yield from (row[at] for row in rows[1:] if len(row) > at and row[at])


_PARAMETERS = re.compile(r"^net +\w+\(((?:[^()]|\([^()]*\))*)\)", re.MULTILINE)
_BRACKETS = re.compile(r"[(\[{][^()\[\]{}]*[)\]}]")


def parameters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """`NAME=` for each parameter of the nets of the SPEC that stands before."""
    given = ctx.params.get("spec") or next(iter(ctx.args), "")  # click gives up before arguments where `--set` is last
    file = spec_file(given) or spec_file(given.rpartition(":")[0])
    if file is None:
        return []
    found = (_BRACKETS.sub("", listed) for listed in _PARAMETERS.findall(_text(file)))
    names = dict.fromkeys(
        part.split("=")[0].split()[0] for listed in found for part in listed.split(",") if part.strip()
    )
    return _starting((f"{name}=" for name in names), incomplete)


# ---- words of the program --------------------------------------------------------------------------------------------


def _codes() -> Iterable[str]:
    from archlang.codes import CODES

    return CODES


def _backends() -> Iterable[str]:
    from archlang import backend

    return backend.names()


def _passes() -> Iterable[str]:
    from archlang.passes import PASSES

    return (*PASSES, "all")


def _strategies() -> Iterable[str]:
    from archlang.search import strategies

    return strategies.names()


def _mutations() -> Iterable[str]:
    from archlang.search.mutations import MUTATIONS

    return MUTATIONS


codes = one_of(_codes)
mutations = several_of(_mutations)
backends = one_of(_backends)
strategies = one_of(_strategies)
passes = several_of(_passes)


def _evaluators() -> Iterable[str]:
    from archlang.search import evaluators

    return evaluators.names()


evaluators = one_of(_evaluators)


def _supernet_methods() -> Iterable[str]:
    from archlang.supernet.train import METHODS

    return METHODS


supernet_methods = one_of(_supernet_methods)


def _devices() -> Iterable[str]:
    from archlang.device import devices

    return devices.names()


def _latency_tables() -> Iterable[str]:
    from archlang.device.predict import table

    return table.names()


def _device_kinds() -> Iterable[str]:
    from archlang.device.devices import KINDS

    return KINDS


devices = one_of(_devices)
latency_tables = one_of(_latency_tables)
several_devices = several_of(_devices)
device_kinds = one_of(_device_kinds)
data = one_of(lambda: ("digits", "npz:", "folder:", "idx:"))
