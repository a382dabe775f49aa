"""The devices that a user has named, in devices.toml.

A table a device; its `kind` says by which transport it is reached, and the other keys are the fields of that
transport's class.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from archlang.device import places
from archlang.device.estimate import Estimated, Estimator
from archlang.device.quarantine import Quarantine
from archlang.device.reliable import Link, Reliable
from archlang.device.transport import HOST, Device, Finding
from archlang.errors import ArchError, Diagnostic, OutsideError, fail, nearest
from archlang.files import write_whole
from archlang.source import Source, Span


class Kind(Protocol):
    """A device as its transport describes it. It has also either `link(name)`, the way to a device, or
    `estimate(model)`, where it is only reckoned."""

    def check(self, name: str) -> Iterable[Finding]:
        """What it needs, one by one. Never raises for what the device lacks."""
        ...


KINDS = {
    "ssh": ("archlang.device.ssh", "SshDevice", "a Linux board with Python and LiteRT, over ssh"),
    "adb": ("archlang.device.adb", "AdbDevice", "an Android phone with TFLite's benchmark_model, over adb"),
    "tflm": ("archlang.device.tflm", "TflmDevice", "a microcontroller, as tflite-micro would use it (an estimate)"),
    "ethos-u": ("archlang.device.ethos_u", "EthosDevice", "an Arm Ethos-U NPU, as Vela sees it (an estimate)"),
}
"""Kind -> module, class, what it is."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Entry:
    """A named device. where: its table's header in the file."""

    name: str
    kind: str
    settings: dict[str, Any]
    device: Kind
    where: Span | None = field(default=None, compare=False)


def load(path: Path | None = None) -> dict[str, Entry]:
    """The devices of a file by name; none where there is no file and none was asked for by name.

    Raises ArchError with every mistake in the file, OutsideError where it cannot be read.
    """
    file = path or places.devices_file()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if path is None and not places.named():
            return {}
        raise OutsideError(f"there is no file {file}: `archlang devices init` makes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise OutsideError(f"cannot read {file}: {error}") from error
    return parse(Source(str(file), text))


def parse(source: Source) -> dict[str, Entry]:
    """The devices in a text. Raises ArchError with every mistake."""
    tables = _toml(source)
    entries: dict[str, Entry] = {}
    wrong: list[Diagnostic] = []
    for name, table in tables.items():
        try:
            entries[name] = _entry(source, name, table)
        except ArchError as error:
            wrong.extend(error.diagnostics)
    if wrong:
        raise ArchError(wrong)
    return entries


def opened(name: str) -> Device:
    """The transport to a device of devices.toml. Raises OutsideError where there is none of that name."""
    device: Any = find(name).device
    if is_estimator(device):
        return Estimated(name, device)
    link: Link = device.link(name)
    return Reliable(name, link, Quarantine.of(name))


def estimator(name: str) -> Estimator | None:
    """What reckons the device of this name; None for one that is measured. Raises as `find` does."""
    if name == HOST:
        return None
    device: Any = find(name).device
    return device if is_estimator(device) else None


def is_estimator(device: Any) -> bool:
    return hasattr(device, "estimate")


def find(name: str) -> Entry:
    """A device by its name. Raises OutsideError where there is none."""
    entries = load()
    if name not in entries:
        hint = nearest(name, [HOST, *entries])
        raise OutsideError(
            f"there is no device `{name}`: {hint}; `{HOST}` is this machine, {places.devices_file()} names others"
        )
    return entries[name]


def names() -> list[str]:
    """For completion: what can be read of the names, and no errors."""
    try:
        return [HOST, *load()]
    except (ArchError, OutsideError):
        return [HOST]


# ---- reading ---------------------------------------------------------------------------------------------------------


def _toml(source: Source) -> dict[str, Any]:
    try:
        return tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        message = str(error)[: found.start()] if found else str(error).removesuffix(" (at end of document)")
        at = source.line_starts()[int(found[1]) - 1] + int(found[2]) - 1 if found else len(source.text)
        raise fail("E1021", f"not TOML: {message[0].lower()}{message[1:]}", Span(source, at, at + 1)) from error


def _entry(source: Source, name: str, table: Any) -> Entry:
    header = _header(source, name)
    if not isinstance(table, dict):
        raise fail("E1022", f"`{name}` stands outside a table", _key(source, None, name), help="begin with `[NAME]`")
    if not NAME.fullmatch(name) or name == HOST:
        raise fail("E1022", f"a device cannot be called `{name}`", header, help=_NAMES)
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        said = "has no kind" if kind is None else f"is of an unknown kind {kind!r}"
        where = header if kind is None else _key(source, name, "kind")
        raise fail(
            "E1022", f"`{name}` {said}", where, help=nearest(str(kind), KINDS) or f"known here: {', '.join(KINDS)}"
        )
    settings = {key: value for key, value in table.items() if key != "kind"}
    return Entry(name, kind, settings, _device(source, name, kind, settings), header)


_NAMES = f"names are of letters, digits, `-` and `_`; `{HOST}` is this machine"


def _class(kind: str) -> type:
    module, name, _ = KINDS[kind]
    found: type = getattr(import_module(module), name)
    return found


def _device(source: Source, name: str, kind: str, settings: dict[str, Any]) -> Kind:
    made = _class(kind)
    types = get_type_hints(made)
    known = {entry.name: entry for entry in fields(made)}
    wrong = [
        *(_unknown(source, name, key, known) for key in settings if key not in known),
        *(
            Diagnostic("E1023", f"`{key}` is {_WORDS[types[key]]}", _key(source, name, key))
            for key, value in settings.items()
            if key in known and not _fits(value, types[key])
        ),
        *(
            Diagnostic("E1023", f"`{name}` has no `{key}`, which kind {kind!r} needs", _header(source, name))
            for key, entry in known.items()
            if entry.default is MISSING and key not in settings
        ),
    ]
    if wrong:
        raise ArchError(wrong)
    device: Kind = made(**settings)
    return device


def _unknown(source: Source, name: str, key: str, known: Iterable[str]) -> Diagnostic:
    return Diagnostic("E1023", f"there is no key `{key}`", _key(source, name, key), help=nearest(key, known))


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_ACCEPTED: dict[type, tuple[type, ...]] = {float: (int, float)}


def _fits(value: Any, kind: type) -> bool:
    return isinstance(value, _ACCEPTED.get(kind, (kind,))) and (kind is bool or not isinstance(value, bool))


def _header(source: Source, name: str) -> Span | None:
    """The table's header; None where the file writes it in another way than `[NAME]`."""
    found = re.search(rf"^[ \t]*\[[ \t]*(\"?){re.escape(name)}\1[ \t]*\]", source.text, re.MULTILINE)
    return None if found is None else Span(source, found.start(), found.end())


def _key(source: Source, table: str | None, key: str) -> Span | None:
    """The line that sets a key of a table, or of the file's beginning."""
    header = None if table is None else _header(source, table)
    begin = 0 if header is None else header.end
    next_table = re.compile(r"^[ \t]*\[", re.MULTILINE).search(source.text, begin)
    end = next_table.start() if next_table else len(source.text)
    found = re.compile(rf"^[ \t]*(\"?){re.escape(key)}\1[ \t]*=.*$", re.MULTILINE).search(source.text, begin, end)
    return header if found is None else Span(source, found.start(), found.end())


# ---- writing ---------------------------------------------------------------------------------------------------------


def add(file: Path, name: str, kind: str, given: dict[str, str]) -> Entry:
    """Write a device at the end of the file, which is made where there is none. The values are texts, read by the type
    of their key. Raises ArchError where the name is taken or a key does not fit."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if name in parse(Source(str(file), text)):
        raise fail("E1024", f"{file} has a device `{name}`", help=f"`archlang devices remove {name}` removes it")
    types = get_type_hints(_class(kind)) if kind in KINDS else {}
    lines = [f"kind = {json.dumps(kind)}"]
    lines += [f"{key} = {_written(value, types.get(key, str))}" for key, value in given.items()]
    gap = "\n" if text else ""
    text += f"{gap}[{name}]\n" + "\n".join(lines) + "\n"
    entry = parse(Source(str(file), text))[name]
    _write(file, text)
    return entry


def _written(value: str, kind: type) -> str:
    """A text as a TOML value of the kind; as a string where it is none, which the reader then refuses."""
    if kind is bool and value in ("true", "false"):
        return value
    if kind in (int, float) and _number(value, kind):
        return value
    return json.dumps(value, ensure_ascii=False)


def _number(value: str, kind: Callable[[str], float]) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True


def remove(file: Path, name: str) -> None:
    """Take a device out of the file; the rest stays as it is. Raises ArchError where there is none of that name."""
    source = Source(str(file), file.read_text(encoding="utf-8") if file.exists() else "")
    entries = parse(source)
    if name not in entries:
        raise fail("E1024", f"{file} has no device `{name}`", help=nearest(name, entries))
    where = entries[name].where
    if where is None:
        raise fail("E1024", f"`{name}` is not written as `[{name}]` in {file}", help="remove it in an editor")
    following = re.compile(r"^[ \t]*\[", re.MULTILINE).search(source.text, where.end)
    end = following.start() if following else len(source.text)
    _write(file, source.text[: where.start] + source.text[end:])
    Quarantine.of(name).succeeded()


def init(file: Path) -> None:
    """Write a file with an example of every kind, commented out. Raises ArchError where there is one already."""
    if file.exists():
        raise fail("E1024", f"{file} exists already", help="add to it, or remove it first")
    _write(file, EXAMPLE)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, text)


EXAMPLE = """\
# Devices for `archlang bench --device NAME` and `archlang search --device NAME`. A table a device; `archlang devices
# check` says what is missing. `host`, this machine, is always there.

# [pi4]                                # any name
# kind = "ssh"                         # a Linux board with Python and ai-edge-litert or tflite-runtime
# host = "raspberrypi.local"
# user = "pi"
# key = "~/.ssh/id_ed25519"            # without it: what ssh itself would use
# python = "~/venv/bin/python"         # without it: python3
# folder = "/dev/shm"                  # for temporary files; without it: /tmp

# [phone]
# kind = "adb"                         # an Android phone; `adb devices` lists the serial numbers
# serial = "R58M123ABCD"               # without it: the only one that is connected; `192.168.1.7:5555` over the network
# benchmark_model = "~/android_aarch64_benchmark_model"
# cores = "big"                        # or a mask for taskset, such as "f0", or "all"

# [mcu]
# kind = "tflm"                        # does it run on a microcontroller, and how large is the arena (an estimate)
# arena = 262144                       # bytes that there are

# [npu]
# kind = "ethos-u"                     # cycles and SRAM of an Arm NPU as Vela sees it (an estimate)
# accelerator = "ethos-u55-128"
"""
