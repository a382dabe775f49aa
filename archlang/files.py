"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from archlang.errors import fail

IMPORT_PATH = "ARCHLANG_IMPORT_PATH"
"""The variable with the folders that imports may reach, besides that of the file that imports."""


Buffer = bytes | memoryview


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all. Raises ArchError where the folder is missing or cannot be written."""
    write_together({path: (data.encode() if isinstance(data, str) else data,)})


def write_together(files: Mapping[Path, Iterable[Buffer]]) -> int:
    """Write files that belong together, each from its pieces, all of them or none. The number of bytes.

    Each is written to a temporary name in its folder; when all are whole they are renamed, in their order: a reader
    never sees half a file. Raises ArchError where a folder is missing or cannot be written.
    """
    written: dict[Path, str] = {}
    placed: list[Path] = []
    path, size = Path(), 0
    try:
        for path, pieces in files.items():
            handle, written[path] = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "wb") as file:
                size += sum(file.write(piece) for piece in pieces)
            os.chmod(written[path], 0o666 & ~_umask())
        for path, temporary in written.items():
            os.replace(temporary, path)
            placed.append(path)
    except OSError as error:
        raise fail("E0608", f"cannot write {path}: {error.strerror}") from error
    finally:
        _clean(written.values() if len(placed) == len(files) else [*written.values(), *placed])
    return size


def _clean(paths: Iterable[Path | str]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
