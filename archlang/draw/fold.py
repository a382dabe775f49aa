"""Folds repeats: equal boxes in a row, each fed by the one before it, become one box with a count.

What is a repeat is read from the boxes, not from the source: `conv(64, 3) * 3`, a chain in a repeat, a `for` loop and
the same line written three times look the same. Boxes are equal where the same ops are wired in the same way; the
shapes may grow (DenseNet). A run is a loop: what an instance takes is what the one before it made or took, always in
the same way. So NASNet's cells, which take the results of the two before them, fold as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from archlang.draw.model import Box, Detail, Wire, wires
from archlang.ops.base import Cost

MAX_STEPS = 64
"""Of how many boxes one round of a repeat may consist."""

Update = tuple[tuple[str, int], ...]
"""For each value that a round takes: the result ("made") or the input ("taken") of the round before that it is."""


def fold(box: Box) -> Box:
    """The same drawing with every repeat drawn once."""
    return _Folder().box(box)


@dataclass(frozen=True)
class _Round:
    """Boxes that stand next to each other. taken, made: the values that come from and go to other boxes."""

    boxes: tuple[Box, ...]
    taken: tuple[int, ...]
    made: tuple[int, ...]


class _Folder:
    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        self.looks: dict[int, tuple[int, Box]] = {}

    def box(self, box: Box) -> Box:
        if not box.children:
            return box
        children = [self.box(child) for child in box.children]
        kept = self.children(children, box.outputs)
        if len(kept) == 1 and box.kind == "repeat":  # the frame would hold one box
            return _in_place_of(box, kept[0])
        return replace(box, children=tuple(kept), wires=wires(kept, box.inputs, box.outputs))

    def children(self, children: Sequence[Box], outputs: Sequence[int]) -> list[Box]:
        """The children with runs merged. outputs: the values that leave the box around them."""
        looks = [self.look(child) for child in children]
        last_use = _last_uses(children, outputs)
        kept: list[Box] = []
        at = 0
        while at < len(children):
            start, steps, rounds = self.turned(children, looks, last_use, at)
            end = start + steps * len(rounds)
            kept += children[at:start]
            kept.append(self.merged(rounds, last_use, end) if rounds else children[start])
            at = max(end, start + 1)
        return kept

    def turned(
        self, children: Sequence[Box], looks: Sequence[int], last_use: Mapping[int, int], at: int
    ) -> tuple[int, int, list[_Round]]:
        """The longest run from `at`, or one of the same length that starts a few boxes later, if its rounds begin with
        what is written first: in pool, conv, pool, conv, pool the loop is (conv, pool) where `conv` comes first."""
        steps, rounds = self.longest(children, looks, last_use, at)
        starts = range(at + 1, min(at + steps, len(children)))
        later = [(start, *self.longest(children, looks, last_use, start)) for start in starts]
        equal = [run for run in later if (run[1], len(run[2])) == (steps, len(rounds))]
        return min([(at, steps, rounds), *equal], key=lambda run: not _in_order(run[2]))

    def longest(
        self, children: Sequence[Box], looks: Sequence[int], last_use: Mapping[int, int], start: int
    ) -> tuple[int, list[_Round]]:
        """The run from `start` that holds most boxes, of the fewest steps a round; no rounds where there is none."""
        best: tuple[int, list[_Round]] = (0, [])
        for steps in range(1, min(MAX_STEPS, (len(children) - start) // 2) + 1):
            if looks[start] != looks[start + steps] or not _fed(children, start, steps):
                continue
            rounds = _trimmed(list(_run(children, looks, last_use, start, steps)), last_use, start, steps)
            if steps * len(rounds) > best[0] * len(best[1]):
                best = steps, rounds
        return best

    def look(self, box: Box) -> int:
        """A number that is equal for boxes that are written equally."""
        if id(box) not in self.looks:  # not by its path, which a repeat takes from the first of its boxes
            self.looks[id(box)] = self.numbers.setdefault(self.signature(box), len(self.numbers)), box
        return self.looks[id(box)][0]

    def signature(self, box: Box) -> tuple[Any, ...]:
        """A block's note is left out: what its arguments change shows in the ops, or does not matter."""
        places: dict[str | None, int] = {child.path: i for i, child in enumerate(box.children)}
        title = "" if box.is_frame else box.title
        joints = tuple((places.get(w.source), w.source_port, places.get(w.target), w.target_port) for w in box.wires)
        inside = tuple(self.look(child) for child in box.children)
        look = tuple(op.name if op.training_only else op for op in box.look)  # stochastic depth grows along a repeat
        return (box.kind, title, look, box.count, box.training, len(box.inputs), len(box.outputs), joints, inside)

    def merged(self, rounds: Sequence[_Round], last_use: Mapping[int, int], end: int) -> Box:
        """One box for a run whose last box stands before `end`."""
        first, last = rounds[0], rounds[-1]
        held = [value for value in last.taken if value not in first.taken and last_use[value] >= end]
        outputs = (*last.made, *held)
        through = [last.taken.index(value) for value in held]
        box = _combined([self.frame(one) for one in rounds]) if len(first.boxes) > 1 else _combined(_singles(rounds))
        passing = tuple(Wire(None, None, port, len(last.made) + i) for i, port in enumerate(through))
        children = [child for one in rounds for child in one.boxes]
        each = replace(
            box,
            path=f"{box.path} (each)",
            kind="repeat",
            children=tuple(children),
            wires=wires(children, first.taken, outputs),
            outputs=outputs,
            count=1,
        )
        carry = _carry(box, _update(rounds[0], rounds[1]))
        count = len(rounds) * box.count
        inner = (*box.wires, *passing) if box.children else ()
        return replace(box, outputs=outputs, wires=inner, count=count, carry=carry, earlier=len(held), each=each)

    def frame(self, one: _Round) -> Box:
        """A box around a round of several steps, in which shorter repeats fold."""
        kept = self.children(one.boxes, one.made)
        names = tuple(name for box in kept for name in box.names)
        total = sum((box.cost for box in kept), Cost())
        path = f"{one.boxes[0].path} ({len(one.boxes)} steps)"  # unlike any node's name
        takes = kept[0].detail.takes
        box = Box(path, "repeat", "", "", kept[-1].shape, total, names, one.taken, one.made, children=tuple(kept))
        training = all(child.training for child in kept)
        inner = wires(kept, one.taken, one.made)
        return replace(box, wires=inner, training=training, detail=replace(kept[0].detail, ops=(), takes=takes))


def _fed(children: Sequence[Box], start: int, steps: int) -> bool:
    """Whether the boxes from `start` feed as many behind them: a quick no to branches side by side."""
    made = {value for box in children[start : start + steps] for value in box.outputs}
    return any(value in made for box in children[start + steps : start + 2 * steps] for value in box.inputs)


def _in_order(rounds: Sequence[_Round]) -> bool:
    """Whether the first box of a round is written before the others."""
    places = [box.detail.offset for box in rounds[-1].boxes] if rounds else [0]
    return places[0] == min(places)


def _singles(rounds: Sequence[_Round]) -> list[Box]:
    return [one.boxes[0] for one in rounds]


def _in_place_of(frame: Box, box: Box) -> Box:
    title = box.title or frame.title
    return replace(box, path=frame.path, title=title, inputs=frame.inputs, outputs=frame.outputs)


def _last_uses(children: Sequence[Box], outputs: Sequence[int]) -> dict[int, int]:
    """Value -> the last child that reads it; what leaves the box is read after all of them."""
    found = {value: i for i, child in enumerate(children) for value in child.inputs}
    return found | dict.fromkeys(outputs, len(children))


def _round(boxes: Sequence[Box], last_use: Mapping[int, int], end: int) -> _Round:
    """The boxes as a round; `end`: the place after the last of them."""
    inside = {value for box in boxes for value in box.outputs}
    taken = dict.fromkeys(value for box in boxes for value in box.inputs if value not in inside)
    made = tuple(value for box in boxes for value in box.outputs if last_use.get(value, -1) >= end)
    return _Round(tuple(boxes), tuple(taken), made)


def _run(
    children: Sequence[Box], looks: Sequence[int], last_use: Mapping[int, int], start: int, steps: int
) -> Iterator[_Round]:
    """The rounds from `start` that are equal and fed by one another, as many as there are."""
    before, update = None, None
    for at in range(start, len(children) - steps + 1, steps):
        if looks[at : at + steps] != looks[start : start + steps]:
            return
        one = _round(children[at : at + steps], last_use, at + steps)
        if before is not None:
            found = _update(before, one)
            if found is None or (update is not None and found != update) or not _wired_alike(before, one):
                return
            update = found
        yield one
        before = one


def _update(before: _Round, after: _Round) -> Update | None:
    """How the values that a round takes follow from the round before; None where they do not, or nothing feeds it."""
    known = {value: ("taken", i) for i, value in enumerate(before.taken)}
    made = _places(before)
    known |= {value: ("made", made[value]) for value in before.made}
    if any(value not in known for value in after.taken):
        return None
    update = tuple(known[value] for value in after.taken)
    return update if any(kind == "made" for kind, _ in update) else None


def _places(one: _Round) -> dict[int, int]:
    """Value -> its place among all that the boxes of a round make."""
    return {value: i for i, value in enumerate(value for box in one.boxes for value in box.outputs)}


def _wired_alike(one: _Round, other: _Round) -> bool:
    return len(one.taken) == len(other.taken) and _joints(one) == _joints(other) and _ends(one) == _ends(other)


def _ends(one: _Round) -> list[int]:
    """Which of all that the boxes of a round make leaves it."""
    places = _places(one)
    return [places[value] for value in one.made]


def _joints(one: _Round) -> list[tuple[str, int]]:
    """For each input of each box: what makes it inside the round, or which of the taken values it is."""
    source = {value: ("taken", i) for i, value in enumerate(one.taken)}
    source |= {value: ("made", i) for value, i in _places(one).items()}
    return [source[value] for box in one.boxes for value in box.inputs]


def _trimmed(rounds: list[_Round], last_use: Mapping[int, int], start: int, steps: int) -> list[_Round]:
    """The longest beginning of a run of which only the last round's results are read after it, and what it took where
    several values are carried along."""
    while len(rounds) > 1:
        end = start + steps * len(rounds)
        carried = rounds[-1].taken if len(rounds[-1].taken) > 1 else ()
        open_to_all = {*rounds[-1].made, *carried}
        if all(last_use[v] < end or v in open_to_all for one in rounds[:-1] for v in one.made):
            return rounds
        rounds = rounds[:-1]
    return []


def _combined(boxes: Sequence[Box]) -> Box:
    """One box for several that look the same: it shows the last, and holds the names and the cost of all."""
    first, last = boxes[0], boxes[-1]
    rows = zip(*(box.children for box in boxes), strict=True)
    children = tuple(_combined(row) for row in rows)
    renamed = {mine.path: theirs.path for mine, theirs in zip(children, first.children, strict=True)}
    assert all(mine == theirs for mine, theirs in renamed.items())
    each = _combined([box.each for box in boxes if box.each]) if first.each else None
    return replace(
        first,
        note=last.note if not first.children else first.note,
        shape=last.shape,
        cost=sum((box.cost for box in boxes), Cost()),
        names=tuple(name for box in boxes for name in box.names),
        detail=_details([box.detail for box in boxes]),
        slots=max((box.slots for box in boxes), key=lambda slots: len(set(slots))),
        outputs=last.outputs,
        children=children,
        each=each,
    )


def _details(details: Sequence[Detail]) -> Detail:
    """What they have in common as it is, what changes along the way as `first to last`."""
    first, last = details[0], details[-1]
    return replace(last, takes=_ranges(first.takes, last.takes), arrays=_ranges(first.arrays, last.arrays))


def _ranges(first: Sequence[str], last: Sequence[str]) -> tuple[str, ...]:
    return tuple(a if a == b else f"{a} to {b}" for a, b in zip(first, last, strict=True))


def _carry(box: Box, update: Update | None) -> str:
    """`next: cur = result, prev = cur`, where a repeat carries more than one value."""
    if update is None or len(update) < 2:
        return ""
    names = [name or f"input {i + 1}" for i, name in enumerate(box.slots or ("",) * len(update))]
    sources = ["result" if kind == "made" else names[i] for kind, i in update]
    return "next: " + ", ".join(f"{a} = {b}" for a, b in zip(names, sources, strict=True) if a != b)
