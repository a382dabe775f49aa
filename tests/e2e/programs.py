"""Programs that the tests of the commands share."""

from __future__ import annotations

TINY = """\
net Tiny(classes=4):
  default conv(norm=bn, act=relu6)
  input 3x8x8
  conv(8, 3, s=2)
  residual: conv(8, 3) * 2
  gap -> linear(classes)
"""

SPACE = """\
choice K = {3, 5}

net Space(classes=4):
  default conv(norm=bn, act=relu)
  input 3x8x8
  conv(8, K, s=2)
  conv({8, 16}, K)
  gap -> linear(classes)
"""
