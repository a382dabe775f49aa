"""Where a user's files are: the list of devices, and what is remembered about them between runs."""

from __future__ import annotations

import os
from pathlib import Path

from archlang.files import DEVICES_FILE


def devices_file() -> Path:
    """The file that `--devices` or the variable names, else devices.toml in the user's configuration folder."""
    named = os.environ.get(DEVICES_FILE)
    return Path(named).expanduser() if named else _folder("XDG_CONFIG_HOME", ".config") / "devices.toml"


def named() -> bool:
    """Whether a file was asked for, so that it must exist."""
    return bool(os.environ.get(DEVICES_FILE))


def state_folder() -> Path:
    """For what a run leaves for the next: which devices keep failing."""
    return _folder("XDG_STATE_HOME", ".local/state")


def cache_folder() -> Path:
    """For what can be found out again: latencies."""
    return _folder("XDG_CACHE_HOME", ".cache")


def _folder(variable: str, below_home: str) -> Path:
    """By the XDG base directory specification; %APPDATA% on Windows."""
    base = os.environ.get(variable) or os.environ.get("APPDATA")
    return (Path(base) if base else Path.home() / below_home) / "archlang"
