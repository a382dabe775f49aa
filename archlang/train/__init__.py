"""Trains the generated PyTorch of a network to classify images."""

from archlang.train.loop import Epoch, TrainResult, train
from archlang.train.network import (
    accelerator,
    arrays_of,
    check_classifier,
    check_fit,
    evaluate,
    logits,
    module_of,
)
from archlang.train.recipe import Recipe, check_recipe

__all__ = [
    "Epoch",
    "Recipe",
    "TrainResult",
    "accelerator",
    "arrays_of",
    "check_classifier",
    "check_fit",
    "check_recipe",
    "evaluate",
    "logits",
    "module_of",
    "train",
]
