"""Runs a file once in tflite-runtime 2.14, on zeros; a script of its own, as `old_runtime` is."""

import json
import sys

import numpy as np
from tflite_runtime.interpreter import Interpreter

made = Interpreter(sys.argv[1], num_threads=1)
made.allocate_tensors()
for detail in made.get_input_details():
    made.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
made.invoke()
print(json.dumps({"outputs": len(made.get_output_details())}))
