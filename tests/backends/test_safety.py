"""Nothing in an .arch file or a weights file puts code into generated text, or runs code here."""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import archlang
from archlang import archives, backend, calibration, data, weights
from archlang.backends.onnx import model
from archlang.errors import ArchError
from archlang.net import Net
from tests.backends.tflite_run import interpreter

TEMPLATE = """\
# {comment}
block {block}({parameter}):  # {comment}
  conv({parameter}, 3) as {step}
  relu

# {comment}
net {net}({argument}=2):
  input {input} 3x8x8
  stage {stage}:
    {block}(4)
    {block}(argument) as {instance}
  gap -> linear({argument})
  output _ as {output}
"""

PLAIN = {
    "comment": "why",
    "block": "unit",
    "parameter": "c",
    "step": "filter",
    "net": "Small",
    "argument": "classes",
    "input": "image",
    "stage": "early",
    "instance": "second",
    "output": "scores",
}

CODE = '__import__("os").system("touch hacked")'

NAMES = [
    *("__class__", "__init__", "__import__", "_modules", "__reduce__", "self", "nn", "torch", "F", "Tensor", "super"),
    *("exec", "eval", "type", "forward", "train", "initialise", "training", "len", "range", "None", "lambda", "import"),
    *(CODE, "a.b", "a; import os", 'x"); import os; ("', "x\\", "{{ 7 * 7 }}", "{% for a in b %}", "größe", "ａ", "𝐧𝐧"),
    *("a" * 10_000, "", "0", "../../etc/passwd", "a/b", "\x00", "%s%n", "é́", "print", "net", "x1", "Conv2d"),
    *("keras", "layers", "ops", "np", "name", "build_small", "load_weights", "state_dict", "named_weights", "Iterator"),
]

COMMENTS = [
    *(
        f'"""\n{CODE}\n"""',
        f'"""{CODE}',
        '"',
        '\\"""',
        "\\",
        f"{{{{ {CODE} }}}}",
        f"{{% set x = {CODE} %}}",
        "\r",
        "\f",
    ),
    *(
        f"'''\n{CODE}",
        f"\\N{{QUOTATION MARK}}{CODE}",
        "# type: ignore",
        "-*- coding: rot13 -*-",
        "\u2029" + CODE,
        "x" * 5000,
    ),
]


def program(**places: str) -> str:
    text = TEMPLATE.replace("(argument)", "({argument})")
    return text.format(**{**PLAIN, **places})


def load(text: str) -> Net | None:
    """The net, or None where the language refuses the text."""
    try:
        net = archlang.loads(text, name="hostile.arch")
        net.cost()
    except ArchError:
        return None
    return net


GENERATORS: dict[str, Callable[[bytes], None]] = {
    "pytorch": lambda made: assert_harmless(made.decode()),
    "keras": lambda made: assert_harmless(made.decode()),
    "onnx": lambda made: onnx.checker.check_model(made, full_check=True),
    "tflite": lambda made: interpreter(made).allocate_tensors(),
}


def generate(net: Net) -> None:
    """Every target takes the net or refuses it; what it makes is what it should be and no more."""
    for target in backend.names():
        try:
            made = net.compile(target).data
        except ArchError:
            continue
        GENERATORS[target](made)


def test_every_generator_is_among_them() -> None:
    assert set(GENERATORS) == set(backend.names())


BUILTINS = {
    "bool",
    "dict",
    "float",
    "int",
    "isinstance",
    "len",
    "list",
    "max",
    "object",
    "range",
    "str",
    "sum",
    "super",
    "tuple",
    "zip",
}

MODULES = {"torch", "torch.nn.functional", "collections.abc", "keras", "numpy", "math", "typing"}


def assert_harmless(text: str) -> None:
    """The text is classes and functions alone; they import the target's package and read what they have made."""
    tree = ast.parse(text)
    kinds = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    assert isinstance(tree.body[0], ast.Expr)
    assert all(isinstance(node, kinds) for node in tree.body[1:])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            assert set(names) <= MODULES
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("__") or node.attr == "__init__"
    assert read_names(tree) & set(dir(builtins)) <= BUILTINS


def read_names(tree: ast.AST) -> set[str]:
    """The names that the text reads and does not define."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    stored |= {argument.arg for argument in ast.walk(tree) if isinstance(argument, ast.arg)}
    return {node.id for node in names if isinstance(node.ctx, ast.Load)} - stored


@pytest.fixture(autouse=True)
def untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each test ends without the file that the hostile code would make."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "hacked").exists()


# ---- programs --------------------------------------------------------------------------------------------------------


def test_the_plain_program_is_a_net() -> None:
    net = load(program())
    assert net is not None
    generate(net)


@pytest.mark.parametrize("place", [place for place in PLAIN if place != "comment"])
def test_hostile_names(place: str) -> None:
    """A name is refused with an ArchError, or stays a name."""
    for name in NAMES:
        net = load(program(**{place: name}))
        if net is not None:
            assert not name or name.isidentifier()
            generate(net)


@pytest.mark.parametrize("comment", COMMENTS)
def test_hostile_comments(comment: str) -> None:
    """A comment is a docstring, or the end of it is refused."""
    net = load(program(comment=comment))
    if net is not None:
        generate(net)
        net.to_torch()


@pytest.mark.parametrize("word", [*keyword.kwlist, *keyword.softkwlist])
def test_pythons_words(word: str) -> None:
    for place in ("block", "stage", "instance", "input", "net", "parameter"):
        net = load(program(**{place: word}))
        if net is not None:
            generate(net)


@given(st.sampled_from([place for place in PLAIN if place != "comment"]), st.text(max_size=12), st.text(max_size=30))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_in_any_place(place: str, name: str, comment: str) -> None:
    net = load(program(**{place: name, "comment": comment}))
    if net is not None:
        generate(net)


@pytest.mark.parametrize("origin", [*COMMENTS, *NAMES[:40]])
def test_hostile_origins(origin: str) -> None:
    """What the user calls the file comes into headers and metadata."""
    net = load(program())
    assert net is not None
    graph = net.graph
    for target, check in GENERATORS.items():
        check(backend.compile_graph(graph, target, backend.Request(origin=origin)).data)


SHAPES = [
    *(
        "0x8x8",
        "3x0x8",
        "-1x8x8",
        "3x8",
        "3x8x8x8",
        "99999999999999999999x8x8",
        "3x1000000000x1000000000",
        "2147483648",
    ),
    *("3x8x8.5", "3xNx8", "()", "(3, 8, (8))", "(3, 8, 1e400)", "(3, 8, -8)", "3 x 8 x 8", "0x10x10", "(True, 8, 8)"),
]

STEPS = [
    *(
        "conv(1000000000000, 3)",
        "conv(8, 1000000000)",
        "conv(8, 3, s=0)",
        "conv(8, 3, pad=-5)",
        "conv(-8, 3)",
        "conv(0, 3)",
    ),
    *("conv(8, 3, groups=0)", "conv(8, 3) * 1000000000", "conv(8, 3) * -1", "maxpool(0)", "maxpool(9, s=1000000)"),
    *(
        "linear(2147483648)",
        "dropout(2)",
        "dropout(-1)",
        "shuffle(0)",
        "flatten -> linear(100000000)",
    ),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_hostile_shapes(shape: str) -> None:
    """Sizes that are none, or too large for any memory: an error, or a file that makes no array of them."""
    net = load(f"net A:\n  input x {shape}\n  relu\n")
    if net is not None:
        generate_source(net)


@pytest.mark.parametrize("step", STEPS)
def test_hostile_sizes(step: str) -> None:
    net = load(f"net A:\n  input x 3x8x8\n  {step}\n")
    if net is not None:
        generate(net)


def test_images_too_large_for_an_interpreter() -> None:
    net = load("net A:\n  input x 3x8x8\n  upsample(1000000)\n")
    assert net is not None
    generate_source(net)


def generate_source(net: Net) -> None:
    """Those that run nothing: an interpreter would make room for the values themselves."""
    for target in ("pytorch", "keras"):
        GENERATORS[target](net.compile(target).data)


STRINGS = [*COMMENTS, *NAMES, '" + exec("1") + "', "b c h w -> b (h w) c", "same", "bilinear"]


@pytest.mark.parametrize("step", ["rearrange({})", "upsample(2, mode={})", "conv(8, 3, pad={})", "conv(8, 3, act={})"])
def test_hostile_strings(step: str) -> None:
    """Where the language takes a string."""
    for string in STRINGS:
        for quoted in (f'"{string}"', string):
            net = load(f"net A:\n  input x 3x8x8\n  {step.format(quoted)}\n")
            if net is not None:
                generate(net)


@pytest.mark.parametrize("file", ["../m.onnx", "/etc/m.onnx", "a/m.onnx"])
def test_a_model_names_no_file_outside_its_folder(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights beside a model are named by the model's file name alone."""
    monkeypatch.setattr(model, "MAX_BYTES", 10)
    net = load(program())
    assert net is not None
    made = backend.compile_graph(net.graph, "onnx", backend.Request(file=file))
    assert list(made.beside) == ["m.onnx.data"]


# ---- weights ---------------------------------------------------------------------------------------------------------


class Hostile:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("open('hacked', 'w').close()",)


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def bomb() -> bytes:
    """A .pt file of 8 kB that says it is 8 MB."""
    entries = zipfile.ZipFile(io.BytesIO(saved({"a.weight": torch.zeros(2_000_000)})))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in entries.infolist():
            archive.writestr(info.filename, entries.read(info))
    return file.getvalue()


def safetensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


WEIGHTS: dict[str, bytes] = {
    "pickle.pt": pickle.dumps(Hostile()),
    "object.pt": saved({"a": Hostile()}),
    "protocol0.pth": b"cos\nsystem\n(S'touch hacked'\ntR.",
    "module.pt": saved(torch.nn.Sequential(torch.nn.Linear(2, 2))),
    "deep.pt": b"(" * 100_000 + b".",
    "endless.pt": b"\x80\x02" + b"U\xff" * 10,
    "zip.pt": zipped("archive/data.pkl", pickle.dumps(Hostile())),
    "slip.pt": zipped("../../hacked", b"x"),
    "empty.pt": b"",
    "expanded.pt": saved({"a.weight": torch.zeros(1, dtype=torch.float16).expand(10**14)}),
    "sparse.pt": saved({"a.weight": torch.eye(3).to_sparse()}),
    "meta.pt": saved({"a.weight": torch.zeros(3, device="meta")}),
    "complex.pt": saved({"a.weight": torch.zeros(3, dtype=torch.complex64)}),
    "names.pt": saved({1: torch.zeros(3), ("a",): torch.zeros(3), None: torch.zeros(3), CODE: torch.zeros(3)}),
    "list.pt": saved([torch.zeros(3)]),
    "nested.pt": saved({"model": {"model": {"model": {}}}}),
    "long.safetensors": safetensors(b"{}", 2**63),
    "huge.safetensors": safetensors(b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
    "overflow.safetensors": safetensors(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'),
    "negative.safetensors": safetensors(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'),
    "other.safetensors": pickle.dumps(Hostile()),
    "deep.safetensors": safetensors(b'{"a":' * 10_000),
    "empty.safetensors": b"",
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.filterwarnings("ignore")
def test_hostile_weights(name: str, tmp_path: Path) -> None:
    """A file is refused with an ArchError, or its arrays are: none of these are the net's."""
    net = load(program())
    assert net is not None
    (tmp_path / name).write_bytes(WEIGHTS[name])
    with pytest.raises(ArchError):
        weights.checked(net.graph, weights.load(tmp_path / name))


def test_weights_that_unpack_to_more_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.pt").write_bytes(bomb())
    assert len(bomb()) < 20_000
    assert weights.load(tmp_path / "w.pt")["a.weight"].shape == (2_000_000,)
    monkeypatch.setattr(archives, "limit", lambda: 1_000_000)
    with pytest.raises(ArchError, match="unpacks to 8,0") as caught:
        weights.load(tmp_path / "w.pt")
    assert caught.value.diagnostics[0].code == "E0607"


# ---- arrays ----------------------------------------------------------------------------------------------------------


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


OBJECTS = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps(np.array([Hostile()], object)))

ARRAYS: dict[str, bytes] = {
    "pickle.npy": pickle.dumps(Hostile()),
    "objects.npy": OBJECTS,
    "huge.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3, 8, 8), }"),
    "overflow.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }"),
    "negative.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3, 8, 8), }"),
    "code.npy": npy(f"{{'descr': {CODE}, 'fortran_order': False, 'shape': (1,), }}"),
    "text.npy": b"1 2 3",
    "empty.npy": b"",
    "objects.npz": zipped("x.npy", OBJECTS),
    "huge.npz": zipped("x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3, 8, 8), }")),
    "slip.npz": zipped("../../x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", b"abcd")),
    "none.npz": zipped("hacked", b"x"),
    "text.npz": b"PK",
}


@pytest.mark.parametrize("name", ARRAYS)
def test_hostile_arrays(name: str, tmp_path: Path) -> None:
    """As calibration inputs, and as a data set."""
    net = load(program())
    assert net is not None
    (tmp_path / name).write_bytes(ARRAYS[name])
    with pytest.raises(ArchError):
        calibration.load(tmp_path / name, net.graph)
    with pytest.raises(ArchError):
        data.load_data(f"npz:{tmp_path / name}")


def test_arrays_that_unpack_to_more_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = load(program())
    assert net is not None
    np.savez_compressed(tmp_path / "x.npz", image=np.zeros((5000, 3, 8, 8), np.float32))
    assert (tmp_path / "x.npz").stat().st_size < 10_000
    assert [len(array) for array in calibration.load(tmp_path / "x.npz", net.graph).values()] == [5000]
    monkeypatch.setattr(archives, "limit", lambda: 1_000_000)
    for read in (lambda: calibration.load(tmp_path / "x.npz", net.graph), lambda: data.load_data("npz:x.npz")):
        with pytest.raises(ArchError, match="unpacks to 3,8"):
            read()
