"""Measuring on devices: a transport a file, and one protocol for all."""

from archlang.device.measure import BenchResult, Statistics, bench

__all__ = ["BenchResult", "Statistics", "bench"]
