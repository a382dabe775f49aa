"""From text to cost, in process: EfficientNet-B7, and generated files of 1,000 to 10,000 lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from archlang.check import check
from archlang.cost import cost
from archlang.lower import LIBRARY, Loader, lower
from archlang.lower.names import check_module
from archlang.lower.nets import net_named
from benchmarks.measure import Result, medians

LINES = (1_000, 2_000, 5_000, 10_000)
LINES_A_SECOND = 5_000


def results(runs: int) -> Iterator[Result]:
    (b7,) = medians([_efficientnet], runs, warmup=3)
    yield Result("EfficientNet-B7 from text to cost", b7, limit=30)
    for kind, make in FILES.items():
        with TemporaryDirectory() as folder:
            files = [_written(Path(folder) / f"{lines}.arch", make(lines)) for lines in LINES]
            times = medians([partial(_all, file) for file in files], max(1, runs // 3))
        for lines, ms in zip(LINES, times, strict=True):
            yield Result(f"{kind}, {lines:,} lines", ms, limit=1000 * lines / LINES_A_SECOND)


def _written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def _efficientnet() -> object:
    module = Loader().load(LIBRARY / "efficientnet.arch")
    assert not check_module(module)
    return cost(lower(net_named(module, "b7")).graph)


def _all(file: Path) -> object:
    """Parse, check, lower and count every net and variant of the file, as `archlang check` does."""
    report = check(str(file))
    assert report.ok
    assert report.nets
    return report


# ---- generated files -------------------------------------------------------------------------------------------------

_HEAD = "net Large:\n  default conv(norm=bn, act=relu)\n  input 8x16x16\n"


def many_blocks(lines: int) -> str:
    """Blocks of five lines, each called once."""
    count = lines // 6
    blocks = (
        f"block unit{i}(c, s=1 once):\n  residual(project=conv(c, 1, s=s)) -> relu:\n"
        f"    conv(c, 3, s=s)\n    conv(c, 3, act=none)\n\n"
        for i in range(count)
    )
    return "".join(blocks) + _HEAD + "".join(f"  unit{i}({8 + i % 3})\n" for i in range(count))


def many_tables(lines: int) -> str:
    """Tables of eight rows."""
    table = "  table conv:\n    | c  | k | s |\n" + "".join(f"    | {8 + i} | 3 | 1 |\n" for i in range(8))
    return _HEAD + table * (lines // 10)


def long_net(lines: int) -> str:
    """One net, a step a line, each the only one of its kind."""
    return _HEAD + "".join(f"  conv({8 + i % 7}, 3) as step{i}\n" for i in range(lines))


def many_variants(lines: int) -> str:
    """Nets of five lines with four variants, and one more by `with`."""
    rows = "".join(f"  | v{k} | {8 * k} | {k} |\n" for k in range(1, 5))
    nets = (
        f"net Net{i}(width=8, depth=1):\n  default conv(norm=bn, act=relu)\n  input 3x16x16\n"
        f"  conv(width, 3) * depth\n  conv({8 + i % 50}, 1)\n  gap -> linear(10)\n\n"
        f"variants Net{i}:\n  | name | width | depth |\n{rows}\nnet Smooth{i} = Net{i}.v2 with conv(act=swish)\n\n"
        for i in range(lines // 16)
    )
    return "".join(nets)


def many_comments(lines: int) -> str:
    """Half of the lines are comments, alone or behind code."""
    return _HEAD + "".join(f"  # line {i}\n  relu  # {i}, and why\n" for i in range(lines // 2))


def many_nets(lines: int) -> str:
    """Independent nets of five lines."""
    nets = (
        f"net Net{i}:\n  input 3x16x16\n  conv({8 + i % 50}, 3, s=2) -> relu\n  gap -> linear(10)\n\n"
        for i in range(lines // 5)
    )
    return "".join(nets)


def deep_branches(lines: int) -> str:
    """Groups within groups, four deep."""
    group = (
        "  residual:\n    concat:\n      conv(4, 3)\n      branch:\n        conv(8, 1)\n        mul:\n"
        "          skip\n          gap -> conv(8, 1) -> sigmoid\n        conv(4, 3)\n"
    )
    return _HEAD + group * (lines // 9)


FILES: dict[str, Callable[[int], str]] = {
    "blocks": many_blocks,
    "tables": many_tables,
    "one net": long_net,
    "variants": many_variants,
    "comments": many_comments,
    "nets": many_nets,
    "branches": deep_branches,
}
