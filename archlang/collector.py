"""Python's cycle collector, which looks through all objects again and again while many are made."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class paused:
    """Without the collector: for work that makes many objects and no cycles, as trees and graphs are. It takes a third
    of the time of such work. A class, since a generator takes longer to enter and leave; also a decorator."""

    def __enter__(self) -> None:
        self.enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self.enabled:
            gc.enable()

    def __call__(self, function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @wraps(function)
        def without(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            with paused():  # one for each call: a function may be called within itself
                return function(*args, **kwargs)

        return without


NEW_OBJECTS = 50_000
"""After so many new ones `sparing` has the collector look; Python's own number is 700."""


@contextmanager
def sparing() -> Iterator[None]:
    """With a collector that seldom looks: for long work that keeps most of what it makes, such as the trials of a
    search, which take a quarter of their time otherwise."""
    before = gc.get_threshold()
    gc.set_threshold(max(NEW_OBJECTS, before[0]) if before[0] else 0, *before[1:])  # 0: somebody has turned it off
    try:
        yield
    finally:
        gc.set_threshold(*before)
