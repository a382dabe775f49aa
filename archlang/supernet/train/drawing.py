"""Sub-networks drawn from a space of which not all may be open yet."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING

from archlang.search.space import Picks
from archlang.supernet.train.protocol import Open

if TYPE_CHECKING:
    from archlang.search.space import Space


def drawn(space: Space, open: Open, rng: Random) -> Picks:
    """Every decision that is met, at random: each alternative that is open is equally likely."""
    return space.decided(lambda key, count: rng.choice(open.get(key) or range(count)))


def settled(space: Space, taken: Mapping[str, int], rng: Random | None = None) -> Picks:
    """The candidate that takes these alternatives; of another decision the first one, or one at random."""
    return space.decided(lambda key, count: taken[key] if key in taken else rng.randrange(count) if rng else 0)
