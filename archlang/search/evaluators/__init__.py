"""Evaluators: what a candidate is worth. Each is one file behind one method."""

from archlang.search.evaluators.cost import CostEvaluator
from archlang.search.evaluators.protocol import Evaluate, Evaluator
from archlang.search.evaluators.train import TrainEvaluator

__all__ = ["CostEvaluator", "Evaluate", "Evaluator", "TrainEvaluator"]
