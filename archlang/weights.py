"""Weights: a map from a parameter's name to its array, in PyTorch's layout, the same for every backend.

The names are those of the state dict of the generated PyTorch: node name, dot, local name.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archlang import archives
from archlang.errors import fail, missing_extra, nearest
from archlang.files import write_whole
from archlang.ir.graph import Graph, Node
from archlang.ops.base import Param
from archlang.ops.norm import BatchNorm

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float32]
Weights = Mapping[str, Array]


def specs(graph: Graph) -> dict[str, Param]:
    """Every parameter and buffer of the network by its full name."""
    found: dict[str, Param] = {}
    for node, types in graph.modules():
        for local, param in node.op.params(*types).items():
            found[f"{node.name}.{local}"] = param
    return found


MAX_BYTES = 2**31
"""Of all weights together: no .tflite file holds more, and no .onnx file without a second one beside it."""


def initial(graph: Graph, seed: int = 0, most: int = MAX_BYTES) -> dict[str, Array]:
    """Fresh weights as training starts from them. Each array depends on the seed and its own name alone. Raises
    ArchError where they take more than `most` bytes."""
    params = possible(graph, most)
    if is_transformer(graph):
        params = transformer(params)
    return fresh(params, seed)


def fresh(params: Mapping[str, Param], seed: int) -> dict[str, Array]:
    """Arrays as these parameters say that they start."""
    return {name: _initial(param, _generator(seed, name)) for name, param in params.items()}


def is_transformer(graph: Graph) -> bool:
    """Whether the network normalises its layers and not its batches, as ViT (arXiv:2010.11929) and ConvNeXt
    (arXiv:2201.03545) do; their weights start as normal numbers of deviation 0.02."""
    ops = {node.op.name for node, _ in graph.modules()}
    return "layernorm" in ops and "bn" not in ops


def transformer(params: Mapping[str, Param]) -> dict[str, Param]:
    """The parameters of a transformer as these start."""
    return {name: replace(param, init=_TRANSFORMERS.get(param.init, param.init)) for name, param in params.items()}


_TRANSFORMERS = {"he": "normal", "linear": "normal"}
"""How a transformer's parameters start that start otherwise in a convolutional network."""


def possible(graph: Graph, most: int = MAX_BYTES) -> dict[str, Param]:
    """The parameters by name. Raises ArchError where their arrays take more than `most` bytes."""
    found = specs(graph)
    size = 4 * sum(prod(param.shape) for param in found.values())
    if size > most:
        raise fail("E0813", f"the weights of {graph.name} take {size:,} bytes, and there is room for {most:,}")
    return found


def random(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Weights for comparing backends: biases and BatchNorm statistics are random too, since fresh ones hide bugs."""
    weights = {}
    for name, param in possible(graph).items():
        generator = _generator(seed, name)
        value = _initial(param, generator)
        if param.init in ("zeros", "ones"):
            value = value + generator.uniform(-0.3, 0.3, param.shape).astype(np.float32)
        weights[name] = value
    return weights


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _initial(param: Param, generator: np.random.Generator) -> Array:
    if param.init == "signs":
        return generator.choice(np.array([-1.0, 1.0], np.float32), param.shape)
    spread = deviation(param)
    if spread is None:
        return constant(param)
    values: Array = generator.standard_normal(param.shape, np.float32)
    values *= np.float32(spread)
    return values


def deviation(param: Param) -> float | None:
    """The standard deviation of a parameter that starts as normal numbers; None for one that starts as a constant."""
    if param.init == "he":
        fan_out = param.shape[0] * int(np.prod(param.shape[2:]))
        return float((2.0 / fan_out) ** 0.5)
    return {"linear": 0.01, "normal": 0.02}.get(param.init)


def constant(param: Param) -> Array:
    """The array of a parameter that starts as a constant."""
    value = {"zeros": 0.0, "ones": 1.0}.get(param.init)
    return np.full(param.shape, float(param.init) if value is None else value, np.float32)


def folded(node: Node, weights: Weights) -> tuple[Array, Array | None]:
    """Weight and bias of a convolution or linear layer with the BatchNorm that was fused into it multiplied in.

    w' = w * g, b' = (b - mean) * g + beta, with g = gamma / sqrt(var + eps), per output channel. g and b' are computed
    in float64; the product of the weights, which are many, in float32.
    """
    gain, bias = folded_gain(node, weights)
    weight = weights[f"{node.name}.weight"]
    return weight if gain is None else gained(weight, gain), bias


def folded_gain(node: Node, weights: Weights) -> tuple[Array | None, Array | None]:
    """g and b' of `folded`; g is None where no BatchNorm was fused into the node."""
    bias = weights.get(f"{node.name}.bias")
    norm = next((part for part in node.fused if isinstance(part.op, BatchNorm)), None)
    if norm is None:
        return None, bias
    gain, offset = batch_norm_affine(norm, weights)
    shift = offset if bias is None else offset + bias * gain
    return gain.astype(np.float32), shift.astype(np.float32)


def gained(weight: Array, gain: Array) -> Array:
    """The weight of each output channel times its gain."""
    return weight * gain.reshape(-1, *[1] * (weight.ndim - 1))


def batch_norm_affine(node: Node, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A BatchNorm in evaluation mode as x * gain + offset, per channel, in float64."""
    assert isinstance(node.op, BatchNorm)
    get = {
        local: weights[f"{node.name}.{local}"].astype(np.float64)
        for local in ("weight", "bias", "running_mean", "running_var")
    }
    gain = get["weight"] / np.sqrt(get["running_var"] + node.op.eps)
    return gain, get["bias"] - get["running_mean"] * gain


def checked(graph: Graph, weights: Mapping[str, Any], source: str = "the weights") -> dict[str, Array]:
    """The network's own arrays out of `weights`, as float32. Raises ArchError where one is missing, has the wrong
    shape, is not of real numbers, is not finite, or belongs to no module. PyTorch's `num_batches_tracked` is passed
    over, and so are the ranges of quantization-aware training."""
    wanted = specs(graph)
    found: dict[str, Array] = {}
    for name, param in wanted.items():
        if name not in weights:
            raise fail(
                "E0601", f"{source}: there is no `{name}`, which {graph.name} needs", help=nearest(name, weights)
            )
        given = np.asarray(weights[name])
        if given.dtype.kind != "f":
            raise fail("E0614", f"{source}: `{name}` holds {given.dtype} numbers", help=_REAL)
        value = np.asarray(given, np.float32)
        if value.shape != param.shape:
            shapes = f"has shape {_shape(value.shape)}, but {graph.name} needs {_shape(param.shape)}"
            raise fail("E0602", f"{source}: `{name}` {shapes}", help="are these the weights of another variant?")
        if not np.isfinite(value).all():
            raise fail("E0603", f"{source}: `{name}` holds values that are not finite")
        found[name] = value
    extra = [name for name in weights if name not in wanted and not name.endswith(_NO_WEIGHTS)]
    if extra:
        raise fail("E0604", f"{source}: {graph.name} has no `{extra[0]}`", help=nearest(extra[0], wanted))
    return found


_NO_WEIGHTS = ("num_batches_tracked", "_range.low", "_range.high")
"""Ends of the names of arrays that a state dict holds beside the weights."""


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"


def load(path: Path) -> dict[str, Any]:
    """The arrays of a .safetensors file, or of a .pt / .pth state dict (read with `weights_only`)."""
    if not path.exists():
        raise fail("E0605", f"there is no file {path}")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    if path.suffix in (".pt", ".pth"):
        return _load_torch(path)
    raise fail("E0606", f"{path}: weights are read from .safetensors, .pt or .pth files")


def _load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = dict(load_file(path))
        # Where ml_dtypes was imported, numpy has a bfloat16, which few operations know.
        return {
            name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array for name, array in found.items()
        }
    except (TypeError, AttributeError):  # numpy has no floats of eight bits, nor bfloat16: half a float32's bits
        return _load_bfloat16(path)
    except (SafetensorError, ValueError, KeyError, OSError, MemoryError) as error:
        raise fail("E0607", f"{path} is not a whole safetensors file: {error}") from error


_SAFETENSORS_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1"}


def _load_bfloat16(path: Path) -> dict[str, Any]:
    """The arrays of a .safetensors file, bfloat16 as float32."""
    import safetensors

    found = {}
    deserialize: Any = safetensors.deserialize
    for name, entry in deserialize(path.read_bytes()):
        kind = _SAFETENSORS_KINDS.get(entry["dtype"])
        if kind is None:
            raise fail("E0614", f"{path}: `{name}` holds {entry['dtype']} numbers", help=_REAL)
        values = np.frombuffer(entry["data"], kind)
        if entry["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        found[name] = values.reshape(entry["shape"])
    return found


_REAL = "weights are real numbers: float64, float32, float16 or bfloat16"


def _load_torch(path: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise missing_extra("reading a .pt file", "torch") from error
    archives.check_size(path, "E0607")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, among them pickle's own
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise fail("E0607", f"{path} is not a state dict that can be read safely: {first}") from error
    if not isinstance(state, Mapping):
        raise fail("E0607", f"{path} holds a {type(state).__name__}, not a state dict")
    tensors = {str(name): value for name, value in _state(state).items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise fail("E0607", f"{path} holds no arrays, but {', '.join(map(str, list(state)[:5])) or 'nothing'}")
    return {name: _from_torch(path, name, value) for name, value in tensors.items()}


def _from_torch(path: Path, name: str, tensor: torch.Tensor) -> Array:
    """The tensor as an array, unless it is sparse, has no data, or is a small one that says it is huge."""
    size = 4 * tensor.numel()
    if size > archives.limit():
        raise fail("E0607", f"{path}: `{name}` takes {size:,} bytes, and there is room for {archives.limit():,}")
    try:
        return np.asarray(tensor.float().numpy())
    except (RuntimeError, TypeError) as error:
        raise fail("E0607", f"{path}: `{name}` is no plain array of numbers") from error


_WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema", "net", "params")
"""Under these names training scripts keep the state dict beside the optimiser's."""


def _state(document: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The state dict in what a training script has saved."""
    found = next((document[key] for key in _WRAPPERS if isinstance(document.get(key), Mapping)), document)
    return found if found is document else _state(found)


def summary(weights: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each array: `name, shape, size`, of its finite values `mean, deviation, smallest, largest`, and how many are
    `not_finite`."""
    return [{"name": name, **_summary(np.asarray(value, np.float64))} for name, value in weights.items()]


def _summary(value: NDArray[np.float64]) -> dict[str, Any]:
    finite = value[np.isfinite(value)]
    seen = finite if finite.size else np.zeros(1)
    return {
        "shape": list(value.shape),
        "size": value.size,
        "mean": float(seen.mean()),
        "deviation": float(seen.std()),
        "smallest": float(seen.min()),
        "largest": float(seen.max()),
        "not_finite": value.size - finite.size,
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arrays that are not equal: `name`, `change` (`added`, `removed`, `shape`, `values`), and where values changed
    the largest `difference`, also `relative` to the largest value before; both None elsewhere."""
    rows = []
    for name in dict.fromkeys([*before, *after]):
        if name not in before or name not in after:
            rows.append(_difference(name, "added" if name in after else "removed"))
        elif before[name].shape != after[name].shape:
            rows.append(_difference(name, "shape"))
        elif not np.array_equal(before[name], after[name]):
            largest = float(np.abs(before[name] - after[name]).max())
            scale = max(float(np.abs(before[name]).max()), 1e-30)
            rows.append(_difference(name, "values", largest, largest / scale))
    return rows


def _difference(name: str, change: str, largest: float | None = None, relative: float | None = None) -> dict[str, Any]:
    return {"name": name, "change": change, "difference": largest, "relative": relative}


def save(weights: Mapping[str, Any], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    from safetensors.numpy import save as to_bytes

    arrays = {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}
    write_whole(path, to_bytes(arrays, metadata))
