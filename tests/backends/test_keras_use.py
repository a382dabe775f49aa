"""What people do with the Keras model: train it, freeze parts, carry weights over, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray

import archlang
from archlang import weights as weights_module
from archlang.backends.keras import build_model, generate, state_dict
from archlang.errors import ArchError
from archlang.ir import Graph
from archlang.net import loads
from archlang.transfer import Transfer
from tests.backends import reference
from tests.backends.drawing import networks
from tests.backends.keras_run import outputs
from tests.backends.test_pytorch_use import BRANCHES, MOBILE, NETS, RESIDUAL, TRANSFORMER, zeros
from tests.backends.tflite_run import channels_last
from tests.zoo.libraries import torchvision

pytest.importorskip("keras")

pytestmark = pytest.mark.filterwarnings("ignore")

every_net = pytest.mark.parametrize("text", NETS.values(), ids=NETS)


def images(count: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(count).normal(size=(count, 3, 16, 16)).astype(np.float32)


def arrays(model: Any) -> dict[str, NDArray[Any]]:
    return {name: np.array(array) for name, array in state_dict(model).items()}


def assert_equal(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# ---- weights both ways -----------------------------------------------------------------------------------------------


@every_net
def test_weights_come_back_as_they_were_given(text: str) -> None:
    net = loads(text)
    weights = weights_module.random(net.graph)
    assert_equal(arrays(net.to_keras(weights, auxiliary=True)), weights)


@given(networks())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_weights_of_random_networks_come_back(graph: Graph) -> None:
    weights = weights_module.random(graph)
    model = build_model(generate(graph), weights)
    if weights:
        assert_equal(arrays(model), weights)


@pytest.mark.parametrize("text", [MOBILE, TRANSFORMER, "net A:\n  input 3x16x16\n  dwconv(3, mult=2)\n"])
def test_the_files_own_functions_do_the_same(text: str, tmp_path: Path) -> None:
    """Save and load with nothing but the file, numpy and safetensors."""
    from safetensors.numpy import load_file, save_file

    graph = loads(text).graph
    source = generate(graph)
    scope: dict[str, Any] = {"__name__": "kept"}
    exec(source.text, scope)
    first = scope[source.build]()
    save_file(scope["state_dict"](first), tmp_path / "m.safetensors")
    second = scope[source.build]()
    scope["load_weights"](second, load_file(tmp_path / "m.safetensors"))
    assert_equal(arrays(second), arrays(first))
    assert_equal(weights_module.checked(graph, weights_module.load(tmp_path / "m.safetensors")), arrays(first))


def test_a_model_that_was_trained_in_keras_becomes_a_tflite_file(tmp_path: Path) -> None:
    """Weights and running statistics travel: TFLite gives what the trained model gives."""
    import keras

    from tests.backends.tflite_run import run_tflite

    net = loads(MOBILE)
    model = net.to_keras()
    model.compile(keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = arrays(model)
    model.fit(channels_last(images(32)), np.arange(32) % 5, epochs=2, verbose=0)
    trained = arrays(model)
    moved = [name for name, array in trained.items() if not np.array_equal(array, before[name])]
    assert set(moved) == set(trained)
    net.to_tflite(tmp_path / "m.tflite", trained)
    (found,) = run_tflite((tmp_path / "m.tflite").read_bytes(), images(1)).values()
    np.testing.assert_allclose(found, outputs(model, [images(1)])[0], rtol=1e-4, atol=1e-5)


def test_torchs_weights_serve_in_keras_and_keras_weights_in_torch() -> None:
    import torch

    net = loads(RESIDUAL)
    module = net.to_torch(weights_module.random(net.graph)).eval()
    model = net.to_keras(module.state_dict())
    with torch.no_grad():
        wanted = module(torch.from_numpy(images())).numpy()
    np.testing.assert_allclose(outputs(model, [images()])[0], wanted, rtol=1e-4, atol=1e-5)
    back = net.to_torch(state_dict(model))
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in module.state_dict().items())


def test_weights_that_do_not_fit_are_refused() -> None:
    weights = weights_module.random(loads(RESIDUAL).graph)
    with pytest.raises(ArchError, match="head"):
        loads(RESIDUAL, classes=10).to_keras(weights)


def test_heads_that_are_not_there_need_no_weights() -> None:
    net = loads(BRANCHES)
    weights = weights_module.random(net.graph)
    plain, whole = net.to_keras(weights), net.to_keras(weights, auxiliary=True)
    assert arrays(plain).keys() < arrays(whole).keys()
    assert len(plain.outputs) == 1
    assert len(whole.outputs) == 3
    wanted = reference.run(net.graph, weights, images())
    for found in (outputs(plain, [images()])[0], outputs(whole, [images()])[0]):
        np.testing.assert_allclose(found, wanted[net.graph.outputs[0].name], rtol=1e-4, atol=1e-5)


# ---- transfer learning -----------------------------------------------------------------------------------------------


def test_what_fits_is_kept_and_the_rest_is_named() -> None:
    """As `to_torch` has it, to the last field."""
    net = loads(RESIDUAL)
    weights = weights_module.random(net.graph)
    model = net.to_keras(weights, classes=10)
    assert isinstance(model.transfer, Transfer)
    assert model.transfer == net.to_torch(weights, classes=10).transfer
    assert model.transfer.fresh == ("head.weight", "head.bias")
    found = arrays(model)
    for name in model.transfer.kept:
        np.testing.assert_array_equal(found[name], weights[name])
    assert found["head.weight"].shape == (10, 16)
    assert found["head.weight"].std() == pytest.approx(0.01, rel=0.4)


def test_torchvisions_weights_for_other_classes() -> None:
    theirs = torchvision().resnet18().state_dict()
    model = archlang.load("zoo:resnet:r18").to_keras(theirs, classes=7, freeze=("conv1", "bn1", "layer1"))
    assert model.transfer.fresh == ("fc.weight", "fc.bias")
    np.testing.assert_array_equal(arrays(model)["layer4.1.conv2.weight"], theirs["layer4.1.conv2.weight"].numpy())
    frozen = {layer.name for layer in model.layers if layer.weights and not layer.trainable}
    assert {name.split("-")[0] for name in frozen} == {"conv1", "bn1", "layer1"}


def test_a_frozen_stage_stays_as_it_is() -> None:
    """Training leaves its weights and statistics, and changes all others."""
    import keras

    net = loads(RESIDUAL)
    model = net.to_keras(weights_module.random(net.graph), freeze="early")
    before = arrays(model)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(channels_last(images(8)), np.ones((8, 5), np.float32), epochs=2, verbose=0)
    after = arrays(model)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {name for name in before if not name.startswith("early.")}


@pytest.mark.parametrize("part", ["erly", "", "ear", "early.nothing"])
def test_a_part_that_is_not_there_cannot_be_frozen(part: str) -> None:
    with pytest.raises(ArchError) as caught:
        loads(RESIDUAL).to_keras(freeze=[part])
    assert caught.value.diagnostics[0].code == "E0613"


# ---- initialisation --------------------------------------------------------------------------------------------------


@every_net
@pytest.mark.parametrize("init", ["paper", "he", "truncated-normal", "keras"])
def test_every_initialisation_gives_a_network(text: str, init: str) -> None:
    net = loads(text)
    source = net.to_keras_source(init, zero_init=True)
    assert ("def initialise" in source) == (init != "keras")
    assert np.isfinite(outputs(net.to_keras(init=init, zero_init=True), [images()])[0]).all()


@pytest.mark.parametrize(("target", "init"), [("keras", "torch"), ("pytorch", "keras")])
def test_a_frameworks_own_initialisation_is_its_own(target: str, init: str) -> None:
    with pytest.raises(ArchError, match=f"`{init}`") as caught:
        loads(RESIDUAL).compile(target, init=init)
    assert caught.value.diagnostics[0].code == "E0804"


def test_fresh_weights_are_spread_as_the_graphs_are() -> None:
    """He's numbers for convolutions and a small deviation for linear layers, as `weights.initial` draws them."""
    graph = archlang.load("zoo:mobilenet_v2").graph
    found, wanted = arrays(build_model(generate(graph))), weights_module.initial(graph)
    for name, array in wanted.items():
        if array.size > 500:
            np.testing.assert_allclose(found[name].std(), array.std(), rtol=0.15, atol=1e-7, err_msg=name)


def test_transformers_begin_as_truncated_normal_numbers() -> None:
    """Keras cuts at two deviations on TensorFlow and JAX, which leaves 0.88 of the deviation; on PyTorch nowhere."""
    for name, array in arrays(archlang.load("zoo:vit:ti").to_keras()).items():
        if array.ndim > 1 and array.size > 1000:
            assert 0.85 * 0.02 < array.std() < 1.05 * 0.02, name
            assert abs(array.mean()) < 0.001, name


def test_keras_own_initialisation() -> None:
    found = arrays(loads("net A:\n  input image 3x16x16\n  conv(64, 3) as c\n").to_keras(init="keras"))
    assert abs(found["c.weight"]).max() <= (6 / (9 * (3 + 64))) ** 0.5
    assert found["c.weight"].std() == pytest.approx((2 / (9 * (3 + 64))) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    "spec",
    [
        *("zoo:resnet:r18", "zoo:mobilenet_v2"),
        *(pytest.param(spec, marks=pytest.mark.slow) for spec in ("zoo:efficientnet:b0", "zoo:regnet:x400mf")),
    ],
)
def test_residual_branches_may_begin_as_nothing(spec: str) -> None:
    """The norms that the generated PyTorch sets to 0."""
    net = archlang.load(spec)
    found = arrays(net.to_keras(zero_init=True))
    nothing = {name for name, array in found.items() if array.ndim == 1 and name.endswith("weight") and not array.any()}
    assert nothing == zeros(net.to_torch(zero_init=True))
    assert nothing
