"""The bundle for Linux: the model and a Python script that runs it as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archlang.deploy import bundle as bundles
from archlang.deploy import linux_runner

if TYPE_CHECKING:
    from archlang.deploy.bundle import Bundle


def files(bundle: Bundle) -> dict[str, bytes]:
    return {
        "model.tflite": bundle.content,
        "metadata.json": bundles.encoded(bundle.facts.as_json()),
        "run.py": Path(linux_runner.__file__).read_bytes(),
        "requirements.txt": b"numpy\nai-edge-litert\n",
        "README.md": _README.encode(),
    }


_README = """\
# A TFLite model and its runner

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python run.py --check              # are the files those of the manifest
    venv/bin/python run.py INPUT.npy            # an array as metadata.json describes the input, in floats
    venv/bin/python run.py PHOTO.jpg --top 5    # needs Pillow

On 32-bit systems `tflite-runtime` with `numpy<2` does as well. `metadata.json` holds the names, shapes, layouts, scales
and zero points of inputs and outputs, and the labels. `manifest.json` holds the hashes of the files and what was
measured.
"""
