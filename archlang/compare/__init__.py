"""Model files side by side, whoever wrote them: what is in them, how fast they run, how far their outputs differ."""

from archlang.compare.facts import Facts, facts
from archlang.compare.outputs import Difference, differences, random_samples, stored_samples
from archlang.compare.speed import Latency, latencies

__all__ = ["Difference", "Facts", "Latency", "differences", "facts", "latencies", "random_samples", "stored_samples"]
