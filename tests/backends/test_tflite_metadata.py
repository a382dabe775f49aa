"""What a file tells of itself, read by what generates from its schemas: MediaPipe's and LiteRT's code."""

from __future__ import annotations

import io
import json
import zipfile
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import archlang
from archlang.about import About
from archlang.backend import Request, compile_graph
from archlang.backends.tflite import metadata
from archlang.errors import ArchError
from archlang.ir import Graph
from tests.backends.tflite_dump import parse
from tests.backends.tflite_run import interpreter

NET = """
# Two classes of fruit.
net Fruit(channels=3):
  input photo (channels, 8, 6)
  conv(4, 3) -> relu -> gap -> flatten as features
  linear(5) -> softmax
  output features as embedding, _ as scores
"""

LABELS = ("äpfel", "pears", "", "the rest", "5")
ABOUT = About((127.5, 120.0, 110.0), (58.0,), LABELS)


def generated() -> ModuleType:
    """The reader that is generated from the schema and ships with MediaPipe, without MediaPipe around it."""
    package = find_spec("mediapipe")
    if package is None or not package.submodule_search_locations:
        pytest.skip("needs mediapipe")
    path = Path(package.submodule_search_locations[0], "tasks/metadata/metadata_schema_py_generated.py")
    spec = spec_from_file_location("metadata_schema", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiled(about: About = ABOUT, net: str = NET, **request: Any) -> bytes:
    graph = archlang.loads(net).graph
    return compile_graph(graph, "tflite", Request(about=about, origin="fruit.arch", **request)).data


def described(data: bytes) -> Any:
    """The metadata as the generated reader has it."""
    content, schema = parse(data).metadata["TFLITE_METADATA"], generated()
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    return schema.ModelMetadataT.InitFromPackedBuf(content)


@pytest.fixture(scope="module")
def data() -> bytes:
    return compiled()


def test_model_is_described(data: bytes) -> None:
    found = described(data)
    assert found.name == b"Fruit"
    assert found.description == b"Two classes of fruit."
    assert found.minParserVersion == b"1.0.0"
    assert len(found.subgraphMetadata) == 1


def test_input_is_an_image_with_its_normalisation(data: bytes) -> None:
    schema = generated()
    (tensor,) = described(data).subgraphMetadata[0].inputTensorMetadata
    assert tensor.name == b"photo"
    assert tensor.content.contentPropertiesType == schema.ContentProperties.ImageProperties
    image = tensor.content.contentProperties
    assert image.colorSpace == schema.ColorSpaceType.RGB
    assert (image.defaultSize.width, image.defaultSize.height) == (6, 8)
    (unit,) = tensor.processUnits
    assert unit.optionsType == schema.ProcessUnitOptions.NormalizationOptions
    np.testing.assert_allclose(unit.options.mean, ABOUT.mean)
    np.testing.assert_allclose(unit.options.std, ABOUT.std)
    np.testing.assert_allclose(tensor.stats.min, (0 - np.array(ABOUT.mean)) / 58, rtol=1e-6)
    np.testing.assert_allclose(tensor.stats.max, (255 - np.array(ABOUT.mean)) / 58, rtol=1e-6)


def test_outputs_are_described_in_the_models_order(data: bytes) -> None:
    schema, file = generated(), parse(data)
    tensors = described(data).subgraphMetadata[0].outputTensorMetadata
    assert [tensor.name.decode() for tensor in tensors] == ["embedding", "scores"]
    assert [file.signature[1][tensor.name.decode()] for tensor in tensors] == list(file.outputs)
    assert tensors[0].associatedFiles is None
    (labels,) = tensors[1].associatedFiles
    assert (labels.name, labels.type) == (b"labels.txt", schema.AssociatedFileType.TENSOR_AXIS_LABELS)
    assert (list(tensors[1].stats.min), list(tensors[1].stats.max)) == ([0], [1])


@pytest.mark.parametrize(("channels", "space"), [(1, "GRAYSCALE"), (3, "RGB"), (2, "UNKNOWN")])
def test_colours(channels: int, space: str) -> None:
    data = compiled(About(), NET.replace("channels=3", f"channels={channels}"))
    (tensor,) = described(data).subgraphMetadata[0].inputTensorMetadata
    assert tensor.content.contentProperties.colorSpace == getattr(generated().ColorSpaceType, space)
    assert tensor.processUnits is None


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (metadata.MODEL, "ModelMetadata"),
        (metadata.SUBGRAPH, "SubGraphMetadata"),
        (metadata.TENSOR, "TensorMetadata"),
        (metadata.ASSOCIATED_FILE, "AssociatedFile"),
        (metadata.CONTENT, "Content"),
        (metadata.IMAGE_PROPERTIES, "ImageProperties"),
        (metadata.IMAGE_SIZE, "ImageSize"),
        (metadata.PROCESS_UNIT, "ProcessUnit"),
        (metadata.NORMALIZATION_OPTIONS, "NormalizationOptions"),
        (metadata.STATS, "Stats"),
    ],
)
def test_table_has_the_numbers_of_the_schema(table: Any, name: str) -> None:
    """A generated reader looks for a field after 4 bytes, and 2 for each field before."""
    for field, slot in table.items():
        reader = getattr(getattr(generated(), name), "".join(part.capitalize() for part in field.split("_")))
        assert 4 + 2 * slot.number in reader.__code__.co_consts


# Labels: a zip archive behind the model.


def test_labels_are_a_file_in_an_archive_behind_the_model(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as files:
        assert files.testzip() is None
        assert files.namelist() == ["labels.txt"]
        assert files.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED  # readers map it into memory
        assert files.read("labels.txt").decode().splitlines() == list(LABELS)


def test_model_before_the_archive_is_the_one_without_labels(data: bytes) -> None:
    graph = archlang.loads(NET).graph
    x = np.ones((1, 8, 6, 3), np.float32)
    results = []
    for content in (data, compile_graph(graph, "tflite", Request()).data):
        runner = interpreter(content).get_signature_runner("serving_default")
        results.append(runner(photo=x)["scores"])
    np.testing.assert_array_equal(*results)


def test_without_labels_nothing_follows_the_model() -> None:
    assert not zipfile.is_zipfile(io.BytesIO(compiled(About())))


# All of it.


@pytest.mark.parametrize("mode", ["none", "fp16", "dynamic", "int8", "int16x8"])
def test_signature_has_the_names_of_the_source(mode: str) -> None:
    made = interpreter(compiled(quantize=mode))
    assert made.get_signature_list() == {"serving_default": {"inputs": ["photo"], "outputs": ["embedding", "scores"]}}
    assert described(compiled(quantize=mode)).subgraphMetadata[0].inputTensorMetadata[0].name == b"photo"


def test_digest_and_version(data: bytes) -> None:
    graph = archlang.loads(NET).graph
    assert json.loads(parse(data).metadata["archlang"]) == {
        "net": "Fruit",
        "origin": "fruit.arch",
        "digest": graph.digest,
        "quantize": "none",
        "version": archlang.__version__,
    }


def test_equal_input_gives_equal_bytes(data: bytes) -> None:
    assert compiled() == data


# Several inputs; what does not fit.


def test_normalisation_belongs_to_the_first_image() -> None:
    net = "net Two:\n  input tokens (4, 6)\n  input photo (3, 4, 4)\n  output tokens, photo\n"
    graph: Graph = archlang.loads(net).graph
    data = compile_graph(graph, "tflite", Request(about=About((1.0,), (2.0,)))).data
    first, second = described(data).subgraphMetadata[0].inputTensorMetadata
    assert (first.name, first.processUnits) == (b"tokens", None)
    assert (second.name, len(second.processUnits)) == (b"photo", 1)


@pytest.mark.parametrize("target", ["tflite", "onnx"])
@pytest.mark.parametrize(
    ("about", "code", "words"),
    [
        (About(labels=LABELS[:3]), "E0609", "3 labels"),
        (About(mean=(1.0, 2.0)), "E0905", "2 values of `mean` for 3 channels of `photo`"),
        (About(std=(1.0, 2.0)), "E0905", "2 values of `std`"),
    ],
)
def test_what_does_not_fit_is_refused(about: About, code: str, words: str, target: str) -> None:
    with pytest.raises(ArchError) as caught:
        compile_graph(archlang.loads(NET).graph, target, Request(about=about))
    assert caught.value.diagnostics[0].code == code
    assert words in caught.value.diagnostics[0].message


def test_normalisation_without_an_image_is_refused() -> None:
    graph = archlang.loads("net A:\n  input (4,)\n  linear(2)\n").graph
    with pytest.raises(ArchError, match="no image"):
        compile_graph(graph, "tflite", Request(about=About(mean=(1.0,))))


def test_onnx_has_the_same_in_its_properties() -> None:
    import onnx

    graph = archlang.loads(NET).graph
    model = onnx.load_from_string(compile_graph(graph, "onnx", Request(about=ABOUT)).data)
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert (found["mean"], found["std"], found["digest"]) == ("127.5,120,110", "58", graph.digest)
    assert tuple(found["labels"].split("\n")) == LABELS
    bare = onnx.load_from_string(compile_graph(graph, "onnx", Request()).data)
    assert not {"mean", "std", "labels"} & {entry.key for entry in bare.metadata_props}
