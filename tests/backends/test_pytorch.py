"""The generated PyTorch: how it reads, what it refuses, and that it trains."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

import archlang
from archlang import weights as weights_module
from archlang.backend import Request, compile_graph
from archlang.backends.pytorch import build_module, generate, lowering
from archlang.backends.source.docstrings import docstring
from archlang.backends.source.names import MODULE_ATTRIBUTES, pascal_case, variable
from archlang.errors import ArchError, OutsideError
from archlang.ir import Builder, Graph, Scope, verify
from archlang.net import loads
from archlang.ops.activation import Relu
from archlang.ops.conv import Conv2d, Linear
from archlang.ops.join import Add
from archlang.ops.norm import BatchNorm
from archlang.ops.pool import GlobalAvgPool
from archlang.ops.regularize import Dropout, DropPath
from archlang.ops.shape import Flatten
from archlang.source import Source, Span
from tests.backends.drawing import block_networks, networks, scoped_networks

SHIPPED = ("zoo:mobilenet_v2", "zoo:resnet:r18", "zoo:resnet:r50", "zoo:efficientnet:b0")


def classes(text: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}


def module_of(graph: Graph) -> nn.Module:
    source = generate(graph)
    return build_module(source.text, source.class_name)


def small_network(*names: str) -> Graph:
    """A chain of convolutions called as given."""
    builder = Builder("Small")
    value = builder.input(3, 8, 8)
    for name in names:
        value = builder.add(Conv2d(3, (1, 1)), value, name=name)
    builder.output(value)
    return verify(builder.build())


# ---- how it reads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "lines", "names"),
    [
        ("zoo:mobilenet_v2", 100, {"Mbconv"}),
        ("zoo:resnet:r18", 100, {"Basic"}),
        ("zoo:resnet:r50", 120, {"Bottleneck"}),
        ("zoo:resnet:r152", 120, {"Bottleneck"}),
        ("zoo:efficientnet:b0", 140, {"Mbconv", "Squeeze", "DropPath"}),
    ],
)
def test_a_class_for_each_block_in_few_lines(spec: str, lines: int, names: set[str]) -> None:
    source = generate(archlang.load(spec).graph, spec)
    assert source.text.count("\n") < lines
    assert set(classes(source.text)) == {*names, source.class_name}
    assert "import archlang" not in source.text
    assert "from archlang" not in source.text


def test_the_header_names_origin_version_and_digest() -> None:
    graph = archlang.load("zoo:resnet:r18").graph
    header = ast.get_docstring(ast.parse(generate(graph, "zoo:resnet:r18").text))
    assert header is not None
    for part in ("zoo:resnet:r18", archlang.__version__, graph.digest, "11,689,512", "1,814,073,344"):
        assert part in header


def test_a_formatter_and_a_linter_find_nothing(tmp_path: Path) -> None:
    """Of what ships, and of random networks, scopes and blocks; with the tools' own settings."""
    texts = [generate(archlang.load(spec).graph, spec).text for spec in SHIPPED]

    @given(st.one_of(networks(), scoped_networks(), block_networks()))
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def collect(graph: Graph) -> None:
        texts.append(generate(graph).text)

    collect()
    for i, text in enumerate(texts):
        (tmp_path / f"generated{i}.py").write_text(text)
    for command in (["format", "--diff"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_equal_input_gives_equal_text() -> None:
    assert generate(archlang.load(SHIPPED[3]).graph).text == generate(archlang.load(SHIPPED[3]).graph).text


def test_generating_does_not_import_torch() -> None:
    code = (
        "import sys, archlang\n"
        "archlang.load('zoo:mobilenet_v2').to_torch_source()\n"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_backend_makes_the_same_text() -> None:
    graph = archlang.load(SHIPPED[1]).graph
    artifact = compile_graph(graph, "pytorch", Request(origin="zoo:resnet:r18"))
    assert artifact.data.decode() == generate(graph, "zoo:resnet:r18").text


# ---- names -----------------------------------------------------------------------------------------------------------


def test_every_attribute_of_modules_is_known() -> None:
    containers = (nn.Module(), nn.ModuleDict(), nn.ModuleList(), nn.Sequential())
    public = {name for made in containers for name in dir(made) if not name.startswith("_")}
    assert public <= MODULE_ATTRIBUTES


@pytest.mark.parametrize("name", ["forward", "training", "lambda", "None", "_modules", "type", "a.keys", "größe"])
def test_a_name_that_a_module_cannot_have_is_refused_with_its_place(name: str) -> None:
    graph = small_network("ok", name)
    span = Span(Source("net.arch", "conv(3) as it\n"), 0, 13)
    graph = replace(graph, nodes=tuple(replace(node, span=span) for node in graph.nodes))
    with pytest.raises(ArchError) as caught:
        generate(graph)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.span) == ("E0810", span)
    assert name.rpartition(".")[2] in diagnostic.message


def test_an_op_and_a_group_of_ops_of_one_name_are_refused() -> None:
    with pytest.raises(ArchError, match="both an op and a group"):
        generate(small_network("conv1", "conv1.inner"))


@pytest.mark.parametrize("name", ["self", "nn", "F", "torch", "y", "module", "initialise", "int", "super"])
def test_names_that_the_file_uses_itself_may_be_modules(name: str) -> None:
    module = module_of(small_network(name, f"{name}_act", f"a.{name}"))
    assert module(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    assert {f"{name}.weight", f"a.{name}.weight"} <= set(module.state_dict())


@pytest.mark.parametrize("name", ["x", "self", "nn", "F", "torch", "y", "lambda", "forward", "int", "tuple"])
def test_names_that_the_file_uses_itself_may_be_inputs(name: str) -> None:
    builder = Builder("Two")
    one, other = builder.input(3, 8, 8, name=name), builder.input(3, 8, 8, name=f"{name}_")
    builder.output(builder.add(Conv2d(2, (1, 1)), builder.add(Add(), one, builder.add(Relu(), other))))
    assert module_of(verify(builder.build()))(*torch.zeros(2, 1, 3, 8, 8)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize("block", ["tensor", "f", "none", "drop_path", "net", "callable", "true", "3d"])
def test_blocks_may_be_called_like_what_the_file_uses_itself(block: str) -> None:
    builder, scopes = Builder("Net"), {}
    value = builder.input(4, 8, 8)
    for name in ("a", "b"):
        scopes[name] = Scope("block", block, (("type", 4), ("self", 1), ("lambda", 2), ("conv1", 3)))
        inner = builder.add(Conv2d(4 if name == "a" else 8, (1, 1)), value, name=f"{name}.conv1")
        value = builder.add(DropPath(0.2), inner, name=f"{name}.drop_path1")
    builder.output(value)
    module = module_of(replace(verify(builder.build()), scopes=scopes))
    assert module(torch.zeros(1, 4, 8, 8)).shape == (1, 8, 8, 8)


HOSTILE = [
    'ends the string """ and goes on',
    '"',
    'quote at the end"',
    "backslash at the end\\",
    '\\"""\nimport os\nos.system(\'x\')\n"""',
    "line\r\nbreak\x00null\x1b[31m\u202ebidi\u2028",
    "{{ 7 * 7 }} {% raw %} {0} %s",
    "\ud800 lone surrogate",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_the_source_stays_text(text: str) -> None:
    graph = small_network("a.conv1")
    graph = replace(graph, doc=text, scopes={"a": Scope("block", "block", doc=text)})
    source = generate(graph, text).text
    tree = ast.parse(source)
    assert [type(node) for node in tree.body[1:]] == [ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.ClassDef]
    assert "\u202e" not in source
    assert "\x00" not in source
    module_of(graph)


@given(st.text())
def test_any_text_is_a_docstring_of_one_line(text: str) -> None:
    escaped = docstring(text)
    assert "\n" not in escaped
    wanted = "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= char <= "\udfff" else char for char in text)
    assert ast.literal_eval(f'"""x {escaped}"""') == f"x {' '.join(wanted.split())}"


@given(st.text())
def test_any_text_is_a_class_name_and_a_variable(text: str) -> None:
    assert pascal_case(text).isidentifier()
    assert variable(text).isidentifier()


# ---- what it does ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [Dropout(0.5), DropPath(0.5)], ids=lambda op: op.name)
def test_what_drops_does_so_in_training_only(op: Dropout | DropPath) -> None:
    builder = Builder("Drop")
    builder.output(builder.add(op, builder.input(3, 8, 8)))
    module = module_of(verify(builder.build()))
    x = torch.rand(64, 3, 8, 8) + 0.5
    assert torch.equal(module.eval()(x), x)
    kept = module.train()(x) / x
    assert set(kept.unique().tolist()) <= {0.0, 2.0}
    assert 0.2 < (kept == 0).float().mean() < 0.8
    if isinstance(op, DropPath):
        assert torch.equal(kept.amin((1, 2, 3)), kept.amax((1, 2, 3)))


def test_auxiliary_results_exist_in_training_only() -> None:
    text = """
block head(n):
  gap -> linear(n)
net Two:
  input 3x8x8
  conv(4, 3)
  aux early: head(5)
  conv(6, 3)
  output head(_, 7) as scores
"""
    module = module_of(loads(text).graph)
    x = torch.zeros(2, 3, 8, 8)
    scores, early = module.train()(x)
    assert (scores.shape, early.shape) == ((2, 7), (2, 5))
    assert module.eval()(x).shape == (2, 7)


@given(networks())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_writing_over_inputs_changes_no_gradient(graph: Graph) -> None:
    """The same file without `inplace=True` has the same gradients."""
    source = generate(graph)
    grads = []
    for text in (source.text, source.text.replace(", inplace=True", "")):
        module = build_module(text, source.class_name).eval()
        state = {name: torch.from_numpy(array) for name, array in weights_module.random(graph, 1).items()}
        module.load_state_dict(state, strict=False)
        inputs = [torch.full((2, *graph.nodes[i].type.shape), 0.3, requires_grad=True) for i in graph.inputs]
        results = module(*(x * torch.arange(1, x.numel() + 1).reshape(x.shape).sin() for x in inputs))
        loss = sum(result.sin().sum() for result in (results if isinstance(results, tuple) else (results,)))
        assert isinstance(loss, torch.Tensor)
        assume(loss.requires_grad)
        torch.autograd.backward(loss)
        found = [*(x.grad for x in inputs), *(p.grad for p in module.parameters())]
        grads.append([g if g is not None else torch.zeros(1) for g in found])
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other)


def test_a_training_step_lowers_the_loss() -> None:
    builder = Builder("Small")
    x = builder.input(3, 8, 8)
    y = builder.add(Relu(), builder.add(BatchNorm(), builder.add(Conv2d(8, (3, 3), padding=(1, 1, 1, 1)), x)))
    y = builder.add(Add(), y, builder.add(Conv2d(8, (1, 1)), y))
    flat = builder.add(Flatten(), builder.add(GlobalAvgPool(), y))
    builder.output(builder.add(Linear(4), builder.add(Dropout(0.1), flat)))
    torch.manual_seed(0)
    module = module_of(verify(builder.build()))
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    images, labels = torch.randn(16, 3, 8, 8), torch.arange(16) % 4
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(images), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2
    assert module.state_dict()["bn1.num_batches_tracked"] == 30


def test_fresh_weights_are_spread_as_the_graphs_are() -> None:
    """The file's own initialisation and `weights.initial` draw from the same distributions."""
    graph = archlang.load("zoo:efficientnet:b0").graph
    fresh, wanted = module_of(graph).state_dict(), weights_module.initial(graph)
    for name, array in wanted.items():
        mine = fresh[name].numpy()
        np.testing.assert_allclose(mine.mean(), array.mean(), atol=6 * array.std() / array.size**0.5 + 1e-7)
        if array.size > 500:
            np.testing.assert_allclose(mine.std(), array.std(), rtol=0.15)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_block_with_optional_parts_can_be_scripted_and_exported() -> None:
    text = """
from std.mobile import mbconv
net Small:
  default conv(norm=bn, act=relu6)
  input 8x16x16
  mbconv(8, e=1, se=0.25)
  mbconv(16, s=2, se=0.25) * 2
"""
    module = module_of(loads(text).graph).eval()
    x = torch.randn(2, 8, 16, 16)
    wanted = module(x)
    torch.testing.assert_close(torch.jit.script(module)(x), wanted)
    torch.testing.assert_close(torch.export.export(module, (x,)).module()(x), wanted)


def test_without_torch_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.nn", None)
    with pytest.raises(OutsideError, match=r"archlang\[torch\]"):
        build_module("", "Net")


def test_an_op_that_is_listed_as_unsupported_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lowering.UNSUPPORTED, Conv2d, "convolutions are out of fashion")
    with pytest.raises(ArchError, match="convolutions are out of fashion") as caught:
        generate(archlang.load("zoo:resnet:r18").graph)
    assert caught.value.diagnostics[0].span is not None
