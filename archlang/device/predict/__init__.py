"""Latency that is predicted: from a few measurements of a space to any network of it, with an interval."""

from archlang.device.predict.model import LatencyModel, Prediction, Sample, fit
from archlang.device.predict.table import Table

__all__ = ["LatencyModel", "Prediction", "Sample", "Table", "fit"]
