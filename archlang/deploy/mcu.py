"""The bundle for a microcontroller: the model as a C array, the bytes of its arena, and the code that runs it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from archlang.deploy import bundle as bundles
from archlang.device.tflm import TflmDevice

if TYPE_CHECKING:
    from archlang.deploy.bundle import Bundle
    from archlang.deploy.facts import Tensor

BYTES_A_LINE = 16


def files(bundle: Bundle) -> dict[str, bytes]:
    """Raises ArchError where tflite-micro does not run the model, OutsideError where it is not installed."""
    arena = _arena(bundle.content)
    return {
        "model_data.h": header(bundle, arena).encode(),
        "model_data.c": array(bundle.content).encode(),
        "inference.cc": inference(bundle.facts.operators).encode(),
        "metadata.json": bundles.encoded({**bundle.facts.as_json(), "arena_bytes": arena}),
        "README.md": _README.encode(),
    }


def _arena(content: bytes) -> int:
    with tempfile.TemporaryDirectory(prefix="archlang-") as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        return TflmDevice().estimate(path).ram_bytes


def array(content: bytes) -> str:
    """C source of the file's bytes, aligned as a flatbuffer has to be."""
    rows = (content[i : i + BYTES_A_LINE] for i in range(0, len(content), BYTES_A_LINE))
    lines = ",\n".join("    " + ", ".join(f"0x{byte:02x}" for byte in row) for row in rows)
    return (
        f'#include "model_data.h"\n\n_Alignas(16) const unsigned char model_data[MODEL_DATA_BYTES] = {{\n{lines}\n}};\n'
    )


def header(bundle: Bundle, arena: int) -> str:
    sides = [("INPUT", bundle.facts.inputs), ("OUTPUT", bundle.facts.outputs)]
    tensors = "\n".join(
        line
        for side, found in sides
        for i, tensor in enumerate(found)
        for line in _defines(f"MODEL_{side}_{i}", tensor)
    )
    return _HEADER.format(size=len(bundle.content), arena=arena, tensors=tensors)


def _defines(prefix: str, tensor: Tensor) -> list[str]:
    """A name of a tensor is data: it stays in metadata.json, out of the source."""
    size = 1
    for n in tensor.shape:
        size *= n
    shape = ", ".join(map(str, tensor.shape))
    return [
        f"#define {prefix}_SHAPE {{{shape}}} /* {tensor.layout or 'as in metadata.json'}, {tensor.dtype} */",
        f"#define {prefix}_ELEMENTS {size}",
        f"#define {prefix}_SCALE {tensor.scale!r}f",
        f"#define {prefix}_ZERO_POINT {tensor.zero_point}",
    ]


_SPELLED = {"BATCH_MATMUL": "BatchMatMul", "PADV2": "PadV2", "GATHER_ND": "GatherNd", "SPLIT_V": "SplitV"}


def resolver_method(operator: str) -> str:
    """What MicroMutableOpResolver calls an operator: CONV_2D is added by `AddConv2D`."""
    words = (word.upper() if word[0].isdigit() else word.capitalize() for word in operator.split("_"))
    return f"Add{_SPELLED.get(operator) or ''.join(words)}"


def inference(operators: dict[str, int]) -> str:
    adds = "\n".join(
        f"  if (resolver.{resolver_method(name)}() != kTfLiteOk) return nullptr;" for name in sorted(operators)
    )
    return _INFERENCE.replace("@COUNT@", str(len(operators))).replace("@ADDS@", adds)


_HEADER = """\
/* A TFLite model and what it needs. The figures are those of metadata.json. */
#ifndef MODEL_DATA_H
#define MODEL_DATA_H

#ifdef __cplusplus
extern "C" {{
#endif

#define MODEL_DATA_BYTES {size}

/* Of tflite-micro on a 64-bit machine: on a microcontroller, where pointers have 4 bytes, a little less will do. */
#define MODEL_ARENA_BYTES {arena}

/* value = scale * (stored - zero point); a scale of 0 says that values stand for themselves */
{tensors}

extern const unsigned char model_data[MODEL_DATA_BYTES];

#ifdef __cplusplus
}}
#endif

#endif
"""

_INFERENCE = """\
// Runs the model with tflite-micro: fill model_input(), call model_run(), read model_output().
#include <cstdint>

#include "model_data.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas(16) uint8_t arena[MODEL_ARENA_BYTES];

tflite::MicroInterpreter* make_interpreter() {
  static tflite::MicroMutableOpResolver<@COUNT@> resolver;
@ADDS@
  const tflite::Model* model = tflite::GetModel(model_data);
  if (model->version() != TFLITE_SCHEMA_VERSION) return nullptr;
  static tflite::MicroInterpreter interpreter(model, resolver, arena, sizeof(arena));
  return interpreter.AllocateTensors() == kTfLiteOk ? &interpreter : nullptr;
}

tflite::MicroInterpreter* interpreter() {
  static tflite::MicroInterpreter* made = make_interpreter();
  return made;
}

}  // namespace

// Null where the model does not fit the arena or an operator is missing.
TfLiteTensor* model_input(int index) {
  return interpreter() == nullptr ? nullptr : interpreter()->input(index);
}

TfLiteTensor* model_output(int index) { return interpreter()->output(index); }

bool model_run() { return interpreter()->Invoke() == kTfLiteOk; }
"""

_README = """\
# A TFLite model for a microcontroller

Add `model_data.c`, `model_data.h` and `inference.cc` to a project with tflite-micro
(https://github.com/tensorflow/tflite-micro). `model_data.h` says how large the model, its arena, its inputs and its
outputs are, and how their integers stand for values. `metadata.json` has the names and the labels, `manifest.json` the
hashes of the files and what was measured.
"""
