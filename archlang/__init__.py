"""archlang: a compiler-style language for neural network architectures."""
