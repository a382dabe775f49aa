"""A network that was loaded: its Graph, its cost, and what can be made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archlang import spec as specs
from archlang.backend import Artifact, Request, compile_graph
from archlang.cost import NetCost, cost
from archlang.ir.graph import Graph
from archlang.lower import Lowered, Module, NetValue, lower
from archlang.lower.values import Value

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from archlang.transfer import Transfer
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

        weights: a state dict or name -> array in PyTorch's layout. The other arguments are those of `backend.Request`.
        """
        if weights is not None:
            from archlang.weights import checked

            arrays = {name: _array(value) for name, value in weights.items()}
            weights = checked(self.graph, arrays)
        return compile_graph(self.graph, target, Request(weights=weights, origin=self.spec, **request))

    def with_parameters(self, **overrides: Any) -> Net:
        """The same network with other values of its parameters."""
        return replace(self, args={**self.args, **specs.values(self.module, overrides)})

    def to_torch_source(self, init: str = "paper", zero_init: bool = False) -> str:
        """PyTorch source that needs nothing but torch. init, zero_init: see `backend.Request`."""
        return self.compile("pytorch", init=init, zero_init=zero_init).data.decode()

    def to_torch(
        self,
        weights: Mapping[str, Any] | None = None,
        *,
        freeze: str | Sequence[str] = (),
        init: str = "paper",
        zero_init: bool = False,
        **overrides: Any,
    ) -> torch.nn.Module:
        """The module that the generated source defines, with `weights` loaded where given.

        overrides: the net's parameters, for transfer learning: `to_torch(weights, classes=10)` keeps the arrays that
        fit the changed network; the module's attribute `transfer` says which start anew. Without overrides all must
        fit. freeze: stages or modules that training leaves as they are, their BatchNorms in evaluation mode.
        """
        if overrides:
            return self.with_parameters(**overrides)._torch(weights, freeze, init, zero_init, partly=True)
        return self._torch(weights, freeze, init, zero_init, partly=False)

    def _torch(
        self, weights: Mapping[str, Any] | None, freeze: str | Sequence[str], init: str, zero_init: bool, partly: bool
    ) -> torch.nn.Module:
        from archlang.backends.pytorch import build_module, prepared

        module = build_module(self.to_torch_source(init, zero_init), self.name)
        return prepared(module, *self._kept(weights, partly), [freeze] if isinstance(freeze, str) else freeze)

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
    ) -> None:
        """Write an ONNX model, whole or not at all; weights of more than 2 GB go to `PATH.data` beside it.

        opset: 17 and later. batch: the size of the batch dimension; None: any. keep_bn: BatchNorms stay nodes.
        """
        file = Path(path)
        self.compile("onnx", weights, seed=seed, opset=opset, batch=batch, keep_bn=keep_bn, file=file.name).write(file)

    def to_tflite(
        self,
        path: str | Path,
        weights: Mapping[str, Any] | None = None,
        quantize: str = "none",
        calibration: NDArray[np.float32] | None = None,
        seed: int = 0,
    ) -> None:
        """Write a TFLite model, whole or not at all. calibration: inputs (N, C, H, W), for `quantize="int8"`."""
        artifact = self.compile("tflite", weights, quantize=quantize, calibration=_array(calibration), seed=seed)
        artifact.write(Path(path))


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
