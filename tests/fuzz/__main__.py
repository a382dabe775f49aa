"""`python -m tests.fuzz syntax|meaning [CORPUS...] [libFuzzer options, such as -max_total_time=600]`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main() -> None:
    atheris: Any = import_module("atheris")  # it has no types
    with atheris.instrument_imports(include=["archlang"]):
        for module in ("lower.body", "syntax.complain", "syntax.printer", "syntax.recover"):  # some are imported late
            import_module(f"archlang.{module}")
        from tests.fuzz.targets import TARGETS

    run = TARGETS[sys.argv[1]]

    def one_input(data: bytes) -> None:
        run(data.decode("utf-8", errors="ignore"))

    options = [argument for argument in sys.argv[2:] if argument.startswith("-")]
    folders = [argument for argument in sys.argv[2:] if not argument.startswith("-")] or [str(HERE / "corpus")]
    words = f"-dict={HERE / 'words.dict'}"
    atheris.Setup([sys.argv[0], *folders, words, *options], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
