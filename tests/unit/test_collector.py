"""The cycle collector is paused, and goes on as it was."""

from __future__ import annotations

import gc
from contextlib import suppress

import pytest

from archlang.collector import NEW_OBJECTS, paused, sparing


@paused()
def deep(levels: int) -> list[bool]:
    """Whether the collector is on, before and after calling itself."""
    before = gc.isenabled()
    return [before, *(deep(levels - 1) if levels else []), gc.isenabled()]


def test_it_goes_on_after_the_outermost_pause() -> None:
    assert gc.isenabled()
    assert deep(2) == [False] * 6
    assert gc.isenabled()


def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(RecursionError), paused():
        deep(100_000)
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off() -> None:
    gc.disable()
    try:
        with paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("threshold", [700, 10 * NEW_OBJECTS, 0])
def test_a_sparing_collector_looks_more_seldom_than_before(threshold: int) -> None:
    before = gc.get_threshold()
    gc.set_threshold(threshold, 10, 10)
    try:
        with suppress(ValueError), sparing():
            assert gc.get_threshold()[0] == (max(threshold, NEW_OBJECTS) if threshold else 0)
            raise ValueError
        assert gc.get_threshold() == (threshold, 10, 10)
    finally:
        gc.set_threshold(*before)
