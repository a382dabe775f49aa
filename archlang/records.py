"""Dataclasses of which a great many are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen, **options):
        """A dataclass that nobody changes, to be written `@record(frozen=True, ...)`.

        The type checker refuses assignments to its fields, as it does for a frozen dataclass. At run time nothing
        does: a frozen dataclass sets its own fields by `object.__setattr__`, and takes four times as long to make.
        """
        assert frozen
        return dataclass(unsafe_hash=options.get("eq", True), **options)


__all__ = ["record"]
