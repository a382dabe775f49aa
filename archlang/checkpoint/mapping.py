"""Maps that a person writes: which module of the network takes which module of the file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from archlang.errors import fail

Map = dict[str, str]
"""Module of the network -> module of the file."""


def load(path: Path) -> Map:
    """A text file with a line `OURS = THEIRS` for each pair, `#` beginning a comment.

    Raises ArchError where the file or a line cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise fail("E0605", f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        raise fail("E0607", f"{path} cannot be read: {error}") from error
    found: Map = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if content:
            ours, theirs = _pair(content, f"{path}, line {number}")
            if ours in found:
                raise fail("E0612", f"{path}, line {number}: `{ours}` is mapped twice")
            found[ours] = theirs
    return found


def _pair(content: str, place: str) -> tuple[str, str]:
    ours, equals, theirs = (part.strip() for part in content.partition("="))
    if not equals or not ours or not theirs:
        raise fail("E0612", f"{place}: `{content}` is not of the form `ours = theirs`")
    return ours, theirs


def written(pairs: Iterable[tuple[str, str]]) -> str:
    """Pairs as `load` reads them."""
    return "".join(f"{ours} = {theirs}\n" for ours, theirs in pairs)


def below(name: str, module: str) -> bool:
    """Whether a layer is a module or lies in it."""
    return name == module or name.startswith(f"{module}.")
