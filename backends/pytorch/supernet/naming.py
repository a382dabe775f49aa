"""What a choice is called in generated source."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from archlang.backends.pytorch.supernet.settings import Learner, Unsettled
from archlang.backends.source.names import is_identifier
from archlang.search.space import Space
from archlang.syntax import tree


class Naming:
    """Names after the `choice` that a decision stands in, or after what the alternatives have in common."""

    def __init__(self, space: Space, learner: Learner) -> None:
        self.learner, self.decisions = learner, space.memo.decisions
        items = space.net.module.program.items
        self.choices = {id(item.value): item.name.id for item in items if isinstance(item, tree.ChoiceDef)}

    def __call__(self, values: Mapping[int, Any], steps: Sequence[str], otherwise: str, taken: Collection[str]) -> str:
        """values: by candidate. steps: the alternatives. otherwise: where nothing gives a name; where one is taken it
        is numbered."""
        name = self._choice(values) or _common(steps) or otherwise
        number = 1
        while f"{name}{number}" in taken:
            number += 1
        return f"{name}{number}" if name in self.choices_lowered or number > 1 or name in taken else name

    @property
    def choices_lowered(self) -> set[str]:
        return {name.lower() for name in self.choices.values()}

    def _choice(self, values: Mapping[int, Any]) -> str:
        try:
            keys = self.learner.table(values).keys
        except Unsettled:
            return ""
        names = [self.choices.get(id(self.decisions[key].node), "") for key in keys]
        return next((name.lower() for name in names if name), "")


def _common(steps: Sequence[str]) -> str:
    """What the names of several steps begin with."""
    shortest = min(steps, key=len, default="")
    length = next((n for n in range(len(shortest), 0, -1) if all(s.startswith(shortest[:n]) for s in steps)), 0)
    stem = re.sub(r"[\d_]+$", "", shortest[:length]) if len(steps) > 1 else ""
    return stem if is_identifier(stem) else ""
