"""Runs every N.tflite of a folder on N.npy, by a Python with tflite-runtime 2.14; N.KERNELS.npy is what comes out.

A script of its own: that Python has nothing of this project.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tflite_runtime.interpreter import Interpreter, OpResolverType

KERNELS = {"reference": OpResolverType.BUILTIN_REF, "optimized": OpResolverType.BUILTIN}


def main(folder: Path) -> None:
    files = sorted(folder.glob("*.tflite"))
    for file in files:
        for name, resolver in KERNELS.items():
            made = Interpreter(str(file), num_threads=1, experimental_op_resolver_type=resolver)
            made.allocate_tensors()
            made.set_tensor(made.get_input_details()[0]["index"], np.load(file.with_suffix(".npy")))
            made.invoke()
            result = made.get_tensor(made.get_output_details()[0]["index"])
            np.save(file.with_suffix(f".{name}.npy"), result)
    print(json.dumps({"version": version("tflite-runtime"), "files": len(files)}))


main(Path(sys.argv[1]))
