"""Builds generated Keras source and runs it, in the Graph's layout: batch first, channels first.

A process has one Keras backend: the one of `KERAS_BACKEND`, PyTorch where nothing is said. `KerasProcess` is a process
with another one, which takes job after job: importing TensorFlow takes longer than running most networks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from archlang.backends.keras import KerasSource, build_model, generate
from archlang.ir import Graph
from tests.backends.tflite_run import channels_first, channels_last

os.environ.setdefault("KERAS_BACKEND", "torch")

Arrays = dict[str, NDArray[Any]]

OTHER_BACKENDS = tuple(name for name in ("tensorflow", "jax") if find_spec("keras") and find_spec(name))
"""The backends of Keras that are installed beside PyTorch."""


@dataclass(frozen=True)
class Job:
    """A network to be run: its source, its weights and inputs. training: run in training mode too."""

    source: KerasSource
    weights: Mapping[str, Any]
    inputs: list[NDArray[Any]]
    auxiliary: bool = False
    training: bool = False


@dataclass(frozen=True)
class Found:
    """What a model computes. evaluated: its outputs in evaluation mode, the auxiliary ones last. trained: in training
    mode, where nothing is left to chance. statistics: BatchNorm's after that, by their names in the state dict."""

    evaluated: list[NDArray[Any]]
    trained: list[NDArray[Any]]
    statistics: Arrays


def run_keras(graph: Graph, weights: Mapping[str, Any], inputs: list[NDArray[Any]]) -> Arrays:
    """Every output but the auxiliary ones by its name, in evaluation mode."""
    model = build_model(generate(graph), weights)
    names = [output.name for output in graph.outputs if not output.aux]
    return dict(zip(names, outputs(model, inputs), strict=True))


def outputs(model: Any, inputs: list[NDArray[Any]], training: bool = False) -> list[NDArray[Any]]:
    fed = [channels_last(x) for x in inputs]
    return _arrays(model(fed if len(fed) > 1 else fed[0], training=training))


def run_job(job: Job) -> Found:
    """On the backend of this process."""
    model = build_model(job.source, job.weights, **({"auxiliary": True} if job.auxiliary else {}))
    _without_chance(model)
    call = _compiled if os.environ["KERAS_BACKEND"] == "jax" else outputs
    evaluated = call(model, job.inputs, training=False)
    if not job.training:
        return Found(evaluated, [], {})
    trained = call(model, job.inputs, training=True)
    return Found(evaluated, trained, _statistics(model))


def forget() -> None:
    """Free what Keras keeps of the models that were built."""
    import keras

    keras.backend.clear_session()
    if os.environ["KERAS_BACKEND"] == "jax":
        import_module("jax").clear_caches()


def _without_chance(model: Any) -> None:
    """Nothing is dropped in training."""
    for layer in model.layers:
        for attribute in ("rate", "p", "single_column"):
            if hasattr(layer, attribute):
                setattr(layer, attribute, 0.0)


def _compiled(model: Any, inputs: list[NDArray[Any]], training: bool) -> list[NDArray[Any]]:
    """As `outputs`. Without `jit` JAX compiles every operation by itself, which takes several times as long."""
    import jax

    fed = [channels_last(x) for x in inputs]
    trainable, others = model.trainable_variables, model.non_trainable_variables
    state = [[variable.value for variable in kind] for kind in (trainable, others)]
    call = jax.jit(lambda *arrays: model.stateless_call(*arrays, training=training))
    results, after = call(*state, fed if len(fed) > 1 else fed[0])
    for variable, value in zip(others, after, strict=True):
        variable.assign(value)
    return _arrays(results)


def _arrays(results: Any) -> list[NDArray[Any]]:
    from keras import ops

    values = results if isinstance(results, list | tuple) else [results]
    return [channels_first(np.array(ops.convert_to_numpy(y))) for y in values]


_STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}


def _statistics(model: Any) -> Arrays:
    from keras import ops

    found = {}
    for variable in model.non_trainable_variables:
        path, _, name = variable.path.rpartition("/")
        if name in _STATISTICS:
            found[f"{path.replace('-', '.')}.{_STATISTICS[name]}"] = np.array(ops.convert_to_numpy(variable))
    return found


# ---- another process -------------------------------------------------------------------------------------------------


class KerasProcess:
    """A process with another backend of Keras: `start` a job, do something else, `finish` it."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.is_waited_for = False
        self.folder = TemporaryDirectory(prefix=f"keras-{backend}-")
        self.path = Path(self.folder.name)
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.backends.keras_run", self.folder.name],
            env={**os.environ, **quiet, "KERAS_BACKEND": backend},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.path / "stderr.txt").open("w"),
            cwd=Path(__file__).parents[2],
            text=True,
        )

    def start(self, job: Job) -> None:
        if self.is_waited_for:  # by a test that failed meanwhile
            self._answer()
        _write_job(self.path, job)
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        self.is_waited_for = True

    def finish(self) -> Found:
        error = json.loads(self._answer())
        assert not error, f"Keras on {self.backend}: {error}"
        return _read_found(self.path)

    def _answer(self) -> str:
        assert self.process.stdout is not None
        self.is_waited_for = False
        answer = self.process.stdout.readline()
        assert answer, f"Keras on {self.backend} has ended: {(self.path / 'stderr.txt').read_text()[-2000:]}"
        return answer

    def close(self) -> None:
        self.process.communicate()
        self.folder.cleanup()


@contextmanager
def processes(*backends: str) -> Iterator[dict[str, KerasProcess]]:
    """A process for each of the backends."""
    found = {backend: KerasProcess(backend) for backend in backends}
    try:
        yield found
    finally:
        for process in found.values():
            process.close()


def _write_job(folder: Path, job: Job) -> None:
    save_file({name: np.ascontiguousarray(array) for name, array in job.weights.items()}, folder / "weights")
    save_file({str(i): np.ascontiguousarray(x) for i, x in enumerate(job.inputs)}, folder / "inputs")
    settings = {"build": job.source.build, "auxiliary": job.auxiliary, "training": job.training}
    (folder / "job.json").write_text(json.dumps({"text": job.source.text, **settings}))


def _read_job(folder: Path) -> Job:
    job = json.loads((folder / "job.json").read_text())
    inputs = load_file(folder / "inputs")
    fed = [inputs[str(i)] for i in range(len(inputs))]
    source = KerasSource(job["text"], job["build"])
    return Job(source, load_file(folder / "weights"), fed, job["auxiliary"], job["training"])


def _write_found(folder: Path, found: Found) -> None:
    arrays = {f"evaluated {i}": y for i, y in enumerate(found.evaluated)}
    arrays |= {f"trained {i}": y for i, y in enumerate(found.trained)}
    arrays |= {f"statistics {name}": value for name, value in found.statistics.items()}
    save_file(arrays, folder / "found")


def _read_found(folder: Path) -> Found:
    kinds: dict[str, Arrays] = {"evaluated": {}, "trained": {}, "statistics": {}}
    for key, array in load_file(folder / "found").items():
        kind, _, name = key.partition(" ")
        kinds[kind][name] = array
    lists = [[kinds[kind][str(i)] for i in range(len(kinds[kind]))] for kind in ("evaluated", "trained")]
    return Found(lists[0], lists[1], kinds["statistics"])


def serve(folder: Path) -> None:
    """For each line of standard input: run the job that lies in the folder, put what was found beside it, and write a
    line: null, or the traceback. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _without_fresh_weights()
    for _ in sys.stdin:
        error = None
        try:
            _write_found(folder, run_job(_read_job(folder)))
        except Exception:  # whatever it is, the test that waits shows it
            error = traceback.format_exc()[-4000:]
        forget()
        answers.write(f"{json.dumps(error)}\n")
        answers.flush()


def _without_fresh_weights() -> None:
    """Nothing but NaN before weights are loaded, so that one which is forgotten is seen; and JAX need not compile a
    generator of random numbers for every shape, which takes a minute for a network of many."""
    from keras import initializers

    def nothing(self: Any, shape: tuple[int, ...], dtype: Any = None, **options: Any) -> NDArray[Any]:
        return np.full(shape, np.nan, np.float32)

    for name in ("VarianceScaling", "RandomNormal", "RandomUniform", "TruncatedNormal", "Zeros", "Ones"):
        getattr(initializers, name).__call__ = nothing


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
