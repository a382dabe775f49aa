"""The report of a search: one HTML page that needs nothing else.

write_report(read(Path("runs/first")))
"""

from __future__ import annotations

from pathlib import Path

from archlang.files import write_whole
from archlang.report.page import page
from archlang.report.run import Run, read

NAME = "report.html"


def write_report(run: Run, out: Path | None = None) -> Path:
    """Write the page to `out`, report.html in the run's folder where none is given. Raises ArchError."""
    path = out or run.folder / NAME
    write_whole(path, page(run))
    return path


__all__ = ["NAME", "Run", "page", "read", "write_report"]
