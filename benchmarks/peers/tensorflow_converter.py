"""TensorFlow's converter, from a Keras model in memory."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.peers.worker import Job, serve


def _make(job: Job) -> Callable[[], None]:
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    import tensorflow as tf
    from safetensors.numpy import load_file

    scope = runpy.run_path(str(job.folder / "keras_net.py"))
    model = scope[job.facts["keras"]]()
    scope["load_weights"](model, load_file(job.folder / "weights.safetensors"))
    samples = np.ascontiguousarray(np.load(job.folder / "calibration.npy").transpose(0, 2, 3, 1))

    def write() -> None:
        job.result.write_bytes(_converted(tf, model, samples if job.mode == "int8" else None))

    return write


def _converted(tf: Any, model: Any, samples: Any) -> bytes:
    """A file for batch 1. samples: for full integers, those of the inputs and outputs included.

    The variables are made constants first: calibration fails on those that the converter leaves in the file.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32)]
    run = tf.function(lambda x: model(x, training=False), input_signature=specs)
    frozen = convert_variables_to_constants_v2(run.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if samples is not None:

        def representative() -> Iterator[list[Any]]:
            for sample in samples:
                yield [sample[None]]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    data: bytes = converter.convert()
    return data


if __name__ == "__main__":
    serve(_make)
