"""A network that was loaded: its Graph, its cost, and what can be made of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archlang import spec as specs
from archlang.backend import INTEGER_MODES, Artifact, Request, compile_graph
from archlang.cost import NetCost, cost
from archlang.ir.graph import Graph
from archlang.lower import Lowered, Module, NetValue, lower
from archlang.lower.values import Value
from archlang.quantize.options import Options, Samples

if TYPE_CHECKING:
    import keras
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from archlang.transfer import Transfer
    from archlang.verify import Verdict
    from archlang.weights import Weights


@dataclass(frozen=True)
class Net:
    """A network of a file. spec: as the user wrote it. args: overrides of the net's parameters."""

    spec: str
    value: NetValue
    module: Module
    args: Mapping[str, Value]

    @property
    def name(self) -> str:
        return self.value.name

    @property
    def text(self) -> str:
        """The source of the file."""
        return self.module.source.text

    @cached_property
    def lowered(self) -> Lowered:
        return lower(self.value, self.args)

    @property
    def graph(self) -> Graph:
        """The network as typed SSA; of a space, the network of the first alternatives."""
        return self.lowered.graph

    def cost(self) -> NetCost:
        """Parameters, MACs, FLOPs and memory, for batch 1."""
        return cost(self.graph)

    def _repr_html_(self) -> str:
        """For notebooks: the cost, and under it the drawing, repeats folded, where the extra `draw` is installed."""
        from archlang.draw.notebook import summary

        return summary(self.graph, self.value.label or self.name, self.cost(), len(self.lowered.trace))

    def compile(self, target: str, weights: Mapping[str, Any] | None = None, **request: Any) -> Artifact:
        """The network as a file of the backend `target`. Raises ArchError where weights do not fit the network.

        weights: a state dict or name -> array in PyTorch's layout; ranges that quantization-aware training left in it
        are used. The other arguments are those of `backend.Request`.
        """
        if weights is not None:
            from archlang.weights import checked

            arrays = {name: _array(value) for name, value in weights.items()}
            weights = checked(self.graph, arrays)
            if request.get("quantize") in INTEGER_MODES:
                request["quantization"] = _with_learnt(request.get("quantization") or Options(), arrays)
        return compile_graph(self.graph, target, Request(weights=weights, origin=self.spec, **request))

    def with_parameters(self, **overrides: Any) -> Net:
        """The same network with other values of its parameters."""
        return replace(self, args={**self.args, **specs.values(self.module, overrides)})

    def to_torch_source(self, init: str = "paper", zero_init: bool = False, qat: str | None = None) -> str:
        """PyTorch source that needs nothing but torch. init, zero_init, qat: see `backend.Request`."""
        return self.compile("pytorch", init=init, zero_init=zero_init, qat=qat).data.decode()

    def to_torch(
        self,
        weights: Mapping[str, Any] | None = None,
        *,
        freeze: str | Sequence[str] = (),
        init: str = "paper",
        zero_init: bool = False,
        qat: str | None = None,
        **overrides: Any,
    ) -> torch.nn.Module:
        """The module that the generated source defines, with `weights` loaded where given.

        overrides: the net's parameters, for transfer learning: `to_torch(weights, classes=10)` keeps the arrays that
        fit the changed network; the module's attribute `transfer` says which start anew. Without overrides all must
        fit. freeze: stages or modules that training leaves as they are, their BatchNorms in evaluation mode.
        qat: `moving-average` or `learned`: a module that rounds in training as int8 will.
        """
        net = self.with_parameters(**overrides) if overrides else self
        return net._torch(weights, freeze, net.to_torch_source(init, zero_init, qat), partly=bool(overrides))

    def _torch(
        self, weights: Mapping[str, Any] | None, freeze: str | Sequence[str], source: str, partly: bool
    ) -> torch.nn.Module:
        from archlang.backends.pytorch import build_module, prepared

        module = build_module(source, self.name)
        return prepared(module, *self._kept(weights, partly), [freeze] if isinstance(freeze, str) else freeze)

    def to_keras_source(self, init: str = "paper", zero_init: bool = False) -> str:
        """Keras source that needs nothing but keras and numpy. init, zero_init: see `backend.Request`."""
        return self.compile("keras", init=init, zero_init=zero_init).data.decode()

    def to_keras(
        self,
        weights: Mapping[str, Any] | None = None,
        *,
        freeze: str | Sequence[str] = (),
        init: str = "paper",
        zero_init: bool = False,
        auxiliary: bool = False,
        **overrides: Any,
    ) -> keras.Model:
        """The model that the generated source builds on the Keras backend in use, with `weights` loaded where given.

        auxiliary: whether auxiliary heads are there, as outputs after the others; `weights` may have arrays of heads
        that are not. The other arguments are those of `to_torch`, and the model's attribute `transfer` is the same.
        """
        from archlang.backends.keras import build_model, generate, prepared

        net = self.with_parameters(**overrides) if overrides else self
        arrays, transfer = net._kept(weights, partly=bool(overrides))
        has_heads = auxiliary and any(output.aux for output in net.graph.outputs)
        source = generate(net.graph, net.spec, init, zero_init)
        model = build_model(source, auxiliary=True) if has_heads else build_model(source)
        return prepared(model, arrays, transfer, [freeze] if isinstance(freeze, str) else freeze)

    def _kept(self, weights: Mapping[str, Any] | None, partly: bool) -> tuple[Weights, Transfer | None]:
        """The arrays for the module, and what became of those that were given."""
        from archlang.transfer import fitting
        from archlang.weights import checked

        if weights is None:
            return {}, None
        arrays = {name: _array(value) for name, value in weights.items()}
        return fitting(self.graph, arrays) if partly else (checked(self.graph, arrays), None)

    def to_onnx(
        self,
        path: str | Path,
        weights: Mapping[str, Any] | None = None,
        seed: int = 0,
        opset: int | None = None,
        batch: int | None = None,
        keep_bn: bool = False,
        verify: bool = True,
    ) -> Verdict | None:
        """Write an ONNX model, whole or not at all; weights of more than 2 GB go to `PATH.data` beside it.

        opset: 17 and later. batch: the size of the batch dimension; None: any. keep_bn: BatchNorms stay nodes.
        verify: see `to_tflite`.
        """
        file = Path(path)
        options = {"seed": seed, "opset": opset, "batch": batch, "keep_bn": keep_bn, "file": file.name}
        return self._written("onnx", file, weights, verify, options)

    def to_tflite(
        self,
        path: str | Path,
        weights: Mapping[str, Any] | None = None,
        quantize: str = "none",
        calibration: Samples | NDArray[np.float32] | None = None,
        seed: int = 0,
        verify: bool = True,
        io: str | None = None,
        quantization: Options | None = None,
        runtime: str | None = None,
    ) -> Verdict | None:
        """Write a TFLite model, whole or not at all.

        calibration: inputs (N, C, H, W), or inputs by name, for `int8` and `int16x8`; quantization: what becomes of
        them. io: `float`, so that quantized models take and give floats; their own integers if None. runtime: where it
        has to run, `litert`, `tflite-2.14` or `tflite-micro`; LiteRT if None.
        verify: whether to run the file and compare it with the network before it gets its name; what that found is
        returned, and what the user should know of it is a warning. Raises ArchError where the file is wrong.
        """
        options = {"quantize": quantize, "calibration": _array(calibration), "seed": seed, "io": io}
        options["runtime"] = runtime
        options["quantization"] = quantization or Options()
        return self._written("tflite", Path(path), weights, verify, options)

    def _written(
        self, target: str, path: Path, weights: Mapping[str, Any] | None, verify: bool, options: dict[str, Any]
    ) -> Verdict | None:
        from archlang import verify as checks

        artifact = self.compile(target, weights, **options)
        asked = {name: options[name] for name in ("quantize", "calibration") if name in options}
        check = checks.verification(self.graph, artifact, f".{target}", **asked) if verify else None
        artifact.write(path, check)
        for warning in artifact.warnings:
            warnings.warn(warning, stacklevel=3)
        if check is None:
            return None
        if check.verdict.warning:
            warnings.warn(check.verdict.warning, stacklevel=3)
        return check.verdict


def _with_learnt(options: Options, arrays: Mapping[str, Any]) -> Options:
    """With the ranges of a state dict, where they are not given."""
    from archlang.quantize.qat import learnt

    return options if options.ranges else replace(options, ranges=learnt(arrays))


def _array(value: Any) -> Any:
    """A torch tensor as an array; anything else as it is."""
    detach = getattr(value, "detach", None)
    return detach().cpu().float().numpy() if detach is not None else value


def load(spec: str, net: str | None = None, **overrides: Any) -> Net:
    """The network that SPEC means: `FILE[:NAME]` or `zoo:FAMILY[:NAME]`.

    net: an expression that yields the net, instead of NAME: `compound(phi=1.5)`. overrides: the net's parameters.
    Raises ArchError where the file, the name or a parameter is wrong.
    """
    found = specs.split(spec)
    module = specs.module_of(found)
    return Net(spec, specs.net_of(module, found.name, net), module, specs.values(module, overrides))


def loads(text: str, net: str | None = None, name: str = "<text>", **overrides: Any) -> Net:
    """The network of a text, as `load` does for a file."""
    module = specs.module_of_text(text, name)
    return Net(name, specs.net_of(module, "", net), module, specs.values(module, overrides))
