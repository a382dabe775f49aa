"""A whole search space as readable PyTorch."""

from archlang.backends.pytorch.supernet.source import generate_supernet

__all__ = ["generate_supernet"]
