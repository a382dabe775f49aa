"""The bundle for Android: the assets of an app, and a Kotlin class that runs the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archlang.deploy import bundle as bundles
from archlang.errors import fail

if TYPE_CHECKING:
    from archlang.deploy.bundle import Bundle

_KOTLIN = Path(__file__).with_name("files") / "Model.kt"
_ASSETS = "src/main/assets"


def files(bundle: Bundle) -> dict[str, bytes]:
    """Raises ArchError where the model does not take one image."""
    inputs = bundle.facts.inputs
    if len(inputs) != 1 or inputs[0].layout != "NHWC" or inputs[0].shape[-1] not in (1, 3):
        raise fail("E0905", f"{bundle.facts.name} takes no single image, which the Kotlin class is for")
    return {
        f"{_ASSETS}/model.tflite": bundle.content,
        f"{_ASSETS}/metadata.json": bundles.encoded(bundle.facts.as_json()),
        "src/main/java/archlang/Model.kt": _KOTLIN.read_bytes(),
        "README.md": _README.encode(),
    }


_README = """\
# A TFLite model for an Android app

Copy `src` over that of your app's module. In the module's `build.gradle.kts`:

    android { androidResources { noCompress += "tflite" } }
    dependencies { implementation("com.google.ai.edge.litert:litert:1.4.0") }

Then:

    val model = archlang.Model(context)
    model.classify(bitmap).forEach { println("${it.label} ${it.score}") }
    model.close()

`metadata.json` holds the names, shapes, layouts, scales and zero points of inputs and outputs, the normalisation of
pixels and the labels; the class reads it. `manifest.json` holds the hashes of the files and what was measured.
"""
