"""What hypothesis draws: every op with attributes and shapes that fit it, and small random networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from archlang.ir import Builder, Graph, Node, Scope, verify
from archlang.ops import OPS, Op, ShapeError
from archlang.ops.activation import (
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Relu,
    Relu6,
    Rescale,
    Sigmoid,
    Softmax,
    Swish,
    Tanh,
)
from archlang.ops.attention import Attention, ClassToken, PosEmbed
from archlang.ops.conv import Conv2d, ConvTranspose2d, Linear, RadialBasis
from archlang.ops.join import Add, Concat, Mean, Mul
from archlang.ops.norm import BatchNorm, L2Norm, LayerNorm, LocalResponseNorm, Scale
from archlang.ops.pool import AvgPool2d, GlobalAvgPool, MaxPool2d
from archlang.ops.regularize import Dropout, DropPath
from archlang.ops.shape import Crop, Flatten, Input, Shift, Shuffle, Slice, Subsample, Take, Tokens, Upsample, Zero

Shape = tuple[int, ...]
Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class OneOp:
    """An op and the shapes of its inputs."""

    op: Op
    shapes: tuple[Shape, ...]

    def graph(self) -> Graph:
        builder = Builder("OneOp")
        inputs = [builder.input(*shape, name=f"x{i}") for i, shape in enumerate(self.shapes)]
        builder.output(builder.add(self.op, *inputs, name="op"))
        return verify(builder.build())


small = st.integers(1, 6)
sides = st.integers(1, 9)
images = st.tuples(small, sides, sides)
sequences = st.tuples(st.integers(1, 7), st.sampled_from([2, 4, 6, 8]))
vectors = st.tuples(st.integers(1, 9))
anything = st.one_of(images, sequences, vectors)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def convolutions(draw: Draw) -> OneOp:
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 3))
    groups = channels if draw(st.booleans()) else groups
    padding = draw(st.one_of(st.integers(0, 3).map(lambda p: (p, p, p, p)), st.tuples(*[st.integers(0, 3)] * 4)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    multiplier = draw(st.integers(1, 3))
    op = Conv2d(groups * multiplier, draw(pairs), draw(pairs), padding, dilation, groups, draw(st.booleans()))
    return OneOp(op, ((channels, draw(st.integers(3, 9)), draw(st.integers(3, 9))),))


@st.composite
def transposed_convolutions(draw: Draw) -> OneOp:
    kernel, height, width = draw(pairs), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    stride = draw(st.integers(1, 3))
    most = [((size - 1) * stride + k - 1) // 2 for size, k in zip((height, width), kernel, strict=True)]
    pad = (draw(st.integers(0, min(2, most[0]))), draw(st.integers(0, min(2, most[1]))))
    op = ConvTranspose2d(draw(st.integers(1, 4)), kernel, (stride, stride), pad, draw(st.booleans()))
    return OneOp(op, ((draw(st.integers(1, 4)), height, width),))


@st.composite
def crops(draw: Draw) -> OneOp:
    shape = draw(images)
    return OneOp(Crop(draw(st.integers(1, shape[1])), draw(st.integers(1, shape[2]))), (shape,))


@st.composite
def pools(draw: Draw, kind: type[Op]) -> OneOp:
    kernel = draw(pairs)
    rows, columns = st.integers(0, kernel[0] - 1), st.integers(0, kernel[1] - 1)
    padding = draw(st.one_of(st.just((0, 0, 0, 0)), st.tuples(rows, columns, rows, columns)))
    attributes = {"kernel": kernel, "stride": draw(pairs), "padding": padding, "ceil": draw(st.booleans())}
    if kind is AvgPool2d:
        attributes["count_pad"] = draw(st.booleans())
    return OneOp(kind(**attributes), ((draw(small), draw(st.integers(2, 9)), draw(st.integers(2, 9))),))


@st.composite
def joins(draw: Draw, kind: type[Op]) -> OneOp:
    shape, count = draw(anything), draw(st.integers(1, 4))
    shapes = [shape] * count
    if kind in (Add, Mul) and len(shape) == 3 and count > 1 and draw(st.booleans()):
        shapes[draw(st.integers(0, count - 1))] = (shape[0], 1, 1)
    if kind is Concat and len(shape) == 2 and draw(st.booleans()):
        return OneOp(Concat("tokens"), tuple((draw(small), shape[1]) for _ in shapes))
    if kind is Concat:
        shapes = [_with_channels(shape, draw(small)) for shape in shapes]
    if kind is Mean:
        return OneOp(Mean(draw(st.sampled_from([0.0, 0.2])), draw(st.sampled_from([0.0, 0.5]))), tuple(shapes))
    return OneOp(kind(), tuple(shapes))


def _with_channels(shape: Shape, channels: int) -> Shape:
    return (channels, *shape[1:]) if len(shape) == 3 else (*shape[:-1], channels)


def _channels(shape: Shape) -> int:
    return shape[0] if len(shape) == 3 else shape[-1]


@st.composite
def slices(draw: Draw) -> OneOp:
    shape = draw(anything)
    start = draw(st.integers(0, _channels(shape) - 1))
    return OneOp(Slice(start, draw(st.integers(start + 1, _channels(shape)))), (shape,))


@st.composite
def shuffles(draw: Draw) -> OneOp:
    groups, rest = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return OneOp(Shuffle(groups), ((groups * rest, draw(sides), draw(sides)),))


@st.composite
def parted(draw: Draw) -> OneOp:
    parts = draw(st.integers(1, 4))
    return OneOp(Tokens(parts), ((parts * draw(small), draw(sides), draw(sides)),))


@st.composite
def attentions(draw: Draw) -> OneOp:
    heads = draw(st.integers(1, 3))
    return OneOp(Attention(heads), ((draw(st.integers(1, 6)), heads * draw(st.integers(1, 4))),))


@st.composite
def shifts(draw: Draw) -> OneOp:
    shape = draw(images)
    return OneOp(Shift(draw(st.integers(0, min(shape[1:]) - 1))), (shape,))


@st.composite
def takes(draw: Draw) -> OneOp:
    shape = draw(sequences)
    return OneOp(Take(draw(st.integers(0, shape[0] - 1))), (shape,))


def single(ops: st.SearchStrategy[Op] | Op, shapes: st.SearchStrategy[Shape] = anything) -> st.SearchStrategy[OneOp]:
    strategy = st.just(ops) if isinstance(ops, Op) else ops
    return st.builds(lambda op, shape: OneOp(op, (shape,)), strategy, shapes)


features = st.integers(1, 6)
norm_shapes = st.one_of(images, sequences, st.tuples(st.integers(2, 9)))

ONE_OP: dict[type[Op], st.SearchStrategy[OneOp]] = {
    Conv2d: convolutions(),
    ConvTranspose2d: transposed_convolutions(),
    Crop: crops(),
    Linear: single(st.builds(Linear, features, st.booleans()), st.one_of(sequences, vectors)),
    RadialBasis: single(st.builds(RadialBasis, features), vectors),
    BatchNorm: single(st.builds(BatchNorm, st.sampled_from([1e-5, 1e-3]), st.sampled_from([0.1, 0.01]))),
    LayerNorm: single(st.builds(LayerNorm, st.sampled_from([1e-6, 1e-3])), norm_shapes),
    LocalResponseNorm: single(
        st.builds(LocalResponseNorm, st.integers(1, 6), st.sampled_from([1e-4, 0.3]), st.just(0.75), st.just(1.5)),
        images,
    ),
    L2Norm: single(st.builds(L2Norm, st.sampled_from([1e-12, 1e-6]))),
    Scale: single(Scale(0.3)),
    Relu: single(Relu()),
    Relu6: single(Relu6()),
    Rescale: single(st.builds(Rescale, st.sampled_from([0.17, -1.5]))),
    LeakyRelu: single(st.builds(LeakyRelu, st.sampled_from([0.01, 0.2]))),
    Sigmoid: single(Sigmoid()),
    Tanh: single(Tanh()),
    Swish: single(Swish()),
    HardSigmoid: single(HardSigmoid()),
    HardSwish: single(HardSwish()),
    Gelu: single(Gelu()),
    Softmax: single(Softmax()),
    MaxPool2d: pools(MaxPool2d),
    AvgPool2d: pools(AvgPool2d),
    GlobalAvgPool: single(GlobalAvgPool(), st.one_of(images, sequences)),
    Add: joins(Add),
    Mul: joins(Mul),
    Mean: joins(Mean),
    Concat: joins(Concat),
    Dropout: single(Dropout(0.4)),
    DropPath: single(DropPath(0.4)),
    Flatten: single(Flatten()),
    Slice: slices(),
    Shuffle: shuffles(),
    Upsample: single(st.builds(Upsample, st.integers(1, 4), st.sampled_from(["nearest", "bilinear"])), images),
    Subsample: single(st.builds(Subsample, st.integers(1, 3)), images),
    Shift: shifts(),
    Zero: single(st.builds(Zero, st.integers(1, 3)), images),
    Tokens: parted(),
    Take: takes(),
    Attention: attentions(),
    ClassToken: single(ClassToken(), sequences),
    PosEmbed: single(PosEmbed(), sequences),
}
"""Every op class -> how it is drawn."""

assert set(ONE_OP) == set(OPS.values()) - {OPS["input"]}


def fits(drawn: OneOp) -> bool:
    """Whether the op takes inputs of these shapes."""
    try:
        drawn.graph()
    except ShapeError:
        return False
    return True


def fitting(draw: Draw, shape: Shape) -> Op:
    """An op for one tensor of the shape. It may still not fit: the caller asks `infer`."""
    return draw(st.sampled_from(sorted(ONE_OP, key=lambda cls: cls.name)).flatmap(lambda cls: ONE_OP[cls])).op  # type: ignore[no-any-return]


@st.composite
def networks(draw: Draw) -> Graph:
    """A random network: up to 10 ops, each on values made before, every unread value an output."""
    builder = Builder("Random")
    for i in range(draw(st.integers(1, 2))):
        builder.input(draw(st.sampled_from([2, 4, 6])), 6, 6, name=f"x{i}")
    inputs = len(builder.nodes)
    for _ in range(draw(st.integers(1, 10))):
        _grow(draw, builder)
    read = {j for node in builder.nodes for j in node.inputs}
    for i in range(inputs, len(builder.nodes)):
        if i not in read:
            builder.output(i, name=f"y{i}")
    if not builder.outputs:
        builder.output(0)
    return verify(builder.build())


def _grow(draw: Draw, builder: Builder) -> None:
    """Add a drawn op where it fits the values that there are."""
    values = st.integers(0, len(builder.nodes) - 1)
    first = draw(values)
    op = fitting(draw, builder.type(first).shape)
    count = draw(st.integers(2, 3)) if op.arity is None else 1
    try:
        added = builder.add(op, first, *(draw(values) for _ in range(count - 1)))
    except ShapeError:
        return
    if builder.type(added).size > 4000:
        builder.nodes.pop()


@st.composite
def scoped_networks(draw: Draw) -> Graph:
    """A random network whose nodes are put into random scopes, which need not be contiguous, or convex."""
    graph = draw(networks())
    prefixes = st.sampled_from(["", "", "a.", "a.b.", "row.0.", "row.1.", "unit1.", "unit2.", "unit2.inner."])
    scopes = {
        "a": Scope("stage"),
        "row": Scope("repeat"),
        "row.0": Scope("block", "unit"),
        "row.1": Scope("block", "unit"),
        "unit1": Scope("block", "unit"),
        "unit2": Scope("block", "unit"),
    }
    nodes = tuple(
        node if node.op.name == "input" else replace(node, name=draw(prefixes) + node.name) for node in graph.nodes
    )
    return verify(replace(graph, nodes=nodes, scopes=scopes))


@dataclass(frozen=True)
class BlockArguments:
    """What an instance of the random block is called with."""

    c: int
    k: int
    s: int
    e: int
    act: Op
    project: bool


block_arguments = st.builds(
    BlockArguments,
    st.sampled_from([4, 8]),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 1, 2]),
    st.sampled_from([1, 2]),
    st.sampled_from([Relu(), Swish()]),
    st.booleans(),
)


@st.composite
def block_networks(draw: Draw) -> Graph:
    """Repeats of one inverted residual block with drawn arguments, so that instances share a class or do not."""
    builder, scopes = Builder("Blocks"), dict[str, Scope]()
    x = builder.input(draw(st.sampled_from([4, 8])), 8, 8)
    same_padding = draw(st.booleans())
    for row in range(draw(st.integers(1, 3))):
        arguments = draw(block_arguments)
        scopes[f"layer{row}"] = Scope("repeat")
        for i in range(draw(st.integers(1, 3))):
            used = replace(arguments, s=arguments.s if i == 0 else 1)
            x = _block(builder, scopes, x, f"layer{row}.{i}", used, same_padding)
    builder.output(x)
    return verify(replace(builder.build(), scopes=scopes))


def _block(
    builder: Builder, scopes: dict[str, Scope], x: int, path: str, arguments: BlockArguments, same_padding: bool
) -> int:
    c, k, s, mid = arguments.c, arguments.k, arguments.s, builder.type(x).channels * arguments.e
    called = (("c", c), ("k", k), ("s", s), ("e", arguments.e))
    scopes[path] = Scope("block", "unit", called, (("mid", mid),))
    padding = (0, 0, k - 1, k - 1) if same_padding and s > 1 else (k // 2,) * 4
    y = x
    if arguments.e != 1:
        y = builder.add(Conv2d(mid, (1, 1), bias=False), y, name=f"{path}.expand")
        y = builder.add(arguments.act, builder.add(BatchNorm(), y, name=f"{path}.expand_bn"), name=f"{path}.expand_act")
    y = builder.add(Conv2d(mid, (k, k), (s, s), padding, (1, 1), mid, False), y, name=f"{path}.filter")
    y = builder.add(arguments.act, y, name=f"{path}.filter_act")
    y = builder.add(Conv2d(c, (1, 1)), y, name=f"{path}.project")
    if builder.type(y) != builder.type(x) and arguments.project:
        scopes[f"{path}.downsample"] = Scope("sequence")
        x = builder.add(Conv2d(c, (1, 1), (s, s), bias=False), x, name=f"{path}.downsample.0")
        x = builder.add(BatchNorm(), x, name=f"{path}.downsample.1")
    if builder.type(y) == builder.type(x):
        y = builder.add(Add(), x, y, name=f"{path}.add1")
    return y


def resized(graph: Graph, shape: Shape) -> Graph:
    """The network on a smaller input."""
    nodes: list[Node] = []
    for node in graph.nodes:
        op = Input(shape) if isinstance(node.op, Input) else node.op
        nodes.append(replace(node, op=op, type=op.infer(*(nodes[i].type for i in node.inputs))))
    return verify(replace(graph, nodes=tuple(nodes)))
