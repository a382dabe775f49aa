"""Readable names for tokens, once all that stand beside each other are known.

A given name stays as it is where one place alone has it (`layer3.0.expand`). Alternatives that share one have their
kind behind it (`head_conv`, `head_sepconv`), and a number where that is not enough. Steps that nobody named are
numbered among all of their kind (`conv1`, `conv2`), as in a net without choices: in the order in which they are met,
first alternatives first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from archlang.supernet.sites import Tokens


def readable(paths: Iterable[str], tokens: Tokens) -> dict[str, str]:
    """Every path, and everything that begins one, with its name."""
    children: dict[str, dict[str, None]] = {}
    for path in paths:
        parts = path.split(".")
        for depth, part in enumerate(parts):
            children.setdefault(".".join(parts[:depth]), {})[part] = None
    names = {"": ""}
    waiting = [""]
    while waiting:
        path = waiting.pop()
        for part, name in _named(children[path], tokens).items():
            full = f"{path}.{part}" if path else part
            names[full] = f"{names[path]}.{name}" if path else name
            if full in children:
                waiting.append(full)
    return names


def _named(parts: Iterable[str], tokens: Tokens) -> dict[str, str]:
    """The names of what stands beside each other, by token. Given names come first."""
    bases = {part: tokens.known[part].base for part in parts}
    given = {part: _base(base, tokens) for part, base in bases.items() if tokens.known[part].given}
    named = _distinguished(given, tokens)
    used = set(named.values())
    counts: Counter[str] = Counter()
    for part, kind in bases.items():
        if part not in named:
            named[part] = _free(kind, counts, used)
    return {part: named[part] for part in bases}


def _base(base: str, tokens: Tokens) -> str:
    """A given name; one that was made from a name that nobody gave, `conv_transpose1_bn`, without its token."""
    head, _, suffix = base.rpartition("_")
    return f"{tokens.known[head].base}_{suffix}" if head in tokens.known else base


def _distinguished(given: Mapping[str, str], tokens: Tokens) -> dict[str, str]:
    shared = Counter(given.values())
    whats = {part: tokens.known[part].what for part in given}
    wanted = {part: _told(base, whats[part]) if shared[base] > 1 else base for part, base in given.items()}
    times, counts, used = Counter(wanted.values()), Counter[str](), set(wanted.values())
    return {part: _free(base, counts, used) if times[base] > 1 else base for part, base in wanted.items()}


def _told(base: str, what: str) -> str:
    """A given name with the kind of what it stands for; a norm's and an activation's has it already."""
    return base if not what or base.endswith(("_bn", "_act")) else f"{base}_{what}"


def _free(kind: str, counts: Counter[str], used: set[str]) -> str:
    """The next number behind a kind: `conv1`, `relu6_1`; `0` for none, as within a sequence."""
    while True:
        counts[kind] += 1
        number = counts[kind] - (kind == "")
        name = f"{kind}_{number}" if kind[-1:].isdigit() else f"{kind}{number}"
        if name not in used:
            used.add(name)
            return name
