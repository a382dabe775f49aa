"""`python -m archlang.backends.tflite.tensorflow_worker FOLDER`: a job of via_tensorflow, in its own process."""

from __future__ import annotations

import json
import runpy
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    saved = folder / "saved"
    _save(_model(folder, job["build"]), job["inputs"], job["outputs"], saved)
    data = _converted(saved, folder, job["mode"], job["io"])
    (folder / "model.tflite").write_bytes(data)
    (folder / "operators.json").write_text(json.dumps(_operators(data)))


def _model(folder: Path, build: str) -> Any:
    from safetensors.numpy import load_file

    scope = runpy.run_path(str(folder / "network.py"))
    model = scope[build]()
    if "load_weights" in scope:
        scope["load_weights"](model, load_file(folder / "weights.safetensors"))
    return model


def _operators(data: bytes) -> dict[str, int]:
    """Operator name -> count."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return Counter(names[codes[operator.opcodeIndex]] for operator in model.subgraphs[0].operators)


def _save(model: Any, inputs: list[str], outputs: list[str], folder: Path) -> None:
    """A SavedModel whose one signature has the network's names and batch 1. The weights are constants: the converter
    leaves variables that it has not been shown how to find as variables of the file."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [tf.TensorSpec((1, *x.shape[1:]), tf.float32, name) for x, name in zip(model.inputs, inputs, strict=True)]

    @tf.function(input_signature=specs)  # type: ignore[untyped-decorator]
    def run(*values: Any) -> list[Any]:
        results = model(list(values) if len(values) > 1 else values[0], training=False)
        return [tf.identity(y) for y in (results if isinstance(results, list) else [results])]

    module = tf.Module()
    module.frozen = convert_variables_to_constants_v2(run.get_concrete_function())

    @tf.function(input_signature=specs)  # type: ignore[untyped-decorator]
    def serve(*values: Any) -> dict[str, Any]:
        return dict(zip(outputs, module.frozen(*values), strict=True))

    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    signatures = {"serving_default": serve.get_concrete_function()}
    tf.saved_model.save(module, str(folder), signatures, options)


def _converted(saved: Path, folder: Path, mode: str, ends: str | None) -> bytes:
    """ends: `float` where integers shall stay inside."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=["serving_default"])
    _MODES[mode](tf, converter, folder)
    if ends == "float":
        converter.inference_input_type = converter.inference_output_type = tf.float32
    data: bytes = converter.convert()
    return data


def _dynamic(tf: Any, converter: Any, folder: Path) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _fp16(tf: Any, converter: Any, folder: Path) -> None:
    _dynamic(tf, converter, folder)
    converter.target_spec.supported_types = [tf.float16]


def _int8(tf: Any, converter: Any, folder: Path) -> None:
    _integers(tf, converter, folder, tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8)


def _int16x8(tf: Any, converter: Any, folder: Path) -> None:
    operators = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    _integers(tf, converter, folder, operators, tf.int16)


def _integers(tf: Any, converter: Any, folder: Path, operators: Any, kind: Any) -> None:
    """Integers throughout, with ranges from the calibration inputs."""
    with np.load(folder / "calibration.npz") as arrays:
        samples = dict(arrays)

    def representative() -> Iterator[dict[str, Any]]:
        for i in range(min(len(array) for array in samples.values())):
            yield {name: array[i : i + 1] for name, array in samples.items()}

    _dynamic(tf, converter, folder)
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [operators]
    converter.inference_input_type = converter.inference_output_type = kind


_MODES: dict[str, Callable[[Any, Any, Path], None]] = {
    "none": lambda tf, converter, folder: None,
    "fp16": _fp16,
    "dynamic": _dynamic,
    "int8": _int8,
    "int16x8": _int16x8,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
