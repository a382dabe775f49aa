"""How far a prediction may be off: what the process does not know of a network, from figures of its kernels alone.

The deviation of a network from what is predicted is at most the sum of its kernels' own deviations, each with its
share of the time (the triangle inequality of standard deviations). That bound adds up over the kernels, where the exact
deviation would need all pairs of them; how much it exaggerates is found on held-out networks (conformal prediction).
"""

from __future__ import annotations

import numpy as np

from archlang.device.predict.features import Floats
from archlang.device.predict.residual import Tuned


def deviations(covariance: Floats, prior: float, process: Tuned) -> Floats:
    """Standard deviations that remain after the measurements: (m).

    covariance: of m unknowns with each sample, (m, n). prior: the variance of each before anything was measured.
    """
    explained = ((covariance @ process.precision) * covariance).sum(1)
    found: Floats = np.sqrt(np.maximum(prior - explained, 0.0))
    return found
