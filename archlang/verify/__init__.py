"""Whether a file that was just written computes what the network does: it is loaded, run and compared.

The other side is `archlang.evaluate`: the float Graph in numpy, which knows of no backend, pass or runtime.
"""

from archlang.verify.check import Verdict, Verification, verification

__all__ = ["Verdict", "Verification", "verification"]
