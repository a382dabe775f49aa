"""What ships: the zoo's nets and variants, each with its reference."""

from __future__ import annotations

import re
from dataclasses import dataclass
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


def nets() -> list[ZooEntry]:
    """Every net and variant of the zoo that is complete by itself, by family."""
    found = []
    for file in sorted(LIBRARY.glob("*.arch")):
        family = file.stem
        module = module_of(split(f"zoo:{family}"))
        match = _REFERENCE.search(module.source.text)
        reference = match[1] if match else ""
        names = all_names(module)
        for name in names:
            value = net_named(module, name)
            if required(value) or any(other.startswith(f"{name}.") for other in names):
                continue
            short = name.split(".")[-1] if len(module.nets) == 1 else name
            spec = f"zoo:{family}" if len(names) == 1 else f"zoo:{family}:{short}"
            found.append(ZooEntry(spec, family, reference, Net(spec, value, module, {})))
    return found


def path(family: str) -> Path:
    """The file of a family. Raises ArchError, with the nearest names, where there is none."""
    return zoo_path(family)
