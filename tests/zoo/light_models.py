"""BVLC's Caffe nets as the onnx package carries them for its backend tests: their layers, without trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

Array = NDArray[np.float32]
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def light_model(name: str, size: int) -> ModelProto:
    """The model with random weights, for images of size x size, ending in logits.

    The conversion to ONNX lost that Caffe's pools round up: one row and column of padding after the input does it.
    """
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    generator = np.random.default_rng(2)
    for node in made:
        graph.initializer.append(numpy_helper.from_array(_random(generator, constants[node.input[0]]), node.output[0]))
        graph.node.remove(node)
    for node in graph.node:
        _repair(node)
    (image,) = (value for value in graph.input if len(value.type.tensor_type.shape.dim) == 4)
    for axis in (2, 3):
        image.type.tensor_type.shape.dim[axis].dim_value = size
    softmax = graph.node.pop()
    assert softmax.op_type == "Softmax"
    graph.output[0].name = softmax.input[0]
    return model


def _random(generator: np.random.Generator, shape: NDArray[np.int64]) -> Array:
    """He et al.'s weights; biases that are not zero."""
    sizes = [int(n) for n in shape if n != 1] if len(shape) == 4 and shape[0] == 1 else [int(n) for n in shape]
    spread = 0.3 if len(sizes) == 1 else float(np.prod(sizes[1:]) / 2) ** -0.5
    values: Array = generator.normal(0, spread, [int(n) for n in shape]).astype(np.float32)
    return values


def _repair(node: NodeProto) -> None:
    pads = {"MaxPool": [0, 0, 1, 1], "AveragePool": [0, 0, 0, 0]}
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    strided = given.get("strides") == [2, 2] or node.op_type == "AveragePool"
    if node.op_type in pads and strided:
        (found,) = (attribute for attribute in node.attribute if attribute.name == "pads")
        found.CopyFrom(helper.make_attribute("pads", pads[node.op_type]))


def layers(model: ModelProto) -> dict[str, dict[str, Any]]:
    """The arrays of each convolution and linear layer, in order."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    arrays |= {
        node.output[0]: arrays[node.input[0]].reshape(arrays[node.input[1]])
        for node in model.graph.node
        if node.op_type == "Reshape" and node.input[0] in arrays
    }
    return {
        node.output[0]: {"weight": arrays[node.input[1]], "bias": arrays[node.input[2]]}
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm")
    }


def run(model: ModelProto, image: Array) -> Array:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (name,) = (
        value.name
        for value in model.graph.input
        if len(value.type.tensor_type.shape.dim) == 4 and value.name.startswith("data")
    )
    (result,) = session.run(None, {name: image})
    assert isinstance(result, np.ndarray)
    return result
