"""Model files that run here: one interface to .tflite and .onnx files, whoever wrote them."""

from archlang.runtimes.model import SUFFIXES, Lacking, ModelFile, Port, opened

__all__ = ["SUFFIXES", "Lacking", "ModelFile", "Port", "opened"]
