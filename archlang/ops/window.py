"""Sliding windows along an axis: whether explicit padding is what TensorFlow calls SAME or VALID."""

from __future__ import annotations

from archlang.records import record


@record(frozen=True)
class Window:
    """A window sliding along one axis. before: padding in front of the first element; out: how many times it stops."""

    size: int
    kernel: int
    stride: int
    before: int
    out: int
    dilation: int = 1

    @property
    def total(self) -> int:
        """Padding that the windows reach into, before and after together; negative where they leave elements unread."""
        return (self.out - 1) * self.stride + self.dilation * (self.kernel - 1) + 1 - self.size

    @property
    def after(self) -> int:
        """Padding that the last window reaches into, whatever the network asked for."""
        return max(0, self.total - self.before)

    @property
    def is_same(self) -> bool:
        return self.out == -(-self.size // self.stride) and self.before == max(0, self.total) // 2

    @property
    def is_valid(self) -> bool:
        return self.before == 0 and self.total <= 0

    def padded(self, before: int, after: int) -> Window:
        """The same windows over an input that has been padded by hand."""
        return Window(
            self.size + before + after, self.kernel, self.stride, self.before - before, self.out, self.dilation
        )

    def counts(self, low: int, high: int) -> list[int]:
        """How many of the positions `low` to `high` (exclusive, 0 being the first element) each window covers."""
        starts = [i * self.stride - self.before for i in range(self.out)]
        return [min(start + self.kernel, high) - max(start, low) for start in starts]


def windows(
    size: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    out: tuple[int, ...],
    dilation: tuple[int, int] = (1, 1),
) -> tuple[Window, Window]:
    """The windows along the rows and along the columns. size, out: (height, width); padding: top, left, bottom,
    right."""
    top, left, _, _ = padding
    return (
        Window(size[0], kernel[0], stride[0], top, out[0], dilation[0]),
        Window(size[1], kernel[1], stride[1], left, out[1], dilation[1]),
    )


def has_name(rows: Window, columns: Window) -> bool:
    """Whether the padding is VALID or SAME along both axes; elsewhere TFLite pads the input by an op of its own."""
    return (rows.is_valid and columns.is_valid) or (rows.is_same and columns.is_same)
