"""Room on Python's stack for the nesting that the language allows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from archlang.errors import fail
from archlang.source import Span

FRAMES = 10_000
"""Blocks 48 deep, each with some dozens of calls of this program, take more than the 1,000 that Python allows."""


@contextmanager
def deep(span: Span | None) -> Iterator[None]:
    """Raises ArchError at `span` where even this room is too small."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, FRAMES))
    try:
        yield
    except RecursionError:
        raise fail("E0107", "this is nested too deeply to be elaborated", span) from None
    finally:
        sys.setrecursionlimit(before)
