"""Every error code has a case: a golden one, a bad program, or a test that names it. Below, those that no program alone
brings about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import ClassVar

import numpy as np
import pytest
import torch

import archlang
from archlang.backend import Request, compile_graph
from archlang.codes import CODES
from archlang.errors import ArchError
from archlang.ir import parse_graph
from archlang.ir.types import TensorType
from archlang.lower.steps import shape_of
from archlang.ops.base import Op, ShapeError
from archlang.search.space import Space, load_search
from archlang.source import Source, Span
from archlang.weights import save
from tests.e2e.program import archlang as run

TESTS = Path(__file__).parents[1]
NET = "net A:\n  input 3x8x8\n  conv({8, 16}, 3)\n"


def _named_in(pattern: str) -> set[str]:
    texts = (path.read_text(encoding="utf-8") for path in TESTS.rglob(pattern))
    return {code for text in texts for code in re.findall(r"\bE\d{4}\b", text)}


def test_every_code_has_a_case() -> None:
    shown = _named_in("golden/errors/*.arch") | _named_in("golden/syntax/*.txt")
    assert set(CODES) <= shown | _named_in("test_*.py")
    assert {code for code, entry in CODES.items() if entry.wrong and code < "E0600"} <= shown


@contextmanager
def refused(code: str, message: str) -> Iterator[None]:
    with pytest.raises(ArchError) as caught:
        yield
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, message in diagnostic.message) == (code, True), diagnostic


def test_an_op_that_accepts_no_shape() -> None:
    """E0301 is what an op says that has no code of its own for it."""

    class Picky(Op):
        name: ClassVar[str] = "picky"

        def infer(self, *xs: TensorType) -> TensorType:
            raise ShapeError("nothing suits `picky`")

    with refused("E0301", "nothing suits"):
        shape_of(Picky(), [TensorType((3, 8, 8))], Span(Source("a", "picky"), 0, 5))


def test_an_alternative_that_is_not_there() -> None:
    space = Space(archlang.loads(NET).value)
    (key,) = space.canonical(space.sample(Random(0)))
    with refused("E0501", "no alternative 2"):
        space.graph({key: 2})


def test_a_search_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_text(NET)
    with refused("E0503", "has no search"):
        load_search(str(tmp_path / "a.arch"))
    (tmp_path / "a.arch").write_text(f"{NET}\nsearch quick over A:\n  maximize accuracy\n")
    with refused("E0503", "has no search `quik`"):
        load_search(f"{tmp_path / 'a.arch'}:quik")


def test_a_space_that_cannot_be_drawn_from_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archlang.lower.proof.MAX_WORK", 20)
    with refused("E0505", "too large to draw from"):
        Space(archlang.loads(NET).value).uniform(Random(0))


def test_a_checkpoint_with_layers_that_cannot_be_told_apart(tmp_path: Path) -> None:
    """E0610: two branches of equal shape, and a file sorted by names that say nothing."""
    net = archlang.loads("net A:\n  input 3x8x8\n  add:\n    conv(3, 3)\n    conv(3, 3)\n")
    arrays = {
        f"{name}.{local}": array
        for name in "ab"
        for local, array in (("weight", np.ones((3, 3, 3, 3))), ("bias", np.ones(3)))
    }
    save(arrays, tmp_path / "w.safetensors")
    (tmp_path / "a.arch").write_text(net.text)
    done = run(
        "weights",
        "import",
        str(tmp_path / "w.safetensors"),
        str(tmp_path / "a.arch"),
        "-o",
        str(tmp_path / "o.safetensors"),
    )
    assert done.status == 1
    assert "E0610" in done.err
    assert not (tmp_path / "o.safetensors").exists()


def test_a_stage_to_be_frozen_that_is_not_there() -> None:
    with refused("E0613", "layer9"):
        archlang.load("zoo:resnet:r18").to_torch(freeze=["layer9"])


def test_a_candidate_that_cannot_be_written() -> None:
    """Tensors cannot be put into the first call of a step that is none."""
    text = "choice J = {add, concat * 1}\n\nnet A:\n  input 3x8x8\n  relu as h\n  J(h, _)\n"
    space = Space(archlang.loads(text).value)
    (key,) = space.canonical(space.sample(Random(0)))
    assert "add(h, _)" in space.source({key: 0}, "A")
    with refused("E0506", "cannot be printed"):
        space.source({key: 1}, "A")


def test_a_graph_that_cannot_be_read() -> None:
    with refused("E0701", "no op `cnov`"):
        parse_graph(Source("graph", "graph A\n%0 = cnov : 3x8x8 as x\nreturn y=%0\n"))


def test_a_backend_that_is_not_there() -> None:
    graph = archlang.loads(NET).graph
    with refused("E0801", "coreml"):
        compile_graph(graph, "coreml", Request())


def test_an_option_that_a_backend_has_not() -> None:
    with refused("E0804", "knows no `batch"):
        compile_graph(archlang.loads(NET).graph, "pytorch", Request(batch=4))


def test_a_model_that_the_runtime_refuses(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    assert "error[E1001]" in run("bench", tmp_path / "m.onnx").err


def test_inputs_that_tell_no_range() -> None:
    with refused("E0811", "all 1"):
        archlang.loads(NET).compile("tflite", quantize="int8", calibration=np.ones((4, 3, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("E0820", ("--observer", "median")),
        ("E0821", ("--float", "nowhere")),
        ("E0822", ("--report",)),
        ("E0825", ("--report", "report.pdf")),
    ],
)
def test_ways_to_quantize_that_there_are_not(code: str, options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "net.arch").write_text(NET)
    done = run("compile", tmp_path / "net.arch", "--to", "tflite", "--quantize", "int8", "-o", tmp_path / "m", *options)
    assert f"error[{code}]" in done.err


def test_ranges_of_a_training_that_never_was() -> None:
    net = archlang.loads(NET)
    state = net.to_torch(qat="moving-average").state_dict()
    with refused("E0823", "never seen in training"):
        net.compile("tflite", state, quantize="int8")


def test_ranges_inside_a_layer_that_training_does_not_know() -> None:
    net = archlang.loads("net N:\n  input (6, 4)\n  attention(heads=2)\n")
    module = net.to_torch(qat="moving-average").train()
    module(torch.randn(2, 6, 4))
    with refused("E0824", "none for `attention"):
        net.compile("tflite", module.state_dict(), quantize="int8")
