"""Speed, measured beside peers in one run and printed as ratios: `python -m benchmarks`."""
