"""`python -m benchmarks [NAME...] [--quick] [--json]`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from importlib import import_module

from archlang.cli.common import emit_json
from archlang.cli.table import Table, plain
from benchmarks.measure import Result

NAMES = ("startup", "language", "compile", "search", "pytorch", "tflite", "latency")


def main() -> None:
    arguments = _arguments()
    runs = 2 if arguments.quick else 9
    names = arguments.names or NAMES
    found = [result for name in names for result in import_module(f"benchmarks.{name}").results(runs)]
    if arguments.json:
        emit_json([{**asdict(result), "ratio": result.ratio} for result in found])
    else:
        print(plain(table(found)))


def table(results: list[Result]) -> Table:
    """Medians; the ratio is how many times as much the peer takes."""
    titles = ("what", "median", "unit", "at most", "beside", "its median", "ratio")
    rows = [
        (r.name, _rounded(r.ours), r.unit, _rounded(r.limit), r.peer, _rounded(r.theirs), _rounded(r.ratio))
        for r in results
    ]
    return Table(titles, rows)


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 2 if value < 20 else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="two runs each: does it work, not how fast is it")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
