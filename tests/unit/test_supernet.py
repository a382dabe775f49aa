"""Supernets: sites, the union, what is computed, what is cut out, files, mixtures; and what cannot share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import archlang
from archlang.errors import ArchError
from archlang.search.space import Space
from archlang.supernet.checkpoint import load
from archlang.supernet.cut import Cut
from archlang.supernet.decisions import largest, smallest
from archlang.supernet.net import SuperNet, build
from archlang.supernet.union import Union, Variant, union
from tests.unit.supernets import IMAGES, MOBILE, SEQUENCE, images, randomized, some, space_in, space_of

LARGE = ("digits", "mobilenet_small", "mnas_space", "ofa_mbv3", "darts")
SPACES = ["nasbench201", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]


@cache
def the_union(name: str) -> Union:
    return union(space_in(name))


@cache
def mobile(transformed: bool = False) -> SuperNet:
    return random_net(MOBILE, transformed)


def random_net(text: str, transformed: bool = False) -> SuperNet:
    net = randomized(build(space_of(text), kernel_transform=transformed)).eval()
    assert isinstance(net, SuperNet)
    return net


@contextmanager
def refused(code: str, message: str = "", line: int | None = None) -> Iterator[None]:
    with pytest.raises(ArchError) as caught:
        yield
    diagnostic = caught.value.diagnostics[0]
    assert (diagnostic.code, message in diagnostic.message) == (code, True), diagnostic
    assert line is None or (diagnostic.span is not None and diagnostic.span.line == line)


def compiled(cut: Cut) -> Callable[[Tensor], Tensor]:
    """The cut network as our own PyTorch backend makes it from its text and its weights."""
    module = archlang.loads(cut.text).to_torch(weights=cut.weights).eval()

    def run(x: Tensor) -> Tensor:
        with torch.no_grad():
            y: Tensor = module(x)
        return y

    return run


def run(net: SuperNet, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = net(x)
    assert isinstance(y, Tensor)
    return y


# ---- sites -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["mobilenet_v2", "darts:v1_cifar", "googlenet", "vit:ti", "shufflenet_v2:x1_0"])
def test_without_choices_a_site_is_called_as_the_node(spec: str) -> None:
    net = archlang.load(f"zoo:{spec}")
    graph = union(Space(net.value)).graph({})
    assert [node.name for node in graph.nodes] == [node.name for node in net.graph.nodes]


@pytest.mark.parametrize("name", SPACES)
def test_sites_change_nothing_but_names_and_the_union_has_every_form(name: str) -> None:
    found = the_union(name)
    for picks in some(found.space, 20):
        plain, sited = found.space.graph(picks), found.graph(picks)
        assert [(a.op, a.inputs, a.type) for a in plain.nodes] == [(b.op, b.inputs, b.type) for b in sited.nodes]
        assert len({node.name for node in sited.nodes}) == len(sited.nodes)
        for node in sited.nodes:
            assert Variant(node.op, sited.input_types(node)) in found.sites[node.name].variants


def test_a_union_has_no_form_that_no_candidate_takes() -> None:
    found = union(space_of(SEQUENCE))
    met: dict[str, set[Variant]] = {}
    for picks in found.space.candidates():
        graph = found.graph(picks)
        for node in graph.nodes:
            met.setdefault(node.name, set()).add(Variant(node.op, graph.input_types(node)))
    assert met == {name: set(site.variants) for name, site in found.sites.items()}


def test_the_names_of_sites() -> None:
    names = list(mobile().union.sites)
    assert {"stem", "head_conv1", "head_conv2", "layer1.2.expand_bn", "classifier"} <= set(names)
    assert {"layer2.1_mbconv.expand", "layer2.0_sepconv.depthwise", "layer2.0_conv.conv1"} <= set(names)
    assert "head_conv3" not in names  # of other widths it is one step


def test_alternatives_have_weights_of_their_own_and_values_share() -> None:
    found = union(
        space_of("net A:\n  input 3x8x8\n  {conv(8, 3), conv(8, 5)} -> conv(8, {3, 5}) -> gap -> linear(2)\n")
    )
    weights = {name: param.shape for name, param in found.params.items() if name.endswith("weight")}
    assert weights == {
        "conv1.weight": (8, 3, 3, 3),
        "conv2.weight": (8, 8, 5, 5),
        "conv3.weight": (8, 3, 5, 5),
        "linear1.weight": (2, 8),
    }


def test_a_mention_of_a_choice_has_sites_of_its_own() -> None:
    steps = "  input x 4x8x8\n  a = OP(x) + OP(x)\n  a -> OP -> gap\n"
    found = union(space_of(f"choice OP = {{conv(4, 3), conv(4, 1), skip}}\nnet A:\n{steps}"))
    assert sum(site.op.name == "conv" for site in found.sites.values()) == 6
    keys = list(found.contexts)
    left = found.graph({keys[0]: 0, keys[1]: 2, keys[2]: 2})
    both = found.graph({keys[0]: 0, keys[1]: 0, keys[2]: 2})
    names = [[node.name for node in graph.nodes if node.op.name == "conv"] for graph in (left, both)]
    assert names[0] == names[1][:1]
    assert len(names[1]) == 2


# ---- what is computed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transformed", [False, True])
@pytest.mark.parametrize("text", [MOBILE, SEQUENCE, IMAGES])
def test_a_cut_sub_network_computes_what_the_supernet_does(text: str, transformed: bool) -> None:
    net = mobile(transformed) if text == MOBILE else random_net(text, transformed)
    net._statistics.clear()
    space = net.space
    for picks in (net.largest(), net.smallest(), *some(space, 3)):
        x = images(space, dict(picks))
        net.select(picks)
        whole, cut = run(net, x), net.cut(picks)
        assert float(whole.std()) > 0.05
        torch.testing.assert_close(compiled(cut)(x), whole, atol=1e-5, rtol=1e-5)
        assert archlang.loads(cut.text).graph.digest == cut.graph.digest == space.graph(picks).digest


@pytest.mark.parametrize("transformed", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_the_spaces_that_ship_can_be_cut(name: str, transformed: bool) -> None:
    space = space_in(name)
    net = randomized(SuperNet(the_union(name), transformed, 0)).eval()
    assert isinstance(net, SuperNet)
    for picks in (net.largest(), net.smallest(), *some(space, 2)):
        x = images(space, dict(picks), 1)
        net.select(picks)
        whole, cut = run(net, x), net.cut(picks)
        scale = float(whole.abs().max())
        assert scale > 0
        assert float((compiled(cut)(x) - whole).abs().max()) <= 1e-5 * max(1.0, scale)
        assert archlang.loads(cut.text).graph.digest == space.graph(picks).digest


def test_the_parts_that_a_sub_network_takes() -> None:
    """By hand: the first channels, and the centre of the kernel with its transformation applied."""
    space = space_of("net A:\n  input 2x9x9\n  conv({4, 6}, {3, 5, 7}, bias=1) -> conv(3, 1, bias=1)\n")
    net = randomized(build(space, kernel_transform=True)).eval()
    assert isinstance(net, SuperNet)
    state = net.state_dict()
    width, kernel = (choice.key for choice in net.decisions)
    net.select({width: 0, kernel: 0})
    centre = state["conv1.weight"][:4, :, 1:6, 1:6].reshape(4, 2, 25) @ state["conv1.kernel_7to5"].T
    centre = centre.reshape(4, 2, 5, 5)[:, :, 1:4, 1:4].reshape(4, 2, 9) @ state["conv1.kernel_5to3"].T
    x = images(space, net.picks)
    y = F.conv2d(x, centre.reshape(4, 2, 3, 3), state["conv1.bias"][:4], padding=1)
    y = F.conv2d(y, state["conv2.weight"][:, :4], state["conv2.bias"])
    torch.testing.assert_close(run(net, x), y)


def test_attention_takes_the_first_heads() -> None:
    space = space_of("net A:\n  w = {2, 3}\n  input 5x4\n  linear(4 * w, bias=0) -> attention(w)\n")
    net = randomized(build(space)).eval()
    assert isinstance(net, SuperNet)
    (key,) = (choice.key for choice in net.decisions)
    net.select({key: 0})
    state, x = net.state_dict(), images(space, net.picks)
    tokens = x @ state["linear1.weight"][:8].T
    rows = [*range(8), *range(12, 20), *range(24, 32)]  # of q, k and v
    q, k, v = (tokens @ state["attention1.qkv.weight"][rows, :8].T + state["attention1.qkv.bias"][rows]).split(8, -1)
    heads = [slice(0, 4), slice(4, 8)]
    shares = [(q[..., head] @ k[..., head].transpose(1, 2) / 2).softmax(-1) for head in heads]
    found = torch.cat([share @ v[..., head] for share, head in zip(shares, heads, strict=True)], -1)
    expected = found @ state["attention1.proj.weight"][:8, :8].T + state["attention1.proj.bias"][:8]
    torch.testing.assert_close(run(net, x), expected)


def test_every_path_trains() -> None:
    net = build(space_of(MOBILE_OF_ONE))
    for picks in (net.largest(), net.smallest(), *some(net.space, 2)):
        net.select(picks)
        net.zero_grad()
        net(images(net.space, dict(picks), 4)).square().sum().backward()
        sites = {node.name for node, _ in net.union.graph(picks).modules()}
        for name, parameter in net.named_parameters():
            assert (parameter.grad is not None) == (name.rpartition(".")[0] in sites), name


MOBILE_OF_ONE = MOBILE.replace("each {3, 5}", "{3, 5}").replace("each {1, 2}", "{1, 2}").replace("{1, 3}", "{1, 2}")


def test_the_largest_and_the_smallest_are_those_of_all_candidates() -> None:
    space = space_of(MOBILE_OF_ONE.replace("{3, 5, 7}", "3").replace("{0, 0.25}", "0"))
    macs = [space.canonical(picks).sketch.amounts["macs"] for picks in space.candidates()]
    assert largest(space).sketch.amounts["macs"] == max(macs)
    assert smallest(space).sketch.amounts["macs"] == min(macs)


def test_what_decisions_are_about() -> None:
    kinds = {choice.label: choice.kind for choice in mobile().decisions}
    assert kinds["`r`"] == "resolution"
    assert kinds["`op` in row 2"] == "operator"
    assert kinds["`k` in row 1, repeat 3"] == "kernel"
    assert kinds["`e` in row 1, repeat 2"] == "expansion"
    assert kinds["`c` in row 1"] == "width"
    assert kinds["`n` in row 2"] == "depth"
    choices = {choice.kind for choice in SuperNet(union(space_of(CONNECTED)), False, 0).decisions}
    assert choices == {"connection", "operator"}


CELLS = """block nor_conv(c, k):
  relu -> conv(c, k) -> bn

choice EDGE(c) = {zero, skip, nor_conv(c, 1), nor_conv(c, 3), avgpool(3)}

cell searched(x; c):
  a = EDGE(x, c)
  EDGE(x, c) + EDGE(a, c)

net Cells:
  input 3x12x12
  conv(4, 3)
  searched(4) * 2
  maxpool(2, s=2) -> conv(8, 1)
  searched(8) * 2
  gap -> linear(5)
"""

CONNECTED = """choice OF = {[0, 1], [0, 2], [1, 2]}
choice OP = {conv(4, 3), maxpool(3), skip}

net Connected:
  input a 4x8x8
  b = conv(a, 4, 3)
  c = conv(b, 4, 1)
  of = OF
  d = OP([a, b, c][of[0]]) + OP([a, b, c][of[1]])
  d -> gap -> linear(3)
"""


def test_int8_from_a_cut(tmp_path: Path) -> None:
    net = mobile()
    picks = net.largest()
    net.select(picks)
    data = torch.rand(32, 3, *net.resolution, generator=torch.Generator().manual_seed(3))
    net.recalibrate([data])
    cut = net.cut(picks)
    path, weights = cut.save(tmp_path / "cut.arch")
    model = tmp_path / "cut.tflite"
    loaded = archlang.load(str(path))
    assert loaded.graph.digest == cut.graph.digest
    found = archlang.weights.load(weights)
    loaded.to_tflite(model, weights=found, quantize="int8", calibration=data.numpy())
    from archlang.device.infer import predict

    exact, rounded = run(net, data).numpy(), predict(model.read_bytes(), data.numpy()).reshape(32, -1)
    assert np.corrcoef(exact.ravel(), rounded.ravel())[0, 1] > 0.9


# ---- BatchNorm's statistics ------------------------------------------------------------------------------------------


def test_statistics_are_those_that_pytorch_takes() -> None:
    net = mobile()
    net._statistics.clear()
    picks, others = some(net.space, 2)
    net.select(others)
    x = images(net.space, others)
    before, shared = run(net, x), {name: value.clone() for name, value in net.state_dict().items()}
    net.select(picks)
    batches = [images(net.space, picks, 6) * (i + 1) for i in range(3)]
    module = archlang.loads(net.cut(picks).text).to_torch(weights=net.cut(picks).weights).train()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the plain mean over all batches
            layer.reset_running_stats()
    with torch.no_grad():
        for batch in batches:
            module(batch)
    net.recalibrate(batches)
    cut, expected = net.cut(picks), module.state_dict()
    statistics = [name for name in cut.weights if "running" in name]
    assert statistics
    for name in statistics:
        np.testing.assert_allclose(cut.weights[name], expected[name].numpy(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(compiled(cut)(batches[0]), run(net, batches[0]), atol=1e-5, rtol=1e-5)
    net.select(others)
    assert torch.equal(run(net, x), before)
    assert all(torch.equal(value, shared[name]) for name, value in net.state_dict().items())


def test_statistics_go_with_the_weights_and_can_be_shared() -> None:
    net = build(space_of(MOBILE_OF_ONE))
    net.select(net.largest())
    batch = 3 + images(net.space, net.picks, 8)
    net.eval().recalibrate([batch], shared=True)
    calibrated = run(net, batch)
    net.train()
    net.eval()
    torch.testing.assert_close(run(net, batch), calibrated)
    assert not torch.equal(net.state_dict()["stem_bn.running_mean"], torch.zeros(12))


# ---- which sub-network -----------------------------------------------------------------------------------------------


def test_a_selection_that_is_wrong_changes_nothing() -> None:
    net = mobile()
    net.select(net.smallest())
    before, largest = net.picks, dict(net.largest())
    missing = next(iter(largest))
    with refused("E1306", f"{missing} is missing"):
        net.select({key: index for key, index in largest.items() if key != missing})
    with refused("E1307", "has no decision 99:1"):
        net.select({**largest, "99:1": 0})
    with refused("E0501", "no alternative 7"):
        net.select({**largest, missing: 7})
    assert net.picks == before


def test_decisions_that_are_not_read_are_passed_over() -> None:
    net = mobile()
    net.select({**net.largest(), **net.smallest()})
    assert net.picks == net.space.canonical({**net.largest(), **net.smallest()})


# ---- files -----------------------------------------------------------------------------------------------------------


def test_a_supernet_in_a_file(tmp_path: Path) -> None:
    net, path = mobile(True), tmp_path / "net.safetensors"
    net.save(path)
    other = load(path, space_of(MOBILE)).eval()
    assert other.transformed
    for picks in some(net.space, 2):
        net.select(picks)
        other.select(picks)
        net._statistics.clear()
        assert torch.equal(run(net, images(net.space, picks)), run(other, images(net.space, picks)))


def test_files_that_are_no_supernets_of_the_space(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    mobile().save(path)
    with refused("E1308", "another space than `Mobile`"):
        load(path, space_of(MOBILE.replace("{8, 16}", "{8, 24}")))
    with refused("E1309", "does not say which space"):
        archlang.weights.save({"a": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
        load(tmp_path / "a.safetensors", space_of(MOBILE))
    path.write_bytes(path.read_bytes()[:-1000])
    with refused("E0607", "not a whole safetensors file"):
        load(path, space_of(MOBILE))
    with refused("E0605", "there is no file"):
        load(tmp_path / "none.safetensors", space_of(MOBILE))


# ---- mixtures --------------------------------------------------------------------------------------------------------


def one_hot(net: SuperNet, picks: dict[str, int]) -> dict[str, Tensor]:
    counts = {choice.key: len(choice.alternatives) for choice in net.decisions}
    return {key: F.one_hot(torch.tensor(picks.get(key, 0)), counts[key]).float() for key in net.mixable}


@pytest.mark.parametrize("text", [CONNECTED, MOBILE, CELLS])
def test_a_mixture_of_one_alternative_each_is_a_sub_network(text: str) -> None:
    net = mobile() if text == MOBILE else random_net(text)
    net._statistics.clear()
    net.select(net.largest())
    base = net.picks
    assert net.mixable
    for picks in some(net.space, 4):
        chosen = {**base, **{key: index for key, index in picks.items() if key in net.mixable}}
        net.select(chosen)
        x, expected = images(net.space, base), run(net, images(net.space, base))
        net.select(base)
        net.mixture(one_hot(net, chosen))
        torch.testing.assert_close(run(net, x), expected, atol=1e-5, rtol=1e-5)
    net.select(base)
    assert torch.equal(run(net, x), run(net, x))


def test_the_weights_of_a_mixture_and_their_gradients() -> None:
    """The output is linear in the weights of the last decision: by what each alternative gives alone."""
    space = space_of("net A:\n  input 4x6x6\n  conv(4, {1, 3}) -> {conv(4, 3), skip, zero}\n")
    net = randomized(build(space)).eval()
    assert isinstance(net, SuperNet)
    kernel, last = (choice.key for choice in net.decisions)
    x, alone = images(space, net.picks), []
    for index in range(3):
        net.select({kernel: 0, last: index})
        alone.append(run(net, x))
    weights = torch.tensor([0.5, 0.3, 0.2], requires_grad=True)
    net.mixture({last: weights})
    y = net(x)
    torch.testing.assert_close(y, 0.5 * alone[0] + 0.3 * alone[1] + 0.2 * alone[2])
    y.sum().backward()
    torch.testing.assert_close(weights.grad, torch.stack([value.sum() for value in alone]))
    net.mixture(None)
    assert torch.equal(run(net, x), alone[2])


def test_the_connections_of_darts_can_be_mixed() -> None:
    net = build(space_of(CONNECTED))
    assert len(net.mixable) == 3
    graph_nodes = len(net._mixed(frozenset(net.mixable)).graph.nodes)
    assert graph_nodes < 40  # an input that two alternatives share is computed once


def test_what_cannot_be_mixed() -> None:
    net = mobile()
    keys = {choice.label: choice.key for choice in net.decisions}
    net.select(net.largest())
    for label in ("`r`", "`c` in row 1", "`n` in row 1"):
        with refused("E1310", f"the alternatives of {label} cannot be mixed"):
            net.mixture({keys[label]: torch.ones(2)})
    with refused("E1307"):
        net.mixture({"99:1": torch.ones(2)})
    assert not {"`r`", "`c` in row 1", "`n` in row 1"} & {c.label for c in net.decisions if c.key in net.mixable}


# ---- what cannot share -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "lines", "right"),
    [
        ("E1302", "conv({8, 16}, 3, groups=4)", "conv({8, 16}, 3, groups={1, 1})"),
        ("E1302", "conv(8, 3, groups={1, 2})", "{conv(8, 3, groups=1), conv(8, 3, groups=2)}"),
        ("E1303", "conv(8, {2, 3}, pad=same)", "conv(8, {3, 5}, pad=same)"),
        (
            "E1304",
            "maxpool(2, s={1, 2}, pad=0) -> flatten -> linear(3)",
            "maxpool(2, s={1, 2}, pad=0) -> gap -> linear(3)",
        ),
        (
            "E1305",
            'conv(4, 2, s={1, 2}, pad=0) -> rearrange("b c h w -> b (h w) c") -> pos_embed -> gap',
            'conv(4, {3, 5}) -> rearrange("b c h w -> b (h w) c") -> pos_embed -> gap',
        ),
    ],
)
def test_what_cannot_share_is_told_with_its_line(code: str, lines: str, right: str) -> None:
    with refused(code, line=3):
        union(space_of(f"net A:\n  input 8x8x8\n  {lines}\n"))
    assert union(space_of(f"net A:\n  input 8x8x8\n  {right}\n")).sites


def test_groups_that_follow_the_width_share() -> None:
    space = space_of("net A:\n  w = {8, 16}\n  input 3x8x8\n  conv(w, 1) -> conv(w, 3, groups=w // 4) -> gap\n")
    assert union(space).params["conv2.weight"].shape == (16, 4, 3, 3)


def test_a_space_that_is_too_large_to_be_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archlang.supernet.union.MAX_WORK", 1000)
    with refused("E1301", "too large"):
        union(space_of(MOBILE))


def test_random_spaces_agree() -> None:
    """Picks that differ in everything, one after the other: what one leaves behind does not reach the next."""
    net, rng = mobile(), Random(5)
    net._statistics.clear()
    all_picks = [dict(net.space.sample(rng)) for _ in range(6)]
    first = []
    for picks in all_picks:
        net.select(picks)
        first.append(run(net, images(net.space, picks)))
    for picks, expected in reversed(list(zip(all_picks, first, strict=True))):
        net.select(picks)
        assert torch.equal(run(net, images(net.space, picks)), expected)
