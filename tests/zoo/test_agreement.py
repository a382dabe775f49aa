"""Every net of the zoo is the same network on every backend: PyTorch, Keras, ONNX Runtime and LiteRT."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest

from archlang import catalogue
from archlang.catalogue import ZooEntry
from archlang.ir import Graph
from tests.backends.agreement import Case, assert_agree
from tests.backends.drawing import resized
from tests.backends.keras_run import OTHER_BACKENDS, KerasProcess, forget, processes

pytest.importorskip("keras")

pytestmark = pytest.mark.filterwarnings("ignore")

# ---- which nets, on what images --------------------------------------------------------------------------------------

RESOLUTIONS = {
    # Odd maps meet strides on the way, as they do at some of the families' own resolutions: TensorFlow's `same` pads
    # them otherwise than even ones.
    "zoo:efficientnet": 75,
    "zoo:efficientnet_lite": 75,
    "zoo:mobilenet": 75,
    # The smallest that the net takes, or that leaves a BatchNorm more than one value a sample.
    "zoo:googlenet": 128,
    "zoo:inception_resnet_v2": 128,
    "zoo:inception_v4": 128,
    "zoo:inception_v3": 299,
    "zoo:mobilenet_v4": 96,
    "zoo:ssdlite": 128,
    "zoo:unet:UNet": 192,
    "zoo:unet:UNetPadded": 64,
}
"""Start of a SPEC -> size of the images, the longest that fits; of other nets 64."""

SMALLER = {
    "zoo:amoebanet:d18_208": 64,
    "zoo:densenet:bc190_k40": 16,
    "zoo:enas:ENASMacro": 16,
    "zoo:preresnet:r1001": 16,
    "zoo:resnet_cifar:r1202": 16,
    "zoo:wide_resnet:wrn28_10": 16,
}
"""Nets whose image has a fixed size, and that take billions of MACs on it: they get smaller ones all the same."""

LEFT_OUT = {
    "zoo:mobilenet_v1:*_192": "w*_224 on another image",
    "zoo:mobilenet_v1:*_160": "w*_224 on another image",
    "zoo:mobilenet_v1:*_128": "w*_224 on another image",
    "zoo:mnasnet:a1_w075": "a1_w050 with other channels",
    "zoo:mnasnet:a1_w140": "a1_w050 with other channels",
    "zoo:mnasnet:b1_w075": "b1_w050 with other channels",
    "zoo:mnasnet:b1_w130": "b1_w050 with other channels",
    "zoo:mnasnet:b1_w140": "b1_w050 with other channels",
    "zoo:shufflenet_v1:*_w075": "g1_w050 and g3_w050 with other channels",
    "zoo:shufflenet_v1:*_w025": "g1_w050 and g3_w050 with other channels",
    "zoo:efficientnet:b2": "b1 with other channels",
    "zoo:amoebanet:d18_416": "d18_208 with twice the channels: 319 million parameters",
}
"""Pattern of SPECs -> what is tested instead: the same layers in the same order, of other sizes."""

LIGHT = (
    "zoo:lenet:LeNet5Original",
    "zoo:fractalnet:c3",
    "zoo:mobilenet_v3:small",
    "zoo:mobilenet_v1:w025_224",
    "zoo:resnet_cifar:r20",
    "zoo:shufflenet_v1:g3_w050",
    "zoo:squeezenet:v1_1",
    "zoo:vit:ti",
)
"""Of different structure, and quick."""


SHIPPED = catalogue.nets()

ENTRIES = {e.spec: e for e in SHIPPED if not any(fnmatchcase(e.spec, pattern) for pattern in LEFT_OUT)}

ON_JAX = tuple({(entry.family, entry.net.name): spec for spec, entry in reversed(ENTRIES.items())}.values())
"""The first variant of each net. JAX runs these alone: it compiles every network, which takes the time of the others
together, and what the variants of a net differ in is the sizes of the same layers."""


def graph_of(entry: ZooEntry) -> Graph:
    """The net on images that are small, so that all nets are run in minutes."""
    if entry.spec in SMALLER:
        graph = entry.net.graph
        size = SMALLER[entry.spec]
        return resized(graph, (graph.nodes[graph.inputs[0]].type.channels, size, size))
    if not any(parameter.name.id == "res" for parameter in entry.net.value.decl.params or ()):
        return entry.net.graph
    found = [size for start, size in sorted(RESOLUTIONS.items()) if entry.spec.startswith(start)]
    return entry.net.with_parameters(res=found[-1] if found else 64).graph


# ---- the tests -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    yield
    forget()


@pytest.fixture(scope="module")
def others() -> Iterator[dict[str, KerasProcess]]:
    with processes(*OTHER_BACKENDS) as found:
        yield found


@pytest.mark.parametrize("spec", LIGHT)
def test_nets_of_different_structure(spec: str) -> None:
    """On PyTorch, Keras on PyTorch, ONNX Runtime and LiteRT."""
    case = Case(graph_of(ENTRIES[spec]))
    case.evaluated.assert_telling()
    assert_agree(case)


@pytest.mark.slow
@pytest.mark.parametrize("spec", ENTRIES)
def test_every_net(spec: str, others: dict[str, KerasProcess]) -> None:
    """On those, and on Keras' other backends."""
    chosen = {name: process for name, process in others.items() if name != "jax" or spec in ON_JAX}
    case = Case(graph_of(ENTRIES[spec]))
    case.evaluated.assert_telling()
    assert_agree(case, chosen)


def test_each_family_is_there() -> None:
    assert {entry.family for entry in ENTRIES.values()} == {entry.family for entry in SHIPPED}
    assert {ENTRIES[spec].family for spec in ON_JAX} == {entry.family for entry in ENTRIES.values()}
    for pattern in LEFT_OUT:
        assert any(fnmatchcase(entry.spec, pattern) for entry in SHIPPED), f"{pattern} leaves nothing out"
