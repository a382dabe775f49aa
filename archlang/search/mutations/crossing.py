"""Crossing over: a program made of the parts of two that came of one."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from random import Random
from typing import Any

from archlang.ir.graph import Graph
from archlang.lower import Lowered, default_net, lower
from archlang.search.mutations.edit import after, placed
from archlang.search.mutations.mutate import check_same_task, settled
from archlang.search.mutations.normal import closed, head_of, joined, printed_item, shared_loader
from archlang.search.mutations.subject import Subject
from archlang.syntax import tree
from archlang.syntax.tree import replace


def crossed(a: Subject, b: Subject, base: Graph, rng: Random) -> tuple[str, Lowered]:
    """Of every definition and every line in which the two differ, one or the other, as a coin says.

    Raises ArchError where the parts do not fit together, or do not do what `base` did.
    """
    program = closed(joined(_parts(a, b, rng)))
    lowered = lower(default_net(shared_loader().link(program, None)), memo=a.memo)
    check_same_task(base, lowered.graph)
    return settled(program, lowered), lowered


def _parts(a: Subject, b: Subject, rng: Random) -> list[str]:
    """The definitions of both as text, under the comments over the first file; the net last."""
    theirs = {_key(item): item for item in b.program.items}
    ours = {_key(item): item for item in a.program.items}
    parts = [head_of(a.program)]
    parts += [printed_item(b.program, item) for key, item in theirs.items() if key not in ours]
    for key, item in ours.items():
        other = theirs.get(key)
        if other is None or other == item:
            parts.append(printed_item(a.program, item))
        elif isinstance(item, tree.NetDef) and isinstance(other, tree.NetDef):
            parts.append(printed_item(a.program, item, _mixed_net(item, other, rng)))
        else:
            subject, chosen = rng.choice(((a, item), (b, other)))
            parts.append(printed_item(subject.program, chosen))
    return parts


def _key(item: tree.Item) -> tuple[str, str]:
    name = item.path if isinstance(item, tree.Import) else getattr(item, "name", None)
    return type(item).__name__, name.id if isinstance(name, tree.Name) else str(name)


def _mixed_net(item: tree.NetDef, other: tree.NetDef, rng: Random) -> tree.NetDef:
    params = item.params
    if params is not None and other.params is not None and len(params) == len(other.params):
        pairs = zip(params, other.params, strict=True)
        params = tuple(one if one == two or rng.random() < 0.5 else placed(two, one.span) for one, two in pairs)
    body = _mixed(item.suite.body, other.suite.body, rng)
    return replace(item, params=params, suite=replace(item.suite, body=body))


def _mixed(ours: Sequence[Any], theirs: Sequence[Any], rng: Random) -> tuple[Any, ...]:
    """Two sequences of lines or rows, where they agree as they are, elsewhere one of the two."""
    result: list[Any] = []
    for _, i, j, k, n in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        mine, others = ours[i:j], theirs[k:n]
        if list(mine) == list(others):
            result += mine
        elif len(mine) == len(others):
            result += [_either(one, two, rng) for one, two in zip(mine, others, strict=True)]
        elif rng.random() < 0.5:
            result += mine
        else:
            place = mine[0].span if mine else after(ours[max(0, i - 1)])
            result += [placed(each, place) for each in others]
    return tuple(result)


def _either(ours: Any, theirs: Any, rng: Random) -> Any:
    if isinstance(ours, tree.Table) and isinstance(theirs, tree.Table) and ours.body.columns == theirs.body.columns:
        body = replace(ours.body, rows=_mixed(ours.body.rows, theirs.body.rows, rng))
        return replace(ours, body=body, unit=ours.unit if rng.random() < 0.5 else theirs.unit)
    return ours if rng.random() < 0.5 else placed(theirs, ours.span)
