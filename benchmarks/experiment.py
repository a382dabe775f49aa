"""What the experiments share, which take minutes and go on where they were stopped: their words and their ending."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def parser(name: str, about: str | None, quick: str) -> argparse.ArgumentParser:
    """`--folder`, where finished work is kept, and `--quick`, whose size `quick` tells."""
    made = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=about)
    made.add_argument("--folder", type=Path, default=Path("demo") / name.replace("_", "-"))
    made.add_argument("--quick", action="store_true", help=f"{quick}: does it work, not what does it find")
    return made


def percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def start(main: Callable[[], None]) -> None:
    """Run it. Ctrl-C says that nothing finished is lost."""
    try:
        main()
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here")
