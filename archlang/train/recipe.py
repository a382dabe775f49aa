"""How a network is trained: the settings, and their text form."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_type_hints

from archlang import arguments
from archlang.errors import fail
from archlang.train.augment import names_of


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum, a linear warm-up, then a cosine decay to zero, where nothing else is asked for.

    lr: the peak, for batches of `batch_size`. warmup: share of all steps. label_smoothing: arXiv:1512.00567.
    schedule: what the rate does after the warm-up: `cosine` or `linear` to zero, `step`: a tenth at half of the
    training and again at three quarters, `constant`. optimizer: `sgd`, or `adamw` (arXiv:1711.05101).
    weight_decay: on weights of convolutions and linear layers, not on norms and biases. clip: the largest norm of all
    gradients together; 0 is any. ema: decay of an average of the weights that replaces them at the end; 0 is none.
    augment: what changes the images, joined by `+`: `flip`, `crop`, `cutout`, `affine` (see `augment`).
    precision: of the activations and products, by autocast; the weights stay float32. `float16` is for CUDA.
    patience: end after so many epochs without a smaller loss on a tenth of the training images, which is held out for
    that, and take the best epoch's weights; 0 is never.
    device: `cpu`, `cuda`, or `auto`: CUDA where PyTorch finds it.
    """

    epochs: int = 10
    batch_size: int = 32
    lr: float = 0.1
    seed: int = 0
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    momentum: float = 0.9
    warmup: float = 0.1
    label_smoothing: float = 0.1
    weight_decay: float = 5e-4
    ema: float = 0.0
    schedule: Literal["cosine", "linear", "step", "constant"] = "cosine"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    augment: str = ""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    patience: int = 0
    clip: float = 0.0

    def with_text(self, text: str) -> Recipe:
        """The recipe with what `epochs=5, schedule=step` says. Raises ArchError E1103 where it cannot be."""
        given = arguments.keywords(text, "E1103")
        return replace(self, **arguments.fitted(given, get_type_hints(Recipe), "E1103", "a training"))


_WHOLE = {"epochs": 1, "batch_size": 2, "patience": 0, "seed": 0}
"""The least value of each setting that is a whole number."""

_SHARES = ("momentum", "warmup", "label_smoothing", "ema")


def check_recipe(recipe: Recipe) -> None:
    """Raise ArchError E1103 where the recipe cannot be followed."""
    for name, least in _WHOLE.items():
        _need(getattr(recipe, name) >= least, recipe, name, f"at least {least}")
    _need(0 < recipe.lr < math.inf, recipe, "lr", "above 0")
    for name in _SHARES:
        _need(0 <= getattr(recipe, name) < 1, recipe, name, "from 0 to less than 1")
    for name in ("weight_decay", "clip"):
        _need(0 <= getattr(recipe, name) < math.inf, recipe, name, "at least 0")
    arguments.fitted(_words(recipe), get_type_hints(Recipe), "E1103", "a training")
    names_of(recipe.augment)


def _words(recipe: Recipe) -> dict[str, Any]:
    return {f.name: value for f in fields(recipe) if isinstance(value := getattr(recipe, f.name), str)}


def _need(holds: bool, recipe: Recipe, name: str, range: str) -> None:
    if not holds:
        raise fail("E1103", f"`{name}` of a training cannot be `{getattr(recipe, name)}`", help=f"it is {range}")
