"""Which of the files OPERATOR.VERSION.tflite of a folder tflite-runtime 2.14 takes: the latest version by operator.

A script of its own: the Python that has that runtime has nothing of this project.
"""

import json
import sys
from pathlib import Path

from tflite_runtime.interpreter import Interpreter


def takes(file: Path) -> bool:
    try:
        Interpreter(str(file))
    except ValueError as error:
        if "Didn't find op for builtin opcode" in str(error):
            return False
        raise
    return True


def main(folder: Path) -> None:
    latest: dict[str, int] = {}
    for file in folder.glob("*.tflite"):
        kind, number, _ = file.name.split(".")
        if takes(file):
            latest[kind] = max(latest.get(kind, 0), int(number))
    print(json.dumps(latest))


main(Path(sys.argv[1]))
