"""Types of values: what flows between the ops."""

from __future__ import annotations

from math import prod

from archlang.records import record


@record(frozen=True, slots=True)
class TensorType:
    """A float tensor without its batch dimension, channels first.

    Rank 3 is an image (C, H, W), rank 2 a sequence (N tokens, D features), rank 1 a vector (D).
    """

    shape: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements for batch 1."""
        return prod(self.shape)

    @property
    def channels(self) -> int:
        """Channels of an image, features of a sequence or a vector."""
        return self.shape[0] if len(self.shape) == 3 else self.shape[-1]

    @property
    def height(self) -> int:
        return self.shape[1]

    @property
    def width(self) -> int:
        return self.shape[2]

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    @property
    def is_sequence(self) -> bool:
        return len(self.shape) == 2

    @property
    def is_vector(self) -> bool:
        return len(self.shape) == 1

    def __str__(self) -> str:
        return "x".join(map(str, self.shape))
