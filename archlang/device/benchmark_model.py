"""What TFLite's `benchmark_model` prints, in the forms that it has had over the years.

Every release since 2018 prints a line of statistics for the warm-up and one for the runs, in microseconds:
`count=50 first=… curr=… min=… max=… avg=… std=…`, newer ones with `p5=… median=… p95=…` too. The line at the end
differs: `Average inference timings in us: Warmup: …, Init: …, no stats: …` (to 2019), then `Inference timings in us:
Init: …, First inference: …, Warmup (avg): …, Inference (avg): …`, or LiteRT's block `Inference (avg): 0.46 ms (2112
runs)`. The tool of TensorFlow itself has `Timings (microseconds): count=…` alone, which the others print for a profile.
Lines may begin with `INFO: `.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from archlang.device.transport import DeviceFailure, Settings


@dataclass(frozen=True)
class Statistics:
    """Of one process. median_ms: None where the release does not tell it."""

    runs: int
    average_ms: float
    median_ms: float | None

    @property
    def typical_ms(self) -> float:
        return self.average_ms if self.median_ms is None else self.median_ms


@dataclass(frozen=True)
class Output:
    """What a process measured. warmup: None where the tool does not tell it apart."""

    measured: Statistics
    warmup: Statistics | None


def arguments(model: str, settings: Settings, profile_to: str = "") -> list[str]:
    """Flags that every release knows; what one does not know it passes over. Both names of the profile's file are
    understood by the newer ones."""
    flags = [
        f"--graph={model}",
        f"--num_threads={settings.threads}",
        f"--num_runs={settings.runs}",
        f"--min_secs={settings.min_secs:g}",
        f"--warmup_runs={max(1, settings.warmup_runs)}",
        f"--warmup_min_secs={settings.warmup_secs:g}",
        f"--max_secs={settings.timeout_secs:g}",
    ]
    if profile_to:
        flags += ["--enable_op_profiling=true", f"--profiling_output_csv_file={profile_to}"]
    return flags


_STATISTICS = re.compile(r"(?P<title>.*?)(?P<pairs>count=\d+ .*)")
_OF_PROFILE = "Timings (microseconds)"
_OF_MEMORY = "Memory (bytes)"
_PAIR = re.compile(r"(\w+)=([0-9.]+(?:e[+-]?\d+)?)")
_ENDS = ("Inference timings in us:", "Average inference timings in us:", "Inference (avg):", f"{_OF_PROFILE}:")
_BEGINS = "Running benchmark for at least"


def parsed(text: str) -> Output:
    """Read what a process printed. Raises DeviceFailure where it is not whole."""
    lines = [line for line in text.splitlines() if _OF_MEMORY not in line]
    found = [match for line in lines if (match := _STATISTICS.fullmatch(line.strip()))]
    phases = [_statistics(match["pairs"]) for match in found if _OF_PROFILE not in match["title"]]
    if not any(end in text for end in _ENDS):
        raise DeviceFailure("partial", "what benchmark_model printed has no end")
    if len(phases) >= text.count(_BEGINS) > 0:
        return Output(phases[-1], phases[0] if len(phases) > 1 else None)
    profiles = [_statistics(match["pairs"]) for match in found if _OF_PROFILE in match["title"]]
    if not profiles or _BEGINS in text:
        raise DeviceFailure("partial", "what benchmark_model printed has no statistics")
    return Output(profiles[-1], None)


def _statistics(pairs: str) -> Statistics:
    """`count=1 curr=…` and `count=5 curr=…(all same)` have no average."""
    values = {name: float(number) for name, number in _PAIR.findall(pairs)}
    average = values.get("avg", values.get("curr"))
    if average is None or not values["count"]:
        raise DeviceFailure("partial", "the statistics of benchmark_model have no average")
    median = values.get("median")
    return Statistics(int(values["count"]), average / 1e3, None if median is None else median / 1e3)


# ---- the profile -----------------------------------------------------------------------------------------------------


def operators(text: str) -> list[dict[str, object]]:
    """The operators of a profile in the order of evaluation: {name, op, ms}, ms being the mean of the runs.

    The profile is a CSV file, or the table on stdout; it has one part for the preparation and one for the runs, each
    with sections. Raises DeviceFailure where there is none.
    """
    found = [row for row in _rows(text.partition(_RUNS)[2] or text) if not row["op"].startswith("AllocateTensors")]
    if not found:
        raise DeviceFailure("partial", "benchmark_model wrote no profile")
    return [{"name": row["name"], "op": row["op"], "ms": float(row["ms"])} for row in found]


_RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_COLUMNS = {"node type": "op", "avg_ms": "ms", "avg ms": "ms", "name": "name"}


def _rows(text: str) -> Iterator[dict[str, str]]:
    """The rows of the section `Run Order`, by `op`, `ms` and `name`."""
    titles: list[str] | None = None
    separator = ","
    for line in text.partition("Run Order")[2].splitlines()[1:]:
        if titles is None:
            separator = "\t" if "\t" in line else ","
            titles = [title.strip(" []").lower() for title in line.strip("\t").split(separator)]
        elif not line.strip():
            return
        else:
            cells = line.strip("\t").split("\t") if separator == "\t" else _cells(line, len(titles))
            named = zip(titles, map(str.strip, cells), strict=False)
            yield {_COLUMNS[title]: cell for title, cell in named if title in _COLUMNS}


_NUMBER = r"\s*[-+.\de]+%?\s*"


def _cells(line: str, count: int) -> list[str]:
    """The cells of a line of CSV, whose first and last may hold commas: `Convolution (NHWC, QC8) IGEMM, 0.1, ...`."""
    found = re.fullmatch(rf"(.*?),({_NUMBER}(?:,{_NUMBER}){{{count - 3}}}),(.*)", line)
    if found is None:
        raise DeviceFailure("partial", "a line in the profile of benchmark_model is not whole")
    return [found[1], *found[2].split(","), found[3]]
