"""A family as a file: the net, a table of variants, and what each of them costs as `expect` lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archlang.files import write_whole
from archlang.scale.ladder import Member
from archlang.scale.scalable import Scalable
from archlang.source import Source
from archlang.syntax import parse
from archlang.syntax.printer import print_program

EXPECTED = ("params", "macs")


def family_text(net: Scalable, members: Sequence[Member], header: Sequence[str]) -> str:
    """The file's text, as the formatter prints it. header: lines of comment over it, without `#`."""
    comments = "".join(f"# {' '.join(line.split())}\n" for line in header)
    own = print_program(parse(Source("<family>", net.text)))
    expected = "".join(
        f"expect {net.net.name}.{member.name}.{metric} == {round(member.metrics[metric])}\n"
        for metric in EXPECTED
        for member in members
    )
    text = f"{comments}\n{own}\n{_table(net, members)}\n{expected}"
    return print_program(parse(Source("<family>", text)))


def write_family(path: Path, net: Scalable, members: Sequence[Member], header: Sequence[str]) -> None:
    """Write the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, family_text(net, members, header))


def _table(net: Scalable, members: Sequence[Member]) -> str:
    names = [knob.name for knob in net.knobs.values()]
    rows = [[member.name, *(str(member.arguments[name]) for name in names)] for member in members]
    lines = ["| " + " | ".join(cells) + " |" for cells in [["name", *names], *rows]]
    return f"variants {net.net.name}:\n" + "".join(f"  {line}\n" for line in lines)
