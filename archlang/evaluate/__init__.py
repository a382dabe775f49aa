"""A Graph computed in numpy, by the definition of each op: what a compiled file is held against."""

from archlang.evaluate.graph import evaluate, guided, inputs_for, unknown

__all__ = ["evaluate", "guided", "inputs_for", "unknown"]
