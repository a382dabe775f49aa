"""Quantization, as far as it belongs to no target: ranges of values, weights that quantize better, what it costs.

    calibrate     ranges of the values of a network, from inputs like those that it will see
    observers     how many values become one range
    scale         whether those inputs are scaled as the ones of the training were
    equalize      channels of about the same range, by moving factors from layer to layer
    bias          biases that take back what rounded weights add to the mean
    sensitivity   which layers should keep floats
    report        the signal-to-noise ratio of each layer
    qat           quantization-aware training: a Graph that rounds while it is trained, and the ranges that it learns

A backend runs the network (`Executor`) and says how it stores numbers.
"""

from archlang.quantize.options import Budget, Executor, Options, Range, Samples, Tuning

__all__ = ["Budget", "Executor", "Options", "Range", "Samples", "Tuning"]
