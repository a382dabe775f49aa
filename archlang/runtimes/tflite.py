"""A .tflite file in LiteRT, or in an older runtime for such files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.device import runner
from archlang.errors import fail, missing_extra
from archlang.runtimes.model import Array, Lacking, Port
from archlang.stderr import silenced

_UNKNOWN = "Didn't find op for builtin opcode"
"""What every TFLite runtime says of an operator, or a version of it, that it does not have."""


@dataclass(frozen=True)
class TfliteFile:
    path: Path
    runtime: str
    make: Callable[..., Any]
    interpreter: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    channels_last: bool = True

    def run(self, inputs: Sequence[Array]) -> list[NDArray[np.float32]]:
        return [port.real(y) for port, y in zip(self.outputs, _invoked(self.interpreter, self, inputs), strict=True)]

    def layers(self, inputs: Sequence[Array], names: Collection[str]) -> Mapping[str, tuple[Array, float]]:
        """By the runtime's own kernels, without a delegate that would keep its values to itself."""
        plain = sys.modules[self.make.__module__].OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        options = {"experimental_preserve_all_tensors": True, "experimental_op_resolver_type": plain}
        interpreter = _allocated(self.make, self.runtime, self.path, options)
        before = {detail["index"] for detail in interpreter.get_input_details()}
        _invoked(interpreter, self, inputs)
        found = {}
        for detail in interpreter.get_tensor_details():
            port = _port(detail["name"], detail)
            if port.name in names and detail["index"] not in before and _is_value(port):
                found[port.name] = port.real(interpreter.get_tensor(detail["index"])), port.scale
        return found


def _is_value(port: Port) -> bool:
    """Whether it may be an activation: of a batch, and of real numbers."""
    return port.shape[:1] == (1,) and (port.dtype.kind == "f" or bool(port.scale))


def opened(path: Path) -> TfliteFile:
    try:
        make, runtime = runner.interpreter_class()
    except runner.Failure as failure:
        raise Lacking(str(missing_extra(f"running a .tflite file ({failure})", "tflite"))) from failure
    interpreter = _allocated(make, runtime, path, {})
    inputs, outputs = _names(interpreter)
    return TfliteFile(
        path,
        runtime,
        make,
        interpreter,
        tuple(_port(inputs.get(d["index"], d["name"]), d) for d in interpreter.get_input_details()),
        tuple(_port(outputs.get(d["index"], d["name"]), d) for d in interpreter.get_output_details()),
    )


def _allocated(make: Callable[..., Any], runtime: str, path: Path, options: dict[str, Any]) -> Any:
    try:
        with silenced():
            interpreter = make(model_path=str(path), num_threads=1, **options)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or ["without a word"])[0]
        if _UNKNOWN in reason:
            raise Lacking(f"{runtime} is too old for the file: {reason}") from error
        raise fail("E1001", f"{path} cannot be run: {runtime} does not accept it: {reason}") from error
    return interpreter


def _names(interpreter: Any) -> tuple[dict[int, str], dict[int, str]]:
    """Of inputs and outputs, by the index of their tensor, as the first signature calls them."""
    signatures = interpreter.get_signature_list()
    if not signatures:
        return {}, {}
    signature = interpreter.get_signature_runner(next(iter(signatures)))
    sides = signature.get_input_details(), signature.get_output_details()
    given, made = ({detail["index"]: name for name, detail in side.items()} for side in sides)
    return given, made


def _port(name: str, detail: Mapping[str, Any]) -> Port:
    scale, zero_point = detail["quantization"]
    return Port(name, tuple(int(n) for n in detail["shape"]), np.dtype(detail["dtype"]), float(scale), int(zero_point))


def _invoked(interpreter: Any, model: TfliteFile, inputs: Sequence[Array]) -> list[Array]:
    for detail, port, x in zip(interpreter.get_input_details(), model.inputs, inputs, strict=True):
        interpreter.set_tensor(detail["index"], port.stored(x))
    try:
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise fail("E1001", f"{model.path} cannot be run: {model.runtime} fails: {error}") from error
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
