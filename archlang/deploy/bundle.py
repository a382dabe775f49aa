"""A folder with a model, what it takes and gives, a runner, and a manifest; written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from archlang.about import About
from archlang.deploy.facts import Facts, facts
from archlang.errors import fail

TARGETS = {
    "linux": "a Python script that needs numpy and LiteRT",
    "android": "Kotlin source and the assets of an app",
    "mcu": "C source for a microcontroller with tflite-micro",
}
"""Target -> what it is. Each is a module of this package with a function `files(bundle)`."""

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """What goes into a folder. source: where the model comes from. measured: results of `bench`, as JSON."""

    target: str
    source: str
    content: bytes
    facts: Facts
    measured: tuple[dict[str, Any], ...] = ()

    def files(self) -> dict[str, bytes]:
        """Path in the folder -> content, the manifest last."""
        make: Callable[[Bundle], dict[str, bytes]] = import_module(f"archlang.deploy.{self.target}").files
        made = make(self)
        return {**made, MANIFEST: encoded(self._manifest(made))}

    def _manifest(self, made: dict[str, bytes]) -> dict[str, Any]:
        return {
            "format": 1,
            "target": self.target,
            "made_by": f"archlang {version('archlang')}",
            "source": self.source,
            "files": {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in made.items()},
            "measured": list(self.measured),
        }


def deploy(
    content: bytes,
    target: str,
    out: Path,
    *,
    name: str,
    source: str,
    about: About,
    measured: tuple[dict[str, Any], ...] = (),
) -> Bundle:
    """Write the folder `out`, in place of an older bundle where there is one.

    Raises ArchError where the model cannot be deployed so, or `out` is something else than a bundle.
    """
    check_place(out)
    bundle = Bundle(target, source, content, facts(name, content, about), measured)
    _write(out, bundle.files())
    return bundle


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encoded(document: Any) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def check_place(out: Path) -> None:
    """Raise ArchError where something other than a bundle or an empty folder is there."""
    if not out.exists() or (out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))):
        return
    raise fail("E0608", f"{out} is there and is no bundle", help="name another folder, or remove it first")


def _write(out: Path, files: dict[str, bytes]) -> None:
    """Into a temporary folder beside it, which takes its name when all is there."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
            new, old = Path(temporary, "new"), Path(temporary, "old")
            for name, data in files.items():
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            if out.exists():
                os.rename(out, old)
            _take_place(new, old, out)
    except OSError as error:
        raise fail("E0608", f"cannot write {out}: {error.strerror}") from error


def _take_place(new: Path, old: Path, out: Path) -> None:
    try:
        os.rename(new, out)
    except OSError:
        if old.exists():
            shutil.move(old, out)
        raise
