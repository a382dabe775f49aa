"""Picks as people give them: `LABEL=ALTERNATIVE`, the largest or smallest sub-network, a file, a trial of a search."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from archlang.errors import fail, nearest
from archlang.search.space import Picks, Space
from archlang.supernet.decisions import Choice


def picked(choices: Sequence[Choice], texts: Iterable[str]) -> Picks:
    """What `K=V` says, for each text. K: a decision's label without its quotes, or its key; V: an alternative as the
    source writes it, or its number from 0 after `#`. Raises ArchError E1325 where there is none."""
    return dict(_picked(choices, text) for text in texts)


def _picked(choices: Sequence[Choice], text: str) -> tuple[str, int]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise fail("E1325", f"`{text}` is not of the form DECISION=ALTERNATIVE", help="such as `k in row 1=5`")
    choice = _named(choices, _plain(name))
    return choice.key, _index(choice, value)


def _named(choices: Sequence[Choice], name: str) -> Choice:
    found = [choice for choice in choices if name in (choice.key, _plain(choice.label))]
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(choice.key for choice in found)
        raise fail("E1325", f"there are {len(found)} decisions called `{name}`", help=f"take one by its key: {keys}")
    known = [_plain(choice.label) for choice in choices]
    help = nearest(name, known) or "`archlang supernet info SPACE` lists them"
    raise fail("E1325", f"there is no decision `{name}`", help=help)


def _plain(label: str) -> str:
    return label.replace("`", "")


def _index(choice: Choice, value: str) -> int:
    if value in choice.alternatives:
        return choice.alternatives.index(value)
    number = value.removeprefix("#")
    if value != number and number.isdecimal() and int(number) < len(choice.alternatives):
        return int(number)
    help = f"it takes {', '.join(choice.alternatives)}; or #0 to #{len(choice.alternatives) - 1}"
    raise fail("E1325", f"{choice.label} has no alternative `{value}`", help=help)


def read(text: str) -> Picks:
    """Picks as JSON, or from a file of JSON: an object of numbers by decisions' keys, by itself or as its `picks`.

    Raises ArchError E1325 where it is none.
    """
    path = None if text.lstrip().startswith("{") else Path(text)
    if path is not None and not path.is_file():
        raise fail("E1325", f"there is no file {path}", help="give a file, or JSON such as '{\"12:3\": 1}'")
    try:
        found = json.loads(path.read_text() if path is not None else text)
    except ValueError as error:
        raise fail("E1325", f"{path or 'the picks'}: this is no JSON: {error}") from error
    inner = found.get("picks") if isinstance(found, dict) else None
    return _checked(inner if isinstance(inner, dict) else found, str(path or "the picks"))


def _checked(found: Any, where: str) -> Picks:
    if isinstance(found, dict) and all(type(value) is int for value in found.values()):
        return found
    raise fail("E1325", f"{where}: picks are an object of whole numbers by decisions", help='such as {"12:3": 1}')


def of_trial(text: str, space: Space) -> Picks:
    """The picks of `DIR:N`, trial N of a run. Raises ArchError where there is none, or its space is another one."""
    from archlang.search.driver import DATABASE
    from archlang.search.store import Store

    folder, _, number = text.rpartition(":")
    file = Path(folder, DATABASE)
    if not (folder and number.isdecimal() and file.is_file()):
        raise fail("E1325", f"`{text}` is no trial of a search", help="give DIR:N, the folder of a run and a trial")
    with Store.reading(file) as store:
        trials = {trial.id: trial for trial in store.trials()}
    if int(number) not in trials:
        raise fail("E1325", f"{folder} has no trial {number}", help=f"it has {len(trials)}")
    return _of_space(trials[int(number)].picks, space, folder)


def _of_space(picks: Mapping[str, Any], space: Space, folder: str) -> Picks:
    unknown = [key for key in picks if key not in space.diagram.walk(picks).trace]
    if unknown:
        raise fail("E1325", f"{folder} searched another space than `{space.name}`: it has a decision {unknown[0]}")
    return dict(picks)
