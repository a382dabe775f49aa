"""What people do with the generated module: compile, export, script and train it, freeze parts, carry weights over."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archlang
from archlang import catalogue
from archlang import weights as weights_module
from archlang.errors import ArchError
from archlang.net import loads
from archlang.transfer import Transfer
from tests.zoo.libraries import torchvision

RESIDUAL = """
net Residual(classes=5):
  default conv(norm=bn, act=relu)
  input image 3x16x16
  conv(8, 3) as stem
  stage early:
    residual: conv(8, 3) -> conv(8, 3, act=none)
    conv(16, 3, s=2)
  stage late:
    residual(drop=0.2): conv(16, 3) -> conv(16, 1, act=none)
  gap -> dropout(0.1) -> linear(classes) as head
"""

MOBILE = """
from std.mobile import mbconv

net Mobile:
  default conv(norm=bn, act=swish)
  input image 3x16x16
  conv(8, 3)
  mbconv(8, e=1, se=0.25)
  mbconv(16, s=2, se=0.25) * 2
  gap -> linear(5)
"""

BRANCHES = """
block head(n):
  gap -> linear(n)

net Branches:
  default conv(norm=bn, act=relu)
  input image 3x16x16
  conv(8, 3)
  concat:
    conv(4, 1)
    conv(4, 1) -> conv(4, 3)
    maxpool(3, s=1, pad=same)
  aux first: head(5)
  conv(8, 3, s=2)
  aux second: head(5)
  conv(8, 3)
  head(5)
"""

TRANSFORMER = """
from std.transformer import encoder

net Transformer:
  input image 3x16x16
  conv(12, 4, s=4, pad=0)
  rearrange("b c h w -> b (h w) c")
  class_token -> pos_embed
  encoder(12, 3) * 2
  layernorm -> take(0) -> linear(5)
"""

NETS = {"residual": RESIDUAL, "mobile": MOBILE, "branches": BRANCHES, "transformer": TRANSFORMER}

every_net = pytest.mark.parametrize("text", NETS.values(), ids=NETS)


def images(count: int = 2) -> Tensor:
    return torch.from_numpy(np.random.default_rng(count).normal(size=(count, 3, 16, 16)).astype(np.float32))


def trained(text: str) -> nn.Module:
    """The module with random weights and statistics, in evaluation mode."""
    net = loads(text)
    return net.to_torch(weights_module.random(net.graph)).eval()


# ---- what PyTorch's tools make of it ---------------------------------------------------------------------------------


@every_net
@pytest.mark.parametrize(
    "training", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["evaluation", "training"]
)
def test_compiles_in_one_graph(text: str, training: bool) -> None:
    module, x = trained(text).train(training), images()
    torch.compiler.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.manual_seed(1)
    wanted = copy.deepcopy(module)(x)
    torch.manual_seed(1)
    torch.testing.assert_close(compiled(x), wanted, rtol=1e-4, atol=1e-4)


@every_net
def test_exports_for_any_batch(text: str) -> None:
    module = trained(text)
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(module, (images(2),), dynamic_shapes=({0: batch},)).module()
    for count in (2, 7):
        torch.testing.assert_close(exported(images(count)), module(images(count)))


@every_net
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_can_be_scripted(text: str) -> None:
    """In training too, where auxiliary heads make a tuple of the result; the loss has gradients."""
    module = trained(text)
    scripted = torch.jit.script(module)
    torch.testing.assert_close(scripted(images()), module(images()))
    found = scripted.train()(images())
    results = found if isinstance(found, tuple) else (found,)
    assert len(results) == (3 if text is BRANCHES else 1)
    torch.autograd.backward(torch.cat(results).sum())
    assert all(parameter.grad is not None for parameter in scripted.parameters())


@every_net
def test_channels_last(text: str) -> None:
    module, x = trained(text), images()
    wanted = module(x)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = module(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.detach().abs().max()))


@every_net
def test_trains_in_bfloat16(text: str) -> None:
    module = trained(text)
    wanted = module(images())
    with torch.autocast("cpu", torch.bfloat16):
        found = module(images())
        results = module.train()(images(4))
    assert found.dtype == torch.bfloat16
    assert (found.float() - wanted).abs().max() < 0.1 * wanted.abs().max()
    total = sum(result.float().square().sum() for result in (results if isinstance(results, tuple) else (results,)))
    assert isinstance(total, Tensor)
    torch.autograd.backward(total)
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


@every_net
def test_can_be_copied_and_kept(text: str, tmp_path: Path) -> None:
    """A state dict saved and read again gives the same network."""
    module = trained(text)
    torch.save(module.state_dict(), tmp_path / "m.pt")
    other = loads(text).to_torch(torch.load(tmp_path / "m.pt", weights_only=True)).eval()
    assert torch.equal(other(images()), module(images()))
    assert torch.equal(copy.deepcopy(module)(images()), module(images()))


# ---- the same for networks that ship ---------------------------------------------------------------------------------


def one_of(family: str) -> archlang.Net:
    """The family's cheapest net."""
    entries = [entry for entry in catalogue.nets() if entry.family == family]
    return min(entries, key=lambda entry: entry.net.cost().total.macs).net


def samples(net: archlang.Net, count: int = 2) -> tuple[Tensor, ...]:
    torch.manual_seed(count)
    return tuple(torch.randn(count, *net.graph.nodes[i].type.shape) for i in net.graph.inputs)


def assert_same(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


FAMILIES = sorted({entry.family for entry in catalogue.nets()})


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_exports(family: str) -> None:
    """With random weights and statistics; for any batch."""
    net = one_of(family)
    module = net.to_torch(weights_module.random(net.graph)).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    with torch.no_grad():
        exported = torch.export.export(module, samples(net), dynamic_shapes=[{0: batch} for _ in net.graph.inputs])
        assert_same(exported.module()(*samples(net, 3)), module(*samples(net, 3)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"fractalnet"}))
def test_every_family_can_be_scripted(family: str) -> None:
    """All but FractalNet, of which a test of its own says why."""
    net = one_of(family)
    module = net.to_torch(weights_module.random(net.graph)).eval()
    with torch.no_grad():
        assert_same(torch.jit.script(module)(*samples(net)), module(*samples(net)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "step",
    [
        "avgpool(3, s=2, pad=(0, 1, 1, 0))",
        "avgpool(3, pad=(0, 1, 1, 0))",
        "avgpool((3, 2), s=(2, 1), pad=(0, 1, 1, 0), ceil=1)",
        "flatten -> rbf(5)",
    ],
)
def test_functions_and_classes_of_the_file_can_be_scripted(step: str) -> None:
    module = loads(f"net N:\n  input image 3x16x16\n  {step}\n").to_torch().eval()
    assert_same(torch.jit.script(module)(images()), module(images()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_with_auxiliary_heads_can_be_scripted() -> None:
    module = archlang.load("zoo:googlenet:bn").to_torch().eval()
    assert torch.jit.script(module).training is False


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_paths_that_drop_can_be_scripted_but_for_columns() -> None:
    """The op is `mean(single_column=...)`: which column a pass takes, a hook tells all joins before it, and
    torch.jit.script knows no hook that walks over modules. Without it drop-path is scripted as all else is."""
    module = joins("drop_path=0.3")
    scripted = torch.jit.script(module.eval())
    assert_same(scripted(images()), module(images()))
    assert torch.isfinite(scripted.train()(images())).all()
    with pytest.raises(torch.jit.frontend.NotSupportedError, match=r"network\.modules\(\)"):
        torch.jit.script(joins("drop_path=0.3, single_column=0.5"))


def joins(options: str) -> nn.Module:
    return loads(
        f"net Joins:\n  input image 3x16x16\n  mean({options}):\n    conv(8, 3)\n    conv(8, 3)\n  gap -> linear(5)\n"
    ).to_torch()


def test_columns_compile_in_one_graph_in_training_too() -> None:
    module = joins("drop_path=0.3, single_column=0.5").train()
    torch.compiler.reset()
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    seen = {round(float(compiled(images())[0, 0]), 5) for _ in range(12)}
    assert 1 < len(seen) <= 3  # one path, the other, or both


def test_all_joins_of_a_pass_take_the_same_column() -> None:
    module = loads("""
net Columns:
  input x 4x1x1
  mean(single_column=1.0):
    conv(4, 1, bias=false) as a
    conv(4, 1, bias=false) as b
    conv(4, 1, bias=false) as c
  output _ as one
  mean(single_column=1.0):
    conv(4, 1, bias=false) as d
    conv(4, 1, bias=false) as e
    conv(4, 1, bias=false) as f
  output _ as two
""").to_torch()
    with torch.no_grad():
        for name, factor in zip("abcdef", (1, 2, 3, 1, 2, 3), strict=True):
            module.get_parameter(f"{name}.weight").copy_(factor * torch.eye(4)[:, :, None, None])
    seen = set()
    for _ in range(20):
        one, two = module.train()(torch.ones(2, 4, 1, 1))
        assert torch.allclose(two, one * one)
        seen.add(float(one.detach().flatten()[0]))
    assert seen == {1.0, 2.0, 3.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        *("zoo:mobilenet_v3:small", "zoo:googlenet:bn", "zoo:darts:v1_cifar", "zoo:nasnet:cifar", "zoo:vit:ti"),
        *(
            "zoo:resnet:r18",
            "zoo:efficientnet:b0",
            "zoo:shufflenet_v2:x0_5",
            "zoo:fractalnet:c3",
            "zoo:ssdlite:mobilenet_v2",
        ),
    ],
)
def test_networks_that_ship_compile_in_one_graph(spec: str) -> None:
    net = archlang.load(spec)
    module = net.to_torch().eval()
    (x,) = samples(net, 1)
    torch.compiler.reset()
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    assert_same(compiled(x), module(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", ["resnet", "mobilenet_v3", "efficientnet", "convnext", "shufflenet_v2", "nasnet", "vit"]
)
def test_networks_that_ship_in_channels_last_and_bfloat16(family: str) -> None:
    net = one_of(family)
    module = net.to_torch().eval()
    (x,) = samples(net)
    with torch.no_grad():
        wanted = module(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = module(x)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert_same(module(x.to(memory_format=torch.channels_last)), wanted)
    assert half.dtype == torch.bfloat16
    assert (half.float() - wanted).abs().max() < 0.1 * wanted.abs().max()  # 8 bits of mantissa, many layers deep


# ---- weights carried over --------------------------------------------------------------------------------------------


def test_what_fits_is_kept_and_the_rest_is_named() -> None:
    net = loads(RESIDUAL)
    weights = weights_module.random(net.graph)
    module = net.to_torch(weights, classes=10)
    transfer = module.transfer
    assert isinstance(transfer, Transfer)
    assert transfer.reshaped == {"head.weight": ((5, 16), (10, 16)), "head.bias": ((5,), (10,))}
    assert transfer.fresh == ("head.weight", "head.bias")
    assert set(transfer.kept) == weights.keys() - set(transfer.fresh)
    assert (transfer.missing, transfer.unused) == ((), ())
    assert "head.weight: 5x16 was trained, 10x16 is needed" in str(transfer)
    state = module.state_dict()
    assert all(np.array_equal(state[name], weights[name]) for name in transfer.kept)
    assert module(images()).shape == (2, 10)


def test_a_deeper_network_says_what_is_missing_and_unused() -> None:
    net = loads("net Deep(depth=2, classes=5):\n  input 3x16x16\n  conv(4, 3) * depth\n  gap -> linear(classes)\n")
    weights = {**weights_module.random(net.graph), "other.weight": np.zeros(3), "bn.num_batches_tracked": np.array(3)}
    transfer = net.to_torch(weights, depth=3).transfer
    assert isinstance(transfer, Transfer)
    assert transfer.missing == ("conv3.weight", "conv3.bias")
    assert transfer.unused == ("other.weight",)


def test_torchvisions_weights_for_other_classes() -> None:
    theirs = torchvision().resnet18()
    module = archlang.load("zoo:resnet:r18").to_torch(theirs.state_dict(), classes=7, freeze=("conv1", "bn1", "layer1"))
    assert isinstance(module.transfer, Transfer)
    assert module.transfer.fresh == ("fc.weight", "fc.bias")
    assert torch.equal(module.state_dict()["layer4.1.conv2.weight"], theirs.state_dict()["layer4.1.conv2.weight"])
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"conv1", "bn1", "layer1"}


def test_without_overrides_every_array_must_fit() -> None:
    weights = weights_module.random(loads(RESIDUAL).graph)
    with pytest.raises(ArchError, match="head"):
        loads(RESIDUAL, classes=10).to_torch(weights)


@pytest.mark.parametrize(
    ("weights", "code"),
    [({}, "E0601"), ({"a": np.zeros(3)}, "E0601"), ({"head.bias": np.full(10, np.nan, np.float32)}, "E0603")],
)
def test_weights_that_cannot_be_carried_over(weights: dict[str, np.ndarray], code: str) -> None:
    with pytest.raises(ArchError) as caught:
        loads(RESIDUAL).to_torch(weights, classes=10)
    assert caught.value.diagnostics[0].code == code


# ---- frozen parts ----------------------------------------------------------------------------------------------------


def test_a_frozen_stage_stays_as_it_is() -> None:
    """Training leaves its weights and statistics, and changes all others."""
    net = loads(RESIDUAL)
    module = net.to_torch(weights_module.random(net.graph), freeze="early").train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        torch.autograd.backward(module(images(8)).square().sum())
        optimizer.step()
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if not name.startswith("early.")}
    norms = [part for part in module.get_submodule("early").modules() if isinstance(part, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert module.training


def test_a_frozen_module_can_be_copied_pickled_compiled_and_scripted() -> None:
    module = loads(RESIDUAL).to_torch(freeze=["stem", "stem_bn"]).train()
    stem, x = module.get_submodule("stem_bn"), images(2)[:, :1].expand(2, 8, 16, 16)
    assert torch.equal(pickle.loads(pickle.dumps(stem)).train()(x), copy.deepcopy(stem)(x))
    torch.compiler.reset()
    for name in ("late", "dropout1"):  # no stochastic depth
        module.get_submodule(name).eval()
    compiled = torch.compile(copy.deepcopy(module), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images(4)), module(images(4)))


@pytest.mark.parametrize("part", ["erly", "", "ear", "early.nothing"])
def test_a_part_that_is_not_there_cannot_be_frozen(part: str) -> None:
    with pytest.raises(ArchError) as caught:
        loads(RESIDUAL).to_torch(freeze=[part])
    assert caught.value.diagnostics[0].code == "E0613"


# ---- initialisation --------------------------------------------------------------------------------------------------


def deviations(module: nn.Module, kind: type[nn.Module]) -> list[float]:
    """Each weight's deviation times the root of half its fan out, which is 1 where He's numbers are drawn."""
    found = [part.weight for part in module.modules() if isinstance(part, kind)]
    assert all(isinstance(weight, Tensor) for weight in found)
    return [float(w.detach().std() * (w.shape[0] * w[0, 0].numel() / 2) ** 0.5) for w in found if isinstance(w, Tensor)]


def test_convolutional_networks_begin_as_he_et_al() -> None:
    torch.manual_seed(0)
    for init in ("paper", "he"):
        assert deviations(loads(RESIDUAL).to_torch(init=init), nn.Conv2d) == pytest.approx([1.0] * 6, rel=0.2)


def test_transformers_begin_as_truncated_normal_numbers() -> None:
    torch.manual_seed(0)
    module = archlang.load("zoo:vit:ti").to_torch()
    arrays = {name: parameter for name, parameter in module.named_parameters() if parameter.ndim > 1}
    for name, parameter in arrays.items():
        assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.15), name
    fresh = weights_module.initial(loads(TRANSFORMER).graph)
    assert all(array.std() == pytest.approx(0.02, rel=0.5) for array in fresh.values() if array.size > 100)


@every_net
@pytest.mark.parametrize("init", ["paper", "he", "truncated-normal", "torch"])
def test_every_initialisation_gives_a_network(text: str, init: str) -> None:
    net = loads(text)
    source = net.to_torch_source(init, zero_init=True)
    assert ("def initialise" in source) == (init != "torch")
    assert torch.isfinite(net.to_torch(init=init, zero_init=True).eval()(images())).all()


def test_pytorchs_own_initialisation() -> None:
    text = "net A:\n  input image 3x16x16\n  conv(8, 3) as c\n"
    torch.manual_seed(3)
    wanted = nn.Conv2d(3, 8, 3)
    torch.manual_seed(3)
    assert torch.equal(loads(text).to_torch(init="torch").get_parameter("c.weight"), wanted.weight)


def test_residual_branches_may_begin_as_nothing() -> None:
    """As in torchvision's `zero_init_residual`."""
    theirs = torchvision().resnet50(zero_init_residual=True)
    ours = archlang.load("zoo:resnet:r50").to_torch(zero_init=True)
    assert zeros(ours) == zeros(theirs)
    assert not zeros(archlang.load("zoo:resnet:r18").to_torch())
    assert zeros(archlang.load("zoo:resnet:r18").to_torch(zero_init=True)) == zeros(
        torchvision().resnet18(zero_init_residual=True)
    )


def zeros(module: nn.Module) -> set[str]:
    """The norms' factors that are 0."""
    return {name for name, p in module.named_parameters() if p.ndim == 1 and name.endswith("weight") and not p.any()}


def test_blocks_without_a_shortcut_do_not_begin_as_nothing() -> None:
    module = archlang.load("zoo:mobilenet_v2").to_torch(zero_init=True).eval()
    assert len(zeros(module)) == 10
    assert module(torch.randn(1, 3, 64, 64)).std() > 0
