"""Writing files whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from archlang.errors import fail

IMPORT_PATH = "ARCHLANG_IMPORT_PATH"
"""The variable with the folders that imports may reach, besides that of the file that imports."""

DEVICES_FILE = "ARCHLANG_DEVICES"
"""The variable with the file that names the devices, in place of the user's own."""


Buffer = bytes | memoryview


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all. Raises ArchError where the folder is missing or cannot be written."""
    write_together({path: (data.encode() if isinstance(data, str) else data,)})


def write_together(files: Mapping[Path, Iterable[Buffer]], check: Callable[[Path], None] | None = None) -> int:
    """Write files that belong together, each from its pieces, all of them or none. The number of bytes.

    Each is written into a temporary folder beside it, under its own name. When all are whole, `check` is called with
    the last of them as it lies there; when that raises nothing they are renamed, in their order: a reader never sees
    half a file, or one that failed. Raises ArchError where a folder is missing or cannot be written, or where something
    is in the way that is no file.
    """
    folders: dict[Path, Path] = {}
    placed: list[Path] = []
    path, size = Path(), 0
    try:
        for path, pieces in files.items():
            size += _write(_staged(path, folders), pieces)
        if check is not None:
            check(_staged(path, folders))
        for path in files:
            os.replace(_staged(path, folders), path)
            placed.append(path)
    except OSError as error:
        raise fail("E0608", f"cannot write {path}: {error.strerror or error}") from error
    finally:
        _clean([] if len(placed) == len(files) else placed, folders.values())
    return size


def _staged(path: Path, folders: dict[Path, Path]) -> Path:
    """Where the file lies until it is renamed. folders: the temporary one in each folder, made when it is needed."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise fail("E0608", f"cannot write {path}: it is a device or a pipe, and not a file")
    if path.parent not in folders:
        folders[path.parent] = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    return folders[path.parent] / path.name


def _write(path: Path, pieces: Iterable[Buffer]) -> int:
    with open(path, "wb") as file:
        return sum(file.write(piece) for piece in pieces)


def _clean(placed: Iterable[Path], folders: Iterable[Path]) -> None:
    for path in placed:
        with suppress(FileNotFoundError):
            os.unlink(path)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
