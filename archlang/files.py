"""Writing files whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
    half a file, or one that failed. What a SIGTERM interrupts is removed; what a SIGKILL left behind, by the next that
    writes into the same folder. Raises ArchError where a folder is missing or cannot be written, or where something is
    in the way that is no file.
    """
    with _cleaned_up_before_the_end():
        return _write_together(files, check)


def _write_together(files: Mapping[Path, Iterable[Buffer]], check: Callable[[Path], None] | None) -> int:
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
        above = f".archlang.{os.uname().nodename if os.name == 'posix' else ''}."
        _sweep(path.parent, above)
        folders[path.parent] = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{above}{os.getpid()}."))
    return folders[path.parent] / path.name


def _sweep(parent: Path, above: str) -> None:
    """Remove the temporary folders of processes of this machine that are gone."""
    if os.name != "posix":
        return  # elsewhere to ask whether a process lives ends it
    for folder in os.scandir(parent):
        pid = folder.name.removeprefix(above).partition(".")[0]
        if folder.name.startswith(above) and pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(folder.path, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is another user's
    return True


class _TerminatedError(BaseException):
    """A SIGTERM, as an exception."""


@contextmanager
def _cleaned_up_before_the_end() -> Iterator[None]:
    """Where a SIGTERM would end the process at once, it does so when all blocks inside are left."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    except _TerminatedError:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(number: int, frame: object) -> None:
    raise _TerminatedError


def _write(path: Path, pieces: Iterable[Buffer]) -> int:
    with open(path, "wb") as file:
        return sum(file.write(piece) for piece in pieces)


def _clean(placed: Iterable[Path], folders: Iterable[Path]) -> None:
    for path in placed:
        with suppress(FileNotFoundError):
            os.unlink(path)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
