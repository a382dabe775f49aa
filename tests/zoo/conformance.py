"""Is a net of the zoo exactly the reference network? Parameters, MACs, and numbers with the reference's weights.

The reference's arrays are copied over layer by layer in the order of evaluation: two layers belong together that have
the same arrays (by name and shape) and are the n-th of their kind on both sides. So what must agree is the order of
equal layers, not the names. Weights and BatchNorm statistics are random: fresh ones hide bugs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import archlang
from archlang.ir.graph import Graph, Node
from archlang.passes import inference

Arrays = dict[str, Any]
Kind = tuple[tuple[str, tuple[int, ...]], ...]
"""What two layers must share to belong together: their arrays' names and shapes, sorted."""
Adapt = Callable[[dict[str, Arrays]], dict[str, Arrays]]
"""Takes the reference's layers (name -> its arrays) in their order, gives them as our layers hold them."""

SCALE = 1e-4
"""The largest difference, as a share of the output's largest absolute value."""


@dataclass(frozen=True)
class Case:
    """A net beside its reference.

    spec: of ours. build: makes the reference. overrides: of our net where numbers are compared, such as a small image
    to be quick. adapt: for layers that the two hold differently or evaluate in another order. output: picks the tensor
    out of what the reference returns. macs: compared unless switched off. gain: a factor of all matrices and kernels;
    hundreds of residual blocks overflow with the usual one.
    """

    spec: str
    build: Callable[[], nn.Module]
    overrides: Mapping[str, Any] | None = None
    adapt: Adapt | None = None
    output: Callable[[Any], Tensor] | None = None
    macs: bool = True
    gain: float = 1.0

    def __str__(self) -> str:
        return self.spec


def assert_same_cost(case: Case) -> None:
    """Trainable parameters and MACs (convolutions and linear layers, batch 1) are equal, at the net's own size."""
    net = archlang.load(case.spec)
    total = net.cost().total
    with torch.device("meta"):
        reference = case.build().eval().to("meta")
    assert total.params == trainable(reference), f"{case}: parameters"
    if case.macs:
        assert total.macs == macs(reference, *_inputs(net.graph, "meta")), f"{case}: MACs"


def assert_same_numbers(case: Case, auxiliary: bool = False) -> None:
    """With the reference's weights the outputs agree, on random images. auxiliary: those of training mode, but with
    the running statistics and without dropout, so that they are comparable."""
    net = archlang.load(case.spec, **dict(case.overrides or {}))
    reference = randomised(case.build(), seed=1, gain=case.gain)
    inputs = _inputs(net.graph, "cpu")
    layers = in_order(reference, *inputs)
    weights = matched(net.graph, case.adapt(layers) if case.adapt else layers)
    ours = net.to_torch(weights).eval()
    if auxiliary:
        _with_auxiliary(reference)
        _with_auxiliary(ours)
    with torch.no_grad():
        expected = _all((case.output or _first)(reference(*inputs)))
        found = _all(ours(*inputs))
    for wanted, seen in zip(expected, found, strict=auxiliary):
        _assert_near(case, wanted, seen)


def _with_auxiliary(module: nn.Module) -> None:
    """Training mode, but for the layers that then compute something else."""
    module.train()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.Dropout):
            layer.eval()


def _assert_near(case: Case, expected: Tensor, found: Tensor) -> None:
    assert expected.shape == found.shape
    scale = float(expected.abs().max())
    assert np.isfinite(scale), f"{case}: the reference's output is not finite"
    assert scale > 1e-6, f"{case}: the reference's output is nothing"
    assert float((expected - found).abs().max()) < SCALE * scale, f"{case}: numbers differ"


def trainable(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def macs(module: nn.Module, *inputs: Tensor) -> int:
    """MACs of convolutions and linear layers in one pass, read from the shapes that their calls see."""
    counted = 0

    def count(layer: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
        nonlocal counted
        weight: Any = layer.weight
        if isinstance(layer, nn.ConvTranspose2d):  # every input value meets its channel's whole kernel
            counted += args[0].numel() * weight[0].numel()
            return
        fan = weight.numel() // y.shape[1] if weight.ndim == 4 else weight.shape[1]
        counted += y.numel() * fan

    kinds = nn.Conv2d | nn.Linear | nn.ConvTranspose2d
    handles = [layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, kinds)]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return counted


def randomised(module: nn.Module, seed: int, gain: float = 1.0) -> nn.Module:
    """The module in evaluation mode, its arrays (BatchNorm's weights and statistics too) random.

    gain: a factor of all matrices and kernels.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point():
                continue
            noise = torch.rand(value.shape, generator=generator) * 0.6 - 0.3
            if name.endswith("running_var"):
                value.copy_(1.0 + noise)
            elif value.ndim <= 1:
                value.add_(noise)
            else:
                fan_in = value.numel() / value.shape[0]
                value.copy_(torch.randn(value.shape, generator=generator) * gain * (2.0 / fan_in) ** 0.5)
    return module.eval()


def in_order(module: nn.Module, *inputs: Tensor) -> dict[str, Arrays]:
    """The layers that hold arrays of their own, in the order in which a pass first calls them; then the uncalled."""
    names = {layer: name for name, layer in module.named_modules()}
    called: dict[str, Arrays] = {}

    def note(layer: nn.Module, args: object) -> None:
        called.setdefault(names[layer], _own(layer))

    handles = [layer.register_forward_pre_hook(note) for layer in module.modules() if _own(layer)]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {**called, **{name: _own(layer) for layer, name in names.items() if _own(layer) and name not in called}}


def _own(layer: nn.Module) -> Arrays:
    direct = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    return {name: value.detach().numpy() for name, value in direct if value.is_floating_point() and not value.is_meta}


def matched(graph: Graph, layers: Mapping[str, Arrays]) -> dict[str, Any]:
    """Our weights out of the reference's: the n-th layer of each kind there is the n-th here."""
    waiting: dict[Kind, list[Arrays]] = defaultdict(list)
    for arrays in layers.values():
        waiting[_kind(arrays)].append(arrays)
    weights: dict[str, Any] = {}
    wanted = dict(_layers(graph))
    _same_kinds(wanted, waiting)
    for name, shapes in wanted.items():
        arrays = waiting[tuple(sorted(shapes.items()))].pop(0)
        weights.update({f"{name}.{local}": value for local, value in arrays.items()})
    return weights


def _same_kinds(wanted: Mapping[str, dict[str, tuple[int, ...]]], waiting: Mapping[Kind, list[Arrays]]) -> None:
    ours = Counter(tuple(sorted(shapes.items())) for shapes in wanted.values())
    theirs = Counter({kind: len(found) for kind, found in waiting.items()})
    missing, extra = ours - theirs, theirs - ours
    told = f"only here: {_told(missing)}; only in the reference: {_told(extra)}"
    assert not missing, told
    assert not extra, told


def _told(kinds: Mapping[Kind, int]) -> str:
    return "; ".join(f"{count} x {dict(kind)}" for kind, count in kinds.items()) or "nothing"


def _kind(arrays: Arrays) -> Kind:
    return tuple(sorted((name, tuple(value.shape)) for name, value in arrays.items()))


def _layers(graph: Graph) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Our layers in the order of evaluation; those of auxiliary heads, which a pass does not call, at the end."""
    run = {node.name for node in inference(graph).nodes}
    nodes: list[tuple[Node, tuple[Any, ...]]] = list(graph.modules())
    for node, types in sorted(nodes, key=lambda item: item[0].name not in run):
        params = node.op.params(*types)
        if params:
            yield node.name, {local: param.shape for local, param in params.items()}


def _inputs(graph: Graph, device: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = [node.type.shape for node in graph.nodes if node.op.name == "input"]
    if device == "meta":
        return tuple(torch.empty(1, *shape, device="meta") for shape in shapes)
    return tuple(torch.randn(2, *shape, generator=generator) for shape in shapes)


def _all(output: Any) -> list[Tensor]:
    """The tensors of an output, in order."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [tensor for part in parts for tensor in _all(part)]


def _first(output: Any) -> Tensor:
    while not isinstance(output, Tensor):
        output = next(iter(output.values())) if isinstance(output, dict) else output[0]
    return output
