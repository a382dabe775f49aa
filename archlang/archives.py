"""Archives that unpack to more than there is room for: a file of a few kB may say that it is terabytes."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from archlang.errors import fail

_WITHOUT_SYSCONF = 2**32


def limit() -> int:
    """How many bytes arrays may take together: half of this machine's memory."""
    if not hasattr(os, "sysconf"):
        return _WITHOUT_SYSCONF
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def check_size(path: Path, code: str) -> None:
    """Raise ArchError with `code` where the file is a zip archive that unpacks to more than `limit`."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError):
        return  # whoever reads it says so
    if size > limit():
        raise fail(code, f"{path} unpacks to {size:,} bytes, and there is room for {limit():,}")
