"""What the backends that write Python source share: which regions of a Graph become classes, which of their arguments
parameters, how lines are laid out. No framework is known here; each backend brings its own layers."""
