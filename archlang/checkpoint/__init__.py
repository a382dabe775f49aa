"""Foreign checkpoints: the weights of a state dict that was not written for an .arch file, laid onto its network.

By name where all names agree, else by shape and structure (see `align`). What is ambiguous is refused, and every
decision is in the report.
"""

from archlang.checkpoint.convert import Options, convert
from archlang.checkpoint.report import Decision, Report

__all__ = ["Decision", "Options", "Report", "convert"]
