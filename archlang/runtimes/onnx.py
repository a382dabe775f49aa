"""An .onnx file in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.device import runner
from archlang.errors import fail, missing_extra
from archlang.runtimes.model import Array, Lacking, Port


@dataclass(frozen=True)
class OnnxFile:
    path: Path
    runtime: str
    session: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    channels_last: bool = False

    def run(self, inputs: Sequence[Array]) -> list[NDArray[np.float32]]:
        return [np.asarray(y, np.float32) for y in _run(self.session, self, inputs)]

    def layers(self, inputs: Sequence[Array], names: Collection[str]) -> Mapping[str, tuple[Array, float]]:
        """By a copy of the model that has every value as an output. Raises Lacking without the package onnx."""
        try:
            import onnx
        except ImportError as error:
            raise Lacking(str(missing_extra("looking into an ONNX model", "onnx"))) from error
        model = onnx.load(str(self.path))
        shown = [name for node in model.graph.node for name in node.output if name in names]
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in shown)
        session = _session(self.path, model.SerializeToString())
        return {name: (y, 0.0) for name, y in zip(shown, _run(session, self, inputs), strict=True)}


def opened(path: Path) -> OnnxFile:
    session = _session(path, str(path))
    return OnnxFile(
        path,
        _runtime()[1],
        session,
        tuple(_port(value) for value in session.get_inputs()),
        tuple(_port(value) for value in session.get_outputs()),
    )


def _runtime() -> tuple[Any, str]:
    try:
        return runner.onnx_runtime()
    except runner.Failure as failure:
        raise Lacking(str(missing_extra(f"running an .onnx file ({failure})", "onnx"))) from failure


def _session(path: Path, model: str | bytes) -> Any:
    ort, runtime = _runtime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own kinds share no base class
        reason = (str(error).strip().splitlines() or ["without a word"])[0]
        if "opset" in reason or "IR version" in reason:
            raise Lacking(f"{runtime} is too old for the file: {reason}") from error
        raise fail("E1001", f"{path} cannot be run: {runtime} does not accept it: {reason}") from error


def _port(value: Any) -> Port:
    kind = runner.ONNX_TYPES.get(value.type, "float32")
    shape = tuple(n if isinstance(n, int) and n > 0 else 1 for n in value.shape)
    return Port(value.name, shape, np.dtype(kind))


def _run(session: Any, model: OnnxFile, inputs: Sequence[Array]) -> list[Array]:
    feeds = {port.name: port.stored(x) for port, x in zip(model.inputs, inputs, strict=True)}
    try:
        return list(session.run(None, feeds))
    except Exception as error:
        raise fail("E1001", f"{model.path} cannot be run: {model.runtime} fails: {error}") from error
