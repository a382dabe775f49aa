"""The order of events in a forward: values that stand for one of several, and the steps that only one of them needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from archlang.backends.pytorch.supernet.union import Conflict, Source, Step, Union

Place = tuple[tuple[str, Source], ...]
"""Where a step stands: (phi, its alternative) from the outside in; empty where nothing is asked."""


@dataclass
class Phi:
    """A value that is one of several. chosen: which, in every row; None where nothing reads it."""

    name: str
    chosen: list[Source | None]

    @property
    def sources(self) -> list[Source]:
        return list(dict.fromkeys(source for source in self.chosen if source is not None))


@dataclass
class Flow:
    """A union whose every slot has one source. order: names of steps and phis; reads: step -> its slots' sources.
    places: where each stands."""

    union: Union
    phis: dict[str, Phi] = field(default_factory=dict)
    reads: dict[str, tuple[Source, ...]] = field(default_factory=dict)
    outputs: tuple[Source, ...] = ()
    order: list[str] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)

    def inside(self, phi: str, source: Source) -> list[str]:
        """The steps and phis that only this alternative needs, in order."""
        return [each for each in self.order if (phi, source) in self.places[each]]

    def directly(self, place: Place) -> list[str]:
        return [each for each in self.order if self.places[each] == place]


def flow(union: Union) -> Flow:
    found = Flow(union)
    for step in union.steps.values():
        found.reads[step.name] = tuple(_settled(found, column) for column in step.inputs)
    found.outputs = tuple(_settled(found, column) for column in union.outputs)
    _nest_plain(found)
    _order(found)
    _place(found)
    while guarded := _unguarded(found):
        _guard(found, guarded)
        _order(found)
        _place(found)
    return found


def _settled(found: Flow, column: Sequence[Source | None]) -> Source:
    """The one source of a slot: a new phi, or one that agrees, where there are several."""
    sources = list(dict.fromkeys(source for source in column if source is not None))
    if len(sources) == 1:
        return sources[0]
    for phi in found.phis.values():
        if set(phi.sources) == set(sources) and _agree(phi.chosen, column):
            phi.chosen = [a or b for a, b in zip(phi.chosen, column, strict=True)]
            return phi.name, 0
    phi = Phi(f"?{len(found.phis) + 1}", list(column))
    found.phis[phi.name] = phi
    return phi.name, 0


def _agree(one: Sequence[Source | None], other: Sequence[Source | None]) -> bool:
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def _nest_plain(found: Flow) -> None:
    """Where a phi of plain values is what the steps of another phi read, the other may be said in its terms: of
    `op(a or b)` and `a or b` itself, the second is a pass through the first."""
    all_sources = {phi.name: phi.sources for phi in found.phis.values()}
    for phi in found.phis.values():
        for inner in found.phis.values():
            extra = set(all_sources[inner.name])
            rest = [source for source in all_sources[phi.name] if source not in extra]
            if inner is phi or not extra < set(all_sources[phi.name]) or not rest:
                continue
            if all((inner.name, 0) in found.reads.get(source[0], ()) for source in rest):
                _pass_through(phi, inner)


def _pass_through(phi: Phi, inner: Phi) -> None:
    plain = set(inner.sources)
    rows = [i for i, source in enumerate(phi.chosen) if source in plain]
    if all(inner.chosen[i] in (None, phi.chosen[i]) for i in rows):
        for i in rows:
            inner.chosen[i] = phi.chosen[i]
            phi.chosen[i] = (inner.name, 0)


def _order(found: Flow) -> None:
    """Steps as in the union; each phi as soon as all that it may be is there."""
    waiting = dict(found.phis)
    done: list[str] = []
    steps = list(found.union.steps)
    sources = {phi.name: phi.sources for phi in waiting.values()}
    while steps or waiting:
        ready = [p for p in waiting.values() if all(not s[0] or s[0] in done for s in sources[p.name])]
        for phi in ready:
            done.append(phi.name)
            del waiting[phi.name]
        following = next((s for s in steps if all(not r[0] or r[0] in done for r in found.reads[s])), None)
        if following is None and not ready:
            raise Conflict("values that are chosen from each other in a circle")
        if following and not ready:
            done.append(following)
            steps.remove(following)
    found.order = done


def _place(found: Flow) -> None:
    """Each step as deep inside as all its readers are."""
    uses: dict[str, list[Place]] = {name: [] for name in found.order}
    for maker, _ in found.outputs:
        if maker:
            uses[maker].append(())
    for name in reversed(found.order):
        place = _common(uses[name]) if uses[name] else ()
        found.places[name] = place
        for reader_place, source in _readings(found, name, place):
            if source[0]:
                uses[source[0]].append(reader_place)


def _readings(found: Flow, name: str, place: Place) -> Iterator[tuple[Place, Source]]:
    if name in found.phis:
        for source in found.phis[name].sources:
            yield (*place, (name, source)), source
    else:
        for source in found.reads[name]:
            yield place, source


def _common(places: Sequence[Place]) -> Place:
    shortest = min(places, key=len)
    for k, each in enumerate(shortest):
        if any(place[k] != each for place in places):
            return shortest[:k]
    return shortest


def _unguarded(found: Flow) -> Step | None:
    """A step that would run in rows in which it is not there."""
    for name, step in found.union.steps.items():
        asked = _reached(found, found.places[name])
        if any(there and layer is None for there, layer in zip(asked, step.layers, strict=True)):
            return step
    return None


def _reached(found: Flow, place: Place) -> list[bool]:
    """In which rows a place is reached."""
    rows = range(len(found.union.rows.rows))
    return [all(found.phis[phi].chosen[i] == source for phi, source in place) for i in rows]


def _guard(found: Flow, step: Step) -> None:
    """The step's value, or where it is not there its input, which nothing reads then."""
    asked = _reached(found, found.places[step.name])
    plain = found.reads[step.name][0]
    chosen: list[Source | None] = [
        (step.name, 0) if layer else plain if there else None for there, layer in zip(asked, step.layers, strict=True)
    ]
    phi = Phi(f"?{len(found.phis) + 1}", chosen)
    if any(phi.sources == other.sources for other in found.phis.values()):
        raise Conflict(f"{step.name} is needed in places that have nothing in common")
    found.reads = {name: _instead(sources, step.name, phi) for name, sources in found.reads.items()}
    found.outputs = _instead(found.outputs, step.name, phi)
    for other in found.phis.values():
        other.chosen = [(phi.name, 0) if s == (step.name, 0) else s for s in other.chosen]
    found.phis[phi.name] = phi


def _instead(sources: tuple[Source, ...], name: str, phi: Phi) -> tuple[Source, ...]:
    return tuple((phi.name, 0) if source == (name, 0) else source for source in sources)
