"""What ships: the zoo's nets and variants, each with its reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from archlang.lower import LIBRARY
from archlang.lower.nets import all_names, net_named, required
from archlang.net import Net
from archlang.spec import module_of, split, zoo_path

_REFERENCE = re.compile(r"^# reference: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class ZooEntry:
    """A net or variant that ships. spec: usable as SPEC. reference: what its numbers are compared with."""

    spec: str
    family: str
    reference: str
    net: Net

    @cached_property
    def input(self) -> str:
        graph = self.net.graph
        return ", ".join(str(graph.nodes[i].type) for i in graph.inputs)


def nets(pattern: str = "") -> list[ZooEntry]:
    """Every net and variant of the zoo that is complete by itself, by family.

    pattern: those alone whose SPEC has this in it, `*` and `?` standing for any signs.
    """
    found = [entry for file in sorted(LIBRARY.glob("*.arch")) for entry in _family(file.stem)]
    return [entry for entry in found if fnmatchcase(entry.spec, f"*{pattern}*")]


def _family(family: str) -> Iterator[ZooEntry]:
    module = module_of(split(f"zoo:{family}"))
    names = all_names(module)
    variants = [name.split(".")[-1] for name in names]
    for name in names:
        value = net_named(module, name)
        if required(value) or any(other.startswith(f"{name}.") for other in names):
            continue
        last = name.split(".")[-1]
        short = last if variants.count(last) == 1 else name
        spec = f"zoo:{family}" if len(names) == 1 else f"zoo:{family}:{short}"
        yield ZooEntry(spec, family, reference(module.source.text), Net(spec, value, module, {}))


def reference(text: str) -> str:
    """What the `# reference:` line of a zoo file says."""
    match = _REFERENCE.search(text)
    return match[1] if match else ""


def path(family: str) -> Path:
    """The file of a family. Raises ArchError, with the nearest names, where there is none."""
    return zoo_path(family)
