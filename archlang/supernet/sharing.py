"""Which part of a shared array a sub-network uses.

A shared array is the largest of every dimension that some form of its site has. A form takes the first of the channels
and features (slimmable networks, arXiv:1812.08928), and the centre of a kernel (once-for-all, arXiv:1908.09791). Of
attention it takes the first heads, and of each head the first features; of groups of channels the first groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from archlang.errors import ArchError, Diagnostic
from archlang.ir.types import TensorType
from archlang.ops.attention import Attention, PosEmbed
from archlang.ops.base import Op, Param
from archlang.ops.conv import Conv2d, ConvTranspose2d
from archlang.ops.shape import Flatten
from archlang.records import record

if TYPE_CHECKING:
    from archlang.supernet.union import Site, Variant

Types = Sequence[TensorType]


@record(frozen=True)
class Axis:
    """A dimension of an array. sizes: the dimensions that it stands for, the outermost first: the rows of attention's
    `qkv` are (3, heads, features of a head). centre: whether the middle is shared, and not the beginning."""

    sizes: tuple[int, ...]
    centre: bool = False

    @property
    def size(self) -> int:
        return prod(self.sizes)

    def parts(self, of: Axis) -> list[slice]:
        """Where this lies within a larger axis."""
        starts = [(whole - size) // 2 if self.centre else 0 for whole, size in zip(of.sizes, self.sizes, strict=True)]
        return [slice(start, start + size) for start, size in zip(starts, self.sizes, strict=True)]


Layout = tuple[Axis, ...]


def layout(op: Op, inputs: Types, local: str) -> Layout:
    """The dimensions of one of an op's arrays."""
    found = _LAYOUTS.get(type(op), _plain)(op, inputs, local)
    assert tuple(axis.size for axis in found) == op.params(*inputs)[local].shape
    return found


def _plain(op: Op, inputs: Types, local: str) -> Layout:
    return tuple([Axis((size,)) for size in op.params(*inputs)[local].shape])


def _convolution(op: Conv2d, inputs: Types, local: str) -> Layout:
    rows = Axis((op.groups, op.channels // op.groups))
    if local != "weight":
        return (rows,)
    height, width = op.kernel
    return rows, Axis((inputs[0].channels // op.groups,)), Axis((height,), True), Axis((width,), True)


def _transposed(op: ConvTranspose2d, inputs: Types, local: str) -> Layout:
    channels = Axis((op.channels,))
    height, width = op.kernel
    if local != "weight":
        return (channels,)
    return Axis((inputs[0].channels,)), channels, Axis((height,), True), Axis((width,), True)


def _attention(op: Attention, inputs: Types, local: str) -> Layout:
    features = inputs[0].channels
    heads = (op.heads, features // op.heads)
    layouts = {
        "qkv.weight": (Axis((3, *heads)), Axis((features,))),
        "qkv.bias": (Axis((3, *heads)),),
        "proj.weight": (Axis((features,)), Axis(heads)),
        "proj.bias": (Axis((features,)),),
    }
    return layouts[local]


_LAYOUTS: dict[type[Op], Callable[[Any, Types, str], Layout]] = {
    Conv2d: _convolution,
    ConvTranspose2d: _transposed,
    Attention: _attention,
}


def shared_layouts(site: Site) -> dict[str, Layout]:
    """The layouts of the shared arrays of a site: the largest of every dimension."""
    found: dict[str, Layout] = {}
    for variant in site.variants:
        for local in variant.op.params(*variant.inputs):
            new = layout(variant.op, variant.inputs, local)
            found[local] = tuple(map(_larger, found[local], new)) if local in found else new
    return found


def _larger(a: Axis, b: Axis) -> Axis:
    return Axis(tuple(map(max, a.sizes, b.sizes)), a.centre)


def shared(site: Site) -> dict[str, Param]:
    """The shared arrays of a site by their local names, initialised as those of its largest form."""
    inits: dict[str, Param] = {}
    for variant in sorted(site.variants, key=_size):
        inits.update(variant.op.params(*variant.inputs))
    layouts = shared_layouts(site)
    return {
        local: Param(tuple([axis.size for axis in layouts[local]]), param.init, param.trainable)
        for local, param in inits.items()
    }


def _size(variant: Variant) -> int:
    return sum(prod(param.shape) for param in variant.op.params(*variant.inputs).values())


def part(array: Any, of: Layout, wanted: Layout) -> Any:
    """The part of a shared array (of numpy or PyTorch) that has the layout `wanted`: a view, where one will do."""
    if of == wanted:
        return array
    where = tuple([each for whole, axis in zip(of, wanted, strict=True) for each in axis.parts(whole)])
    if len(where) == len(of):
        return array[where]
    split = array.reshape([size for axis in of for size in axis.sizes])
    return split[where].reshape([axis.size for axis in wanted])


# ---- what cannot share -----------------------------------------------------------------------------------------------


def check(sites: Iterable[Site]) -> None:
    """Raise ArchError with every site whose forms cannot share their weights, where it stands in the source."""
    found = {(error.code, error.span): error for site in sites for error in _problems(site)}
    if found:
        raise ArchError(list(found.values()))


def _problems(site: Site) -> list[Diagnostic]:
    check = _CHECKS.get(site.op)
    problem = check(site) if check and len(site.variants) > 1 else None
    return [problem] if problem else []


def _check_convolution(site: Site) -> Diagnostic | None:
    return _groups(site) or _kernels(site)


def _groups(site: Site) -> Diagnostic | None:
    """Groups share where they are equally wide, so that a narrower network has fewer of them."""
    forms = {_widths(variant) for variant in site.variants}
    if len({form[1:] for form in forms}) == 1 or all(form[0] == 1 for form in forms):
        return None
    (groups, inward, out), (other, other_in, other_out) = sorted(forms)[0], sorted(forms)[-1]
    seen = (
        f"{groups} groups of {inward} to {out} channels in one network, {other} of {other_in} to {other_out} in another"
    )
    help_ = "let width and groups follow the input, such as `conv(_.c, 3, groups=_.c // 16)`, or give it one width"
    return Diagnostic(
        "E1302", f"convolutions of groups of different widths cannot share weights: {seen}", site.span, help=help_
    )


def _widths(variant: Variant) -> tuple[int, int, int]:
    """How many groups, and the channels of each, in and out."""
    op = variant.op
    assert isinstance(op, Conv2d)
    return op.groups, variant.inputs[0].channels // op.groups, op.channels // op.groups


def _kernels(site: Site) -> Diagnostic | None:
    """An odd kernel has no centre of an even size."""
    ops = [variant.op for variant in site.variants]
    kernels = sorted({op.kernel for op in ops if isinstance(op, Conv2d | ConvTranspose2d)})
    if all(len({kernel[axis] % 2 for kernel in kernels}) == 1 for axis in (0, 1)):
        return None
    seen = " and ".join(f"{height}x{width}" for height, width in (kernels[0], kernels[-1]))
    help_ = "choose among odd kernels, or among even ones; or make them two steps: `{conv(c, 2), conv(c, 3)}`"
    return Diagnostic("E1303", f"kernels of {seen} have no common centre", site.span, help=help_)


def _check_flatten(site: Site) -> Diagnostic | None:
    """Flattened, an image is a run of positions for each channel, and a sequence a run of features for each token."""
    shapes = sorted({variant.inputs[0].shape for variant in site.variants})
    if len({shape[1:] for shape in shapes}) == 1:
        return None
    seen = " and ".join("x".join(map(str, shape)) for shape in (shapes[0], shapes[-1]))
    help_ = "write `gap` before it, or let one size come in: the choice of another resolution changes it"
    return Diagnostic("E1304", f"what reads {seen}, flattened, cannot share weights", site.span, help=help_)


def _check_positions(site: Site) -> Diagnostic | None:
    counts = sorted({variant.inputs[0].shape[0] for variant in site.variants})
    if len(counts) == 1:
        return None
    message = f"the positions of {counts[0]} and of {counts[-1]} tokens cannot share weights"
    return Diagnostic("E1305", message, site.span, help="let the number of tokens be the same in all candidates")


_CHECKS: dict[type[Op], Callable[[Site], Diagnostic | None]] = {
    Conv2d: _check_convolution,
    ConvTranspose2d: _kernels,
    Flatten: _check_flatten,
    PosEmbed: _check_positions,
}
