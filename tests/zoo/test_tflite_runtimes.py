"""The zoo in the other runtimes that a file can be meant for: a net is refused for one, or it runs there.

Nets are small ones without weights, as in `test_tflite`: what operators ask of a runtime does not depend on either.
"""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from archlang import catalogue
from archlang.backend import Request, compile_graph
from archlang.errors import ArchError
from tests.backends.test_tflite_runtimes import OLD_PYTHON
from tests.backends.tflite_run import compile_tflite, interpreter
from tests.zoo.test_tflite import FAST, MODES, small, smallest

ARENA = 400_000_000


def written(spec: str, mode: str, runtime: str) -> bytes | None:
    """The file; None where it is refused, at a line."""
    try:
        return compile_graph(small(spec), "tflite", Request(quantize=mode, runtime=runtime)).data
    except ArchError as error:
        (found,) = error.diagnostics
        if found.code == "E0803" and found.span is not None:
            return None
        raise


def micro(data: bytes, invoke: bool = True) -> None:
    """Raises RuntimeError where tflite-micro cannot run it."""
    from tflite_micro import runtime

    made = runtime.Interpreter.from_bytes(data, arena_size=ARENA)
    if not invoke:
        return
    for i, detail in enumerate(interpreter(data, "reference").get_input_details()):
        made.set_input(np.zeros(detail["shape"], detail["dtype"]), i)
    made.invoke()
    made.get_output(0)


def assert_refused_or_runs(spec: str, mode: str, invoke: bool = True) -> None:
    data = written(spec, mode, "tflite-micro")
    if data is not None:
        micro(data, invoke)
        return
    with pytest.raises(RuntimeError):
        micro(compile_tflite(small(spec), None, mode).data)


@cache
def specs() -> tuple[str, ...]:
    return tuple(entry.spec for entry in catalogue.nets())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spec", ["zoo:mobilenet_v3:small", "zoo:squeezenet:v1_1"])
def test_net_runs_in_tflite_micro_or_is_refused(spec: str, mode: str) -> None:
    assert spec in FAST
    assert (written(spec, mode, "tflite-micro") is None) == (mode in ("fp16", "dynamic"))
    assert_refused_or_runs(spec, mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_family_runs_in_tflite_micro_or_is_refused(mode: str, subtests: pytest.Subtests) -> None:
    for spec in smallest():
        with subtests.test(spec=spec):
            assert_refused_or_runs(spec, mode)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["none", "int8", "int16x8"])
def test_every_net_is_taken_by_tflite_micro_or_refused(mode: str, subtests: pytest.Subtests) -> None:
    """Loaded, which is when kernels look at types, and not run: its reference kernels take minutes for the large."""
    for spec in specs():
        with subtests.test(spec=spec):
            assert_refused_or_runs(spec, mode, invoke=False)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get(OLD_PYTHON), reason=f"{OLD_PYTHON} names no Python with tflite-runtime 2.14")
@pytest.mark.parametrize("mode", MODES)
def test_every_net_runs_in_tflite_runtime_2_14(mode: str, tmp_path: Path, subtests: pytest.Subtests) -> None:
    """Nothing in the zoo is refused for it."""
    script = Path(__file__).parent.parent / "backends" / "old_zoo.py"
    for spec in specs():
        with subtests.test(spec=spec):
            data = written(spec, mode, "tflite-2.14")
            assert data is not None
            (tmp_path / "m.tflite").write_bytes(data)
            done = subprocess.run(
                [os.environ[OLD_PYTHON], script, tmp_path / "m.tflite"], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr[-2000:]
            assert json.loads(done.stdout.splitlines()[-1]) == {"outputs": len(small(spec).outputs) - _aux(spec)}


def _aux(spec: str) -> int:
    return sum(output.aux for output in small(spec).outputs)
