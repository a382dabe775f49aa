"""The readable file of a whole search space: beside the supernet itself and what is cut out of it, beside PyTorch's own
layers, and as text."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from archlang.backends import pytorch
from archlang.backends.pytorch.supernet import generate_supernet
from archlang.backends.pytorch.supernet.settings import Learner, Unsettled, patterns
from archlang.errors import ArchError
from archlang.lower import default_net
from archlang.search.space import Space, space_of
from archlang.spec import module_of, module_of_text, split
from archlang.supernet.net import SuperNet, build
from tests.backends.test_generated import CHECKS, silent, unread
from tests.golden import case as golden
from tests.golden.case import Case

CASES = golden.cases("supernet")

SPACES = Path(__file__).parents[2] / "specs" / "spaces"


def space_in(text: str) -> Space:
    found = space_of(default_net(module_of_text(text, "small.arch")), {})
    assert isinstance(found, Space)
    return found


def shipped(name: str) -> Space:
    found = space_of(default_net(module_of(split(str(SPACES / f"{name}.arch")))), {})
    assert isinstance(found, Space)
    return found


class Generated:
    """A space, its supernet with random weights and statistics, and the file's network with the same."""

    def __init__(self, space: Space, text: str | None = None) -> None:
        self.space = space
        self.source = generate_supernet(space, "small.arch") if text is None else None
        self.text = text or (self.source.text if self.source else "")
        self.scope: dict[str, Any] = {"__name__": "generated"}
        exec(compile(self.text, "generated.py", "exec", dont_inherit=True), self.scope)
        classes = [v for v in self.scope.values() if isinstance(v, type) and issubclass(v, nn.Module)]
        self.network: Any = classes[-1]()
        self.supernet: SuperNet = build(space)
        randomise(self.supernet)
        self.network.load_state_dict(self.supernet.state_dict())
        self.supernet.eval()
        self.network.eval()


def randomise(net: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, array in net.state_dict().items():
        if name.endswith("running_mean"):
            array.normal_(0, 0.3, generator=generator)
        elif name.endswith("running_var"):
            array.uniform_(0.5, 2, generator=generator)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.path.stem)
def generated(request: pytest.FixtureRequest) -> Generated:
    return Generated(space_in(request.param.text))


def inputs(space: Space, picks: dict[str, int]) -> torch.Tensor:
    graph = space.graph(picks)
    return torch.randn(2, *graph.nodes[graph.inputs[0]].type.shape, generator=torch.Generator().manual_seed(1))


def check_candidate(found: Generated, picks: dict[str, int]) -> None:
    """The file's network, the supernet's path, and the network that is cut out of it compute the same."""
    found.supernet.select(picks)
    found.network.select(picks)
    x = inputs(found.space, picks)
    cut = found.supernet.cut(picks)
    own = pytorch.generate(cut.graph)
    alone = pytorch.build_module(own.text, own.class_name).eval()
    alone.load_state_dict({name: torch.from_numpy(array) for name, array in cut.weights.items()}, strict=False)
    with torch.no_grad():
        y = found.network(x)
        torch.testing.assert_close(y, found.supernet(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(y, alone(x), rtol=1e-5, atol=1e-5)
    assert tuple(found.network.resolution) == tuple(x.shape[2:]) == tuple(found.supernet.resolution)


def some_picks(found: Generated, count: int) -> list[dict[str, int]]:
    rng = Random(7)
    ends = [dict(found.supernet.largest()), dict(found.supernet.smallest())]
    return [*ends, *(dict(found.space.sample(rng)) for _ in range(count))]


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_every_path_computes_what_the_supernet_and_the_cut_network_compute(generated: Generated) -> None:
    for picks in some_picks(generated, 12):
        check_candidate(generated, picks)


def test_the_state_dict_is_the_supernets(generated: Generated) -> None:
    own = {name: tuple(array.shape) for name, array in generated.network.state_dict().items()}
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    theirs = {name: tuple(array.shape) for name, array in generated.supernet.state_dict().items()}
    assert {name: shape for name, shape in own.items() if name not in counters} == theirs


def test_a_training_step_changes_what_is_in_use_alone(generated: Generated) -> None:
    """The active sub-network gets gradients; BatchNorm counts its batch."""
    smallest = dict(generated.supernet.smallest())
    network = Generated(generated.space, generated.text).network
    network.select(smallest)
    network.train()
    before = {name: array.clone() for name, array in network.state_dict().items()}
    network(inputs(generated.space, smallest)).sum().backward()
    used = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    cut = generated.supernet.cut(smallest)
    assert len(used) == len([name for name in cut.weights if "running" not in name])
    touched = {name for name, array in network.state_dict().items() if not torch.equal(array, before[name])}
    assert {_module(name) for name in touched} <= {_module(name) for name in used}


def _module(name: str) -> str:
    return name.rpartition(".")[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "mobilenet_small", "mnas_space", "ofa_mbv3", "nasbench201", "darts"])
def test_the_spaces_that_ship(name: str, tmp_path: Path) -> None:
    found = Generated(shipped(name))
    for picks in some_picks(found, 6):
        check_candidate(found, picks)
    path = tmp_path / f"{name}.py"
    path.write_text(found.text)
    for check in CHECKS.values():
        silent(*check, str(path))


# ---- elastic layers beside PyTorch's functions -----------------------------------------------------------------------

LAYERS = """\
net Layers(classes=4):
  default conv(norm=bn, bias=1)
  input 3x9x9
  conv({4, 6}, {3, 5}) as first
  dwconv({3, 5, 7}, bias=1) as depthwise
  conv(5, 1) as last
  flatten -> linear({6, 8}) as hidden
  linear(classes) as classifier
"""


@pytest.fixture(scope="module")
def layers() -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "generated"}
    exec(generate_supernet(space_in(LAYERS)).text, scope)
    return scope


@pytest.mark.parametrize("kernel", [5, 3])
@pytest.mark.parametrize("channels", [6, 4])
@pytest.mark.parametrize("width", [3, 2])
def test_a_convolution_uses_the_first_channels_and_the_centre(
    layers: dict[str, Any], kernel: int, channels: int, width: int
) -> None:
    conv = layers["ElasticConv2d"](3, 6, 5, padding=2)
    x = torch.randn(2, width, 9, 9)
    cut = slice((5 - kernel) // 2, (5 + kernel) // 2 + (5 + kernel) % 2)
    weight = conv.weight[:channels, :width, cut, cut]
    assert weight.shape[2:] == (kernel, kernel)
    wanted = F.conv2d(x, weight, conv.bias[:channels], padding=kernel // 2)
    torch.testing.assert_close(conv(x, channels, kernel=kernel), wanted)


@pytest.mark.parametrize("kernel", [7, 5, 3])
@pytest.mark.parametrize("width", [6, 4])
def test_a_depthwise_convolution_follows_its_input(layers: dict[str, Any], kernel: int, width: int) -> None:
    conv = layers["ElasticDepthwiseConv2d"](6, 6, 7, padding=3, groups=6)
    x = torch.randn(2, width, 9, 9)
    cut = slice((7 - kernel) // 2, 7 - (7 - kernel) // 2)
    wanted = F.conv2d(x, conv.weight[:width, :, cut, cut], conv.bias[:width], padding=kernel // 2, groups=width)
    torch.testing.assert_close(conv(x, kernel=kernel), wanted)


def test_a_linear_layer_takes_and_makes_the_first_features(layers: dict[str, Any]) -> None:
    linear = layers["ElasticLinear"](8, 8)
    x = torch.randn(2, 6)
    torch.testing.assert_close(linear(x, 4), F.linear(x, linear.weight[:4, :6], linear.bias[:4]))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_of_a_part_is_batch_norm_of_the_parts_channels(
    layers: dict[str, Any], momentum: float | None
) -> None:
    elastic, plain = layers["ElasticBatchNorm2d"](6, momentum=momentum), nn.BatchNorm2d(4, momentum=momentum)
    for _ in range(3):
        x = torch.randn(5, 4, 3, 3) * 2 + 1
        torch.testing.assert_close(elastic(x), plain(x))
    elastic.eval()
    plain.eval()
    torch.testing.assert_close(elastic(x), plain(x))
    torch.testing.assert_close(elastic.running_var[:4], plain.running_var)
    assert torch.equal(elastic.running_mean[4:], torch.zeros(2))


# ---- picks -----------------------------------------------------------------------------------------------------------


def test_a_missing_decision_is_named_and_nothing_is_set(generated: Generated) -> None:
    network = generated.network
    network.select(dict(generated.supernet.largest()))
    before = dict(network.picks)
    key, *_ = before
    smallest = dict(generated.supernet.smallest())
    smallest.pop(key)
    with pytest.raises(ValueError, match=f"no pick for '{key}'"):
        network.select(smallest)
    assert network.picks == before


def test_an_unknown_decision_and_a_wrong_alternative_are_named(generated: Generated) -> None:
    largest = dict(generated.supernet.largest())
    with pytest.raises(ValueError, match="no such decision: '99:1'"):
        generated.network.select({**largest, "99:1": 0})
    key, *_ = largest
    for index in (-1, 99):
        with pytest.raises(ValueError, match=f"'{key}' .* has no alternative {index}"):
            generated.network.select({**largest, key: index})


def test_decisions_that_do_not_matter_may_be_given(generated: Generated) -> None:
    everything = dict.fromkeys(generated.scope["DECISIONS"], 0)
    generated.network.select(everything)
    generated.supernet.select(generated.space.canonical(everything))
    assert generated.network.picks == dict(generated.supernet.picks)


def test_the_ends_are_the_supernets(generated: Generated) -> None:
    for name, wanted in (("LARGEST", generated.supernet.largest()), ("SMALLEST", generated.supernet.smallest())):
        generated.network.select(generated.scope[name])
        assert generated.network.picks == dict(wanted)


def test_labels_and_alternatives_are_the_searchs(generated: Generated) -> None:
    decisions = generated.scope["DECISIONS"]
    assert {key: (label, alternatives) for key, (label, alternatives, _) in decisions.items()} == {
        each.key: (each.label, each.alternatives) for each in generated.supernet.decisions
    }


# ---- text ------------------------------------------------------------------------------------------------------------


def from_the_imports_on(case: Case) -> str:
    """The generated file without its header, which holds the version and the digest."""
    text = generate_supernet(space_in(case.text), case.path.name).text
    _, _, body = text.partition('"""\n\n')
    return body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Case, request: pytest.FixtureRequest) -> None:
    golden.check(case, from_the_imports_on, request.config.getoption("--update-golden"))


def test_there_are_cases() -> None:
    assert len(CASES) >= 2


def test_linters_and_types_find_nothing(generated: Generated, tmp_path: Path) -> None:
    path = tmp_path / "generated.py"
    path.write_text(generated.text)
    for check in CHECKS.values():
        silent(*check, str(path))


def test_every_name_is_read_and_all_is_described(generated: Generated) -> None:
    tree = ast.parse(generated.text)
    entry = {"select", "forward", "SMALLEST", "LARGEST"}
    network = {type(generated.network).__name__}
    chosen = {
        value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(value := node.value, str)
    }
    assert not unread(tree) - entry - network - chosen - {"picks", "resolution"}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            assert ast.get_docstring(node), node.name
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        assert function.returns is not None, function.name
        assert all(arg.annotation for arg in function.args.args if arg.arg != "self"), function.name


def test_the_file_needs_torch_alone(generated: Generated, tmp_path: Path) -> None:
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name)
        for node in ast.walk(ast.parse(generated.text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name for name in imported if name} <= {"re", "collections.abc", "typing", "torch", "torch.nn.functional"}


@pytest.mark.slow
def test_the_file_runs_where_archlang_is_not(generated: Generated, tmp_path: Path) -> None:
    name = type(generated.network).__name__
    (tmp_path / "generated.py").write_text(generated.text)
    code = (
        f"import sys; sys.modules['archlang'] = None; import generated; generated.{name}().select(generated.SMALLEST)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


CODE = '__import__("os").system("touch hacked")'


@pytest.mark.parametrize("comment", [f'"""\n# {CODE}\n# """', f'"""{CODE}', '\\"""', "{{ 7 * 7 }}", "\\"])
def test_nothing_of_the_space_becomes_code(comment: str) -> None:
    net = f"net Small(classes=2):  # {comment}\n  input 3x8x8\n  conv({{4, 8}}, 3)\n  gap -> linear(classes)\n"
    text = f"# {comment}\n{net}"
    tree = ast.parse(generate_supernet(space_in(text), comment).text)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "__import__"]
    assert not calls


# ---- what cannot be written ------------------------------------------------------------------------------------------


def test_a_dropout_of_changing_rate_is_refused_with_the_reason() -> None:
    text = "net Drops(classes=2):\n  input 3x8x8\n  conv(4, 3)\n  dropout({0.1, 0.2})\n  gap -> linear(classes)\n"
    with pytest.raises(ArchError, match=r"nn\.Dropout"):
        generate_supernet(space_in(text))


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_has_the_decisions_that_it_needs_and_no_others() -> None:
    picks = [{"a": a, "b": b, "c": c} for a in range(3) for b in range(2) for c in range(4)]
    learner = Learner(picks, {"a": 3, "b": 2, "c": 4})
    table = learner.table({n: 10 * p["a"] + p["b"] for n, p in enumerate(picks)})
    assert (table.keys, table.values) == (("a", "b"), [[0, 1], [10, 11], [20, 21]])
    assert all(table.at(p) == 10 * p["a"] + p["b"] for p in picks)
    assert learner.table(dict.fromkeys(range(24), 5)).values == 5


def test_a_decision_that_is_not_always_there_makes_no_level_where_it_is_not() -> None:
    picks = [{"a": 0}, *({"a": 1, "b": b} for b in range(2))]
    learner = Learner(picks, {"a": 2, "b": 2})
    assert learner.table({0: 7, 1: 8, 2: 9}).values == [7, [8, 9]]
    assert learner.condition("b") == {"a": (1,)}
    assert learner.condition("a") == {}


def test_what_follows_from_no_decision_is_not_settled() -> None:
    learner = Learner([{"a": 0}, {"a": 0}], {"a": 2})
    with pytest.raises(Unsettled):
        learner.table({0: 1, 1: 2})


@pytest.mark.parametrize(
    ("wanted", "others", "found"),
    [
        (["l1.0", "l1.1"], ["l1", "l2.0"], ["l1.*"]),
        (["l1.0", "l2.0"], ["l1.1", "l1.0.c"], ["l*.0"]),
        (["l1.0_a", "l1.1_a"], ["l1.0_b"], ["l1.*_a"]),
        (["l1.0"], ["l1.1"], ["l1.0"]),
        ([""], ["a"], [""]),
    ],
)
def test_patterns_match_what_is_meant_alone(wanted: list[str], others: list[str], found: list[str]) -> None:
    assert patterns(wanted, [*wanted, *others]) == found
