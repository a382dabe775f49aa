"""Arguments as they are written on the command line: `NAME(key=value, ...)`, or `key=value, ...` alone.

A value is a number, `true`, `false`, a word, or anything in quotes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from archlang.errors import ArchError, fail, nearest

_CALL = re.compile(r"\s*(?P<name>[\w.:-]+)\s*(?:\((?P<arguments>.*)\))?\s*", re.DOTALL)
_PART = re.compile(r"""(?:[^,'"]|'[^']*'|"[^"]*")+""")
_WORDS = {"true": True, "false": False, "none": None}


def call(text: str, code: str) -> tuple[str, dict[str, Any]]:
    """The name of `NAME(key=value, ...)` and its arguments. Raises ArchError `code` where it is none."""
    match = _CALL.fullmatch(text)
    if match is None:
        raise fail(code, f"`{text}` is no name", help="such as `train`, or with arguments `train(patience=3)`")
    return match["name"], keywords(match["arguments"] or "", code)


def keywords(text: str, code: str) -> dict[str, Any]:
    """The arguments of `key=value, ...`. Raises ArchError `code` where one is none, or is given twice."""
    found: dict[str, Any] = {}
    for part in _PART.findall(text):
        if not part.strip():
            continue
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (equals and key.isidentifier() and value):
            raise fail(code, f"`{part.strip()}` is no argument", help="write `name=value`, such as `epochs=5`")
        if key in found:
            raise fail(code, f"`{key}` is given twice")
        found[key] = _value(value)
    return found


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def fitted(given: Mapping[str, Any], kinds: Mapping[str, Any], code: str, owner: str) -> dict[str, Any]:
    """The arguments as what takes them wants them. kinds: name -> int, float, str, bool, a Literal, or one `| None`.

    Raises ArchError `code`, in words about `owner`, where one is unknown or of another kind.
    """
    for key in given:
        if key not in kinds:
            raise fail(code, f"{owner} takes no `{key}`", help=nearest(key, kinds) if kinds else "it takes none")
    return {key: _fitted(key, value, kinds[key], code, owner) for key, value in given.items()}


def _fitted(key: str, value: Any, kind: Any, code: str, owner: str) -> Any:
    for single in _alternatives(kind):
        if single is float and type(value) is int:
            return float(value)
        if get_origin(single) is Literal and value in get_args(single):
            return value
        if isinstance(single, type) and type(value) is single:
            return value
    raise _misfit(key, value, kind, code, owner)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _misfit(key: str, value: Any, kind: Any, code: str, owner: str) -> ArchError:
    choices = [choice for single in _alternatives(kind) if get_origin(single) is Literal for choice in get_args(single)]
    needed = " or ".join(_NEEDED[single] for single in _alternatives(kind) if single in _NEEDED)
    shown = str(value).lower() if isinstance(value, bool) else value
    help = nearest(str(value), map(str, choices)) if choices else f"it is {needed}"
    return fail(code, f"`{key}` of {owner} cannot be `{shown}`", help=help)


_NEEDED = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", NoneType: "none"}
