"""What TFLite calls a padding, where it has a name for it."""

from __future__ import annotations

from archlang.backends.tflite.schema import Padding
from archlang.ops.window import Window, has_name, windows


def scheme(rows: Window, columns: Window) -> Padding | None:
    """TFLite's name for the padding, or None where it has none: then the input must be padded first."""
    if not has_name(rows, columns):
        return None
    return Padding.VALID if rows.is_valid and columns.is_valid else Padding.SAME


__all__ = ["Window", "scheme", "windows"]
