"""How generated source reads, over all that ships: linters, formatters and the size of files, for both backends that
write Python."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

import archlang
from archlang import catalogue
from archlang.backends import keras, pytorch
from archlang.ir import Graph
from archlang.net import loads

GENERATORS: dict[str, Callable[[Graph, str], str]] = {
    "pytorch": lambda graph, origin: pytorch.generate(graph, origin).text,
    "keras": lambda graph, origin: keras.generate(graph, origin).text,
}

RULES = (
    "A,ANN,ARG,B,C4,E,EM,ERA,F,FLY,FURB,G,I,ICN,ISC,LOG,N,PERF,PGH,PIE,PLC,PLE,PLW,Q,RET,RUF,S,SIM,SLF,T20,TID,TRY,UP,W"
)
"""What ruff may look for beside its default: all that is about code rather than about a project's conventions."""

EXCEPTIONS = "N812,ANN401"
"""`torch.nn.functional` is called F everywhere; the other arguments of a Keras layer may be anything."""

CHOSEN = [f"--select={RULES}", f"--ignore={EXCEPTIONS}"]

CHECKS = {
    "format": ["ruff", "format", "--diff", "--isolated"],
    "default rules": ["ruff", "check", "--isolated"],
    "many rules": ["ruff", "check", "--isolated", "--line-length=88", "--target-version=py311", *CHOSEN],
}


def write(folder: Path, entries: list[catalogue.ZooEntry]) -> Path:
    """A file for each net and backend."""
    for target, generate in GENERATORS.items():
        (folder / target).mkdir()
        for entry in entries:
            path = folder / target / f"{entry.spec.replace(':', '_')}.py"
            path.write_text(generate(entry.net.graph, entry.spec))
    return folder


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first net of every family."""
    first = {entry.family: entry for entry in reversed(list(catalogue.nets()))}
    return write(tmp_path_factory.mktemp("families"), list(first.values()))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("everything"), list(catalogue.nets()))


def silent(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_ruff_finds_nothing_in_any_family(families: Path, check: list[str]) -> None:
    assert len(list((families / "keras").iterdir())) > 35
    silent(*check, str(families))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_ruff_finds_nothing_in_what_ships(everything: Path, check: list[str]) -> None:
    silent(*check, str(everything))


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("black"), reason="black is not installed")
def test_black_changes_nothing_in_what_ships(everything: Path) -> None:
    silent("black", "--check", "--quiet", str(everything))


@pytest.mark.parametrize("target", GENERATORS)
def test_no_name_is_made_in_vain(families: Path, target: str) -> None:
    """Every parameter, attribute, local variable, class and function is read somewhere in its file."""
    for path in (families / target).iterdir():
        tree = ast.parse(path.read_text())
        assert not unread(tree), path.name


USERS = {"load_weights", "state_dict", "forward", "call", "build", "get_config", "self", "_", "annotation"}
"""What the framework or the user calls."""


def unread(tree: ast.Module) -> set[str]:
    """Names that the file makes and never reads."""
    made = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    made |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    names = {id(node): node.id if isinstance(node, ast.Name) else node.attr for node in used}
    made |= {names[id(node)] for node in used if isinstance(node.ctx, ast.Store)}
    read = {names[id(node)] for node in used if isinstance(node.ctx, ast.Load)}
    last = tree.body[-1] if isinstance(tree.body[-1], ast.ClassDef) else None
    entry = {last.name} if last else {name for name in made if name.startswith("build_")}
    return made - read - USERS - entry - {name for name in made if name.startswith("__")}


@pytest.mark.parametrize("target", GENERATORS)
def test_all_is_annotated_and_described(families: Path, target: str) -> None:
    """Every class and function on top has a docstring, every function types for what it takes and gives."""
    for path in (families / target).iterdir():
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree)
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            assert function.returns is not None, f"{path.name}: {function.name}"
            taken = [*function.args.args, *function.args.kwonlyargs]
            assert all(arg.annotation for arg in taken if arg.arg != "self"), f"{path.name}: {function.name}"


@pytest.mark.parametrize("target", GENERATORS)
@pytest.mark.parametrize("spec", ["zoo:resnet:r18", "specs/resnet.arch:r18"])
def test_the_header_names_the_source_its_digest_and_the_version(target: str, spec: str) -> None:
    net = archlang.load(spec)
    header = ast.get_docstring(ast.parse(net.compile(target).data))
    assert header is not None
    for fact in (spec, archlang.__version__, net.graph.digest, "11,689,512", "1,814,073,344"):
        assert fact in header


# ---- sums of many values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("join", ["add", "mul", "mean", "concat"])
@pytest.mark.parametrize("count", [3, 9, 30])
def test_joins_of_many_values_are_laid_out(join: str, count: int, tmp_path: Path) -> None:
    branches = "".join(f"    conv(8, 3) as branch_number_{i}\n" for i in range(count))
    nameless = "    conv(8, 3)\n" * count
    texts = [
        f"net A:\n  input image 3x8x8\n  {join}:\n{branches}  relu\n  gap -> linear(3)\n",
        f"block b():\n  {join}:\n{nameless}\nnet A:\n  input 8x8x8\n  b() * 2\n  gap -> linear(3)\n",
    ]
    for number, text in enumerate(texts):
        for target, generate in GENERATORS.items():
            (tmp_path / f"{target}{number}.py").write_text(generate(loads(text).graph, ""))
    for check in CHECKS.values():
        silent(*check, str(tmp_path))


# ---- comments of the source as docstrings ----------------------------------------------------------------------------


@pytest.mark.parametrize("target", GENERATORS)
@pytest.mark.parametrize(
    ("comment", "wanted"),
    [
        ('"quoted" from the start', '`unit`: "quoted" from the start.'),
        ('it ends with a "quote"', 'It ends with a "quote".'),
        ('"all of it"', '`unit`: "all of it".'),
        ('"', '`unit`: ".'),
        ("c: the channels", "c: the channels."),
        ("what: is it?", "what: is it?"),
        ('three """ of them', 'Three """ of them.'),
        ("ends with a backslash \\", "Ends with a backslash \\."),
    ],
)
def test_comments_become_docstrings(target: str, comment: str, wanted: str, tmp_path: Path) -> None:
    block = f"block unit(c):  # {comment}\n  conv(c, 3)\n  relu\n  conv(c, 3)\n"
    text = f"{block}\nnet A:\n  input 3x8x8\n  unit(8)\n  unit(8)\n"
    source = GENERATORS[target](loads(text).graph, "")
    blocks = [node for node in ast.parse(source).body if getattr(node, "name", "").lower() == "unit"]
    assert len(blocks) == 1
    assert isinstance(blocks[0], ast.ClassDef | ast.FunctionDef)
    assert ast.get_docstring(blocks[0]) == wanted
    (tmp_path / "a.py").write_text(source)
    silent(*CHECKS["format"], str(tmp_path))
