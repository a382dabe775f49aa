"""Networks of searched cells, built from the lists in which their releases describe them.

A reference written apart from the specs, for nets that no installed library has: a cell is a list of pairs
(operation, index of the value that it reads), two for each node, and the indices of the nodes that are concatenated.
The rules are those of TensorFlow's slim (NASNet, PNASNet), of the DARTS release (also for AmoebaNet-A), of torchgpipe
(AmoebaNet-D) and of the ENAS release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Genes = tuple[tuple[str, int], ...]


def genes(text: str) -> Genes:
    """`sep5 0, avg3 1`: an operation and what it reads."""
    parts = [part.split() for part in text.split(",")]
    return tuple((name, int(index)) for name, index in parts)


@dataclass(frozen=True)
class Family:
    """The lists of a family and the rules of its release.

    normal, reduction: the two cells. concat: the nodes that each gives on. cur: the index of the last value (0 or 1;
    the other is the value before it). same: TensorFlow's padding. skip: the cell after a reduction reads the value
    before the reduction's own inputs. twice: cur passes two 1x1 convolutions. prev_first: which of the two is
    projected first.
    """

    normal: Genes
    reduction: Genes
    concat: tuple[tuple[int, ...], tuple[int, ...]]
    cur: int = 1
    same: bool = False
    eps: float = 1e-5
    skip: bool = False
    twice: bool = False
    prev_first: bool = True

    def bn(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, self.eps)

    def conv(self, inputs: int, c: int, k: int = 1, s: int = 1, dilation: int = 1, groups: int = 1) -> nn.Module:
        padding = 0 if self.same else dilation * (k - 1) // 2
        conv = nn.Conv2d(inputs, c, k, s, padding, dilation, groups, bias=False)
        return nn.Sequential(Same(k, s, dilation), conv) if self.same else conv

    def relu_conv_bn(self, inputs: int, c: int, k: int = 1, s: int = 1) -> nn.Module:
        return nn.Sequential(nn.ReLU(), self.conv(inputs, c, k, s), self.bn(c))

    def separable(self, inputs: int, c: int, k: int, s: int, dilation: int = 1) -> nn.Module:
        depthwise = self.conv(inputs, inputs, k, s, dilation, groups=inputs)
        return nn.Sequential(nn.ReLU(), depthwise, nn.Conv2d(inputs, c, 1, bias=False), self.bn(c))


class Same(nn.Module):
    """TensorFlow's padding for a window."""

    def __init__(self, k: int, s: int, dilation: int = 1, value: float = 0.0) -> None:
        super().__init__()
        self.span, self.s, self.value = dilation * (k - 1) + 1, s, value

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = ((-(-n // self.s) - 1) * self.s + self.span - n for n in x.shape[2:])
        rows, columns = max(rows, 0), max(columns, 0)
        pad = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return F.pad(x, pad, value=self.value)


class AveragePool(nn.Module):
    """Mean over a window, padding left out."""

    def __init__(self, s: int, same: bool) -> None:
        super().__init__()
        self.s = s
        self.pad = Same(3, s) if same else nn.ZeroPad2d(1)

    def forward(self, x: Tensor) -> Tensor:
        inside = F.avg_pool2d(self.pad(torch.ones_like(x)), 3, self.s)
        return F.avg_pool2d(self.pad(x), 3, self.s) / inside


class Halve(nn.Module):
    """Factorised reduction: every second pixel, and those between them."""

    def __init__(self, family: Family, inputs: int, c: int, relu: bool = True) -> None:
        super().__init__()
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.even = nn.Conv2d(inputs, c // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, c - c // 2, 1, stride=2, bias=False)
        self.bn = family.bn(c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.bn(torch.cat([self.even(x), self.odd(shifted)], 1))  # type: ignore[no-any-return]


def _sep(k: int) -> Callable[[Family, int, int, int], nn.Module]:
    def build(family: Family, inputs: int, c: int, s: int) -> nn.Module:
        return nn.Sequential(family.separable(inputs, c, k, s), family.separable(c, c, k, 1))

    return build


def _max(k: int) -> Callable[[Family, int, int, int], nn.Module]:
    def build(family: Family, inputs: int, c: int, s: int) -> nn.Module:
        same = nn.Sequential(Same(k, s, value=float("-inf")), nn.MaxPool2d(k, s))
        pool = same if family.same else nn.MaxPool2d(k, s, k // 2 if k % 2 else 0)
        return _as_wide(family, pool, inputs, c)

    return build


def _avg(family: Family, inputs: int, c: int, s: int) -> nn.Module:
    return _as_wide(family, AveragePool(s, family.same), inputs, c)


def _as_wide(family: Family, pool: nn.Module, inputs: int, c: int) -> nn.Module:
    """slim: a 1x1 convolution behind a pool that reads another number of channels."""
    return pool if inputs == c else nn.Sequential(pool, family.conv(inputs, c), family.bn(c))


def _skip(family: Family, inputs: int, c: int, s: int) -> nn.Module:
    if s > 1:
        return Halve(family, inputs, c, relu=not family.twice)
    return nn.Identity() if inputs == c else family.relu_conv_bn(inputs, c)


def _none(family: Family, inputs: int, c: int, s: int) -> nn.Module:
    """slim's `none`: a strided 1x1 convolution where the size or the channels change."""
    return nn.Identity() if s == 1 and inputs == c else family.relu_conv_bn(inputs, c, 1, s)


def _narrow(family: Family, c: int, middle: Sequence[nn.Module]) -> nn.Module:
    """Convolutions at a quarter of the channels, between two 1x1."""
    convs = [nn.Conv2d(c, c // 4, 1, bias=False), *middle, nn.Conv2d(c // 4, c, 1, bias=False)]
    norms = [family.bn(c // 4) for _ in convs[:-1]] + [family.bn(c)]
    return nn.Sequential(*(nn.Sequential(nn.ReLU(), conv, bn) for conv, bn in zip(convs, norms, strict=True)))


def _narrow7(family: Family, inputs: int, c: int, s: int) -> nn.Module:
    across = nn.Conv2d(c // 4, c // 4, (1, 7), (1, s), (0, 3), bias=False)
    down = nn.Conv2d(c // 4, c // 4, (7, 1), (s, 1), (3, 0), bias=False)
    return _narrow(family, c, [across, down])


def _narrow3(family: Family, inputs: int, c: int, s: int) -> nn.Module:
    return _narrow(family, c, [nn.Conv2d(c // 4, c // 4, 3, s, 1, bias=False)])


def _conv7(family: Family, inputs: int, c: int, s: int) -> nn.Module:
    across = nn.Conv2d(c, c, (1, 7), (1, s), (0, 3), bias=False)
    down = nn.Conv2d(c, c, (7, 1), (s, 1), (3, 0), bias=False)
    return nn.Sequential(nn.ReLU(), across, down, family.bn(c))


OPERATIONS: dict[str, Callable[[Family, int, int, int], nn.Module]] = {
    "sep3": _sep(3),
    "sep5": _sep(5),
    "sep7": _sep(7),
    "dil3": lambda family, inputs, c, s: family.separable(inputs, c, 3, s, dilation=2),
    "max2": _max(2),
    "max3": _max(3),
    "avg3": _avg,
    "skip": _skip,
    "none": _none,
    "conv1": lambda family, inputs, c, s: family.relu_conv_bn(inputs, c, 1, s),
    "narrow3": _narrow3,
    "narrow7": _narrow7,
    "conv7": _conv7,
}


@dataclass(frozen=True)
class Value:
    """What is known of a value before it is there. halved: how often its size was halved."""

    channels: int
    halved: int


class Cell(nn.Module):
    """One cell. prev None: nothing came before cur, which is then read as it is."""

    def __init__(self, family: Family, reduces: bool, c: int, cur: Value, prev: Value | None) -> None:
        super().__init__()
        self.family, self.reduces = family, reduces
        self.project_cur = family.relu_conv_bn(cur.channels, c)
        if family.twice:
            self.project_cur = nn.Sequential(self.project_cur, family.relu_conv_bn(c, c))
        self.project_prev = self._fit(family, c, cur, prev)
        widths = [c if prev else cur.channels, c]
        widths = widths if family.cur else widths[::-1]
        found = family.reduction if reduces else family.normal
        widths += [c] * (len(found) // 2)
        self.edges = nn.ModuleList(
            OPERATIONS[name](family, widths[i], c, 2 if reduces and i < 2 else 1) for name, i in found
        )
        self.reads = [i for _, i in found]
        self.concat = family.concat[reduces]
        self.last = nn.ModuleList(
            nn.Identity() if widths[i] == c else nn.Sequential(family.conv(widths[i], c), family.bn(c))
            for i in self.concat
        )

    @staticmethod
    def _fit(family: Family, c: int, cur: Value, prev: Value | None) -> nn.Module:
        if prev is None:
            return nn.Identity()
        return Halve(family, prev.channels, c) if prev.halved < cur.halved else family.relu_conv_bn(prev.channels, c)

    def forward(self, cur: Tensor, prev: Tensor) -> Tensor:
        if self.family.prev_first:
            prev, cur = self.project_prev(prev), self.project_cur(cur)
        else:
            cur, prev = self.project_cur(cur), self.project_prev(prev)
        values = [prev, cur] if self.family.cur else [cur, prev]
        for i in range(0, len(self.reads), 2):
            left, right = (self.edges[j](values[self.reads[j]]) for j in (i, i + 1))
            values.append(left + right)
        return torch.cat([last(values[i]) for last, i in zip(self.last, self.concat, strict=True)], 1)


@dataclass(frozen=True)
class Plan:
    """stem: the stages that make the first values, one or two. given: what they give. cells: (reduces, channels).
    alone: the first cell has nothing before its input. classes, bias: of the classifier. relu: before the pooling.
    kept: how many reductions belong to the stem, where the family's `skip` does not hold."""

    stem: Callable[[], Sequence[nn.Module]]
    given: Sequence[Value]
    cells: Sequence[tuple[bool, int]]
    classes: int
    alone: bool = False
    bias: bool = True
    relu: bool = False
    kept: int = 0


class CellNet(nn.Module):
    """A network of cells."""

    def __init__(self, family: Family, plan: Plan) -> None:
        super().__init__()
        self.stem = nn.ModuleList(plan.stem())
        self.cells = nn.ModuleList()
        self.stays: list[bool] = []
        cur, prev = plan.given[-1], None if plan.alone else plan.given[0]
        for i, (reduces, c) in enumerate(plan.cells):
            self.cells.append(Cell(family, reduces, c, cur, prev))
            made = Value(c * len(family.concat[reduces]), cur.halved + reduces)
            self.stays.append(family.skip and reduces and i >= plan.kept)
            prev, cur = (prev if self.stays[-1] else cur), made
        self.relu = nn.ReLU() if plan.relu else nn.Identity()
        self.classifier = nn.Linear(cur.channels, plan.classes, plan.bias)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for stage in self.stem:
            values.append(stage(values[-1]))
        prev, cur = values[-2] if len(self.stem) > 1 else values[-1], values[-1]
        for cell, stays in zip(self.cells, self.stays, strict=True):
            made = cell(cur, prev)
            prev, cur = (prev if stays else cur), made
        return self.classifier(self.relu(cur).mean((2, 3)))  # type: ignore[no-any-return]


def thirds(layers: int, c: int) -> list[tuple[bool, int]]:
    """The DARTS release: the cells at one and at two thirds reduce and double the channels."""
    ends = (layers // 3, 2 * layers // 3)
    return [(i in ends, c * 2 ** sum(i >= end for end in ends)) for i in range(layers)]


def between(n: int, c: int) -> list[tuple[bool, int]]:
    """NASNet: n normal cells, a reduction, n, a reduction, n."""
    widths = [c, 2 * c, 4 * c]
    found: list[tuple[bool, int]] = [(False, c)] * n
    for _, wider in pairwise(widths):
        found += [(True, wider), *[(False, wider)] * n]
    return found


class MacroNet(nn.Module):
    """ENAS' macro net from its string: for each layer the operation (0, 1: 3x3; 2, 3: 5x5) and what it reads."""

    def __init__(self, arcs: Sequence[Sequence[int]], c: int, classes: int) -> None:
        super().__init__()
        rules = Family((), (), ((), ()))
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, padding=1, bias=False), rules.bn(c))
        self.layers, self.merges, self.pools = nn.ModuleList(), nn.ModuleDict(), nn.ModuleDict()
        self.skips = [arc[1:] for arc in arcs]
        third = len(arcs) // 3
        for i, arc in enumerate(arcs):
            kernel = (3, 3, 5, 5)[arc[0]]
            self.layers.append(nn.Sequential(rules.relu_conv_bn(c, c), rules.relu_conv_bn(c, c, kernel)))
            if i > 0:
                self.merges[str(i)] = rules.relu_conv_bn((sum(arc[1:]) + 1) * c, c)
            if i in (third - 1, 2 * third - 1):
                pools = [Halve(rules, c, 2 * c, relu=False) for _ in range(i + 2)]
                self.pools[str(i)], c = nn.ModuleList(pools), 2 * c
        self.classifier = nn.Linear(c, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        values = [self.stem(x)]
        for i, (layer, skips) in enumerate(zip(self.layers, self.skips, strict=True)):
            made = layer(values[-1])
            if i > 0:
                read = [value for value, taken in zip(values, skips, strict=False) if taken]
                made = self.merges[str(i)](torch.cat([*read, made], 1))
            values.append(made)
            if str(i) in self.pools:
                pools = self.pools[str(i)]
                assert isinstance(pools, nn.ModuleList)
                values = [pool(value) for pool, value in zip(pools, values, strict=True)]
        return self.classifier(values[-1].mean((2, 3)))  # type: ignore[no-any-return]
