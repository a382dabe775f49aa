"""Random programs for property tests: trees drawn by hypothesis, printed to text.

PROGRAMS parse and need not mean anything. NETS respect the types of the language, so that most of them become networks.
`mutated` makes broken ones out of real ones.
"""

from __future__ import annotations

import re

from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "conv", "relu", "x1", "foo_bar", "Mbconv", "step", "once", "input_"])
NUMBERS = st.sampled_from(["0", "1", "3", "0.25", "1e3", "80ms", "6M", "20%", "128KiB"])


def _call(expressions: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arguments = st.one_of(expressions, st.builds("{}={}".format, NAMES, expressions))
    return st.builds(lambda f, args: f"{f}({', '.join(args)})", NAMES, st.lists(arguments, max_size=3))


_INFIX = st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "and", "or", "==", "<"])


def _extend(e: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        _call(e),
        st.builds("({})".format, e),
        st.builds(lambda items: f"[{', '.join(items)}]", st.lists(e, max_size=3)),
        st.builds(lambda items: f"{{{', '.join(items)}}}", st.lists(e, min_size=1, max_size=3)),
        st.builds("({}) {} ({})".format, e, _INFIX, e),
        st.builds("{} -> {}".format, NAMES, NAMES),
        st.builds("-({})".format, e),
        st.builds("not ({})".format, e),
        st.builds("each ({})".format, e),
        st.builds("({}) if ({}) else ({})".format, e, e, e),
        st.builds("({})..({}) step ({})".format, e, e, e),
        st.builds("[({}) for {} in ({})]".format, e, NAMES, e),
        st.builds("({})[{}]".format, e, e),
        st.builds("({}).{}".format, e, NAMES),
    )


EXPRESSIONS = st.recursive(
    st.one_of(
        NAMES, NUMBERS, st.sampled_from(["_", "3x8x8", '"a # b"', "-1", "2 ** -3", "1 + 2 * 3 - 4", "not a == b"])
    ),
    _extend,
    max_leaves=8,
)

_COMMENT = st.sampled_from(["", "", "", "  # why", "# tight", "   #"])
_SPACE = st.sampled_from(["", "", "\n", "\n\n\n", "# alone\n", "\n  # indented\n"])


def _lines(indent: int) -> st.SearchStrategy[str]:
    pad = " " * indent
    simple = st.one_of(
        st.builds("{}".format, EXPRESSIONS),
        st.builds("{} as {}".format, EXPRESSIONS, NAMES),
        st.builds("{} = {}".format, NAMES, EXPRESSIONS),
        st.builds("default {}".format, EXPRESSIONS),
        st.builds("expect {}".format, EXPRESSIONS),
        st.just("pass"),
        st.builds("output {} as {}".format, EXPRESSIONS, NAMES),
    )
    return st.builds(lambda space, text, comment: f"{space}{pad}{text}{comment}\n", _SPACE, simple, _COMMENT)


def _compound(indent: int, depth: int) -> st.SearchStrategy[str]:
    pad = " " * indent
    heads = st.one_of(
        st.builds("residual({}={})".format, NAMES, EXPRESSIONS),
        st.just("concat"),
        st.builds("for {} in {}".format, NAMES, EXPRESSIONS),
        st.builds("if {}".format, EXPRESSIONS),
        st.builds("stage {}".format, NAMES),
        st.builds("aux {}".format, NAMES),
    )
    body = suites(indent + 2, depth - 1)
    return st.builds(lambda head, comment, inner: f"{pad}{head}:{comment}\n{inner}", heads, _COMMENT, body)


def suites(indent: int, depth: int = 2) -> st.SearchStrategy[str]:
    part = _lines(indent) if depth == 0 else st.one_of(_lines(indent), _compound(indent, depth), _table(indent))
    return st.builds("".join, st.lists(part, min_size=1, max_size=3))


def _table(indent: int) -> st.SearchStrategy[str]:
    pad = " " * indent
    cells = st.one_of(NUMBERS, st.just("-"), st.builds("f({})".format, NUMBERS))
    row = st.builds(lambda a, b, comment: f"{pad}  | {a} |{b} |{comment}\n", cells, cells, _COMMENT)
    return st.builds(
        lambda name, rows: f"{pad}table {name}:\n{pad}  | c | k -> g |\n{''.join(rows)}",
        NAMES,
        st.lists(row, min_size=1, max_size=3),
    )


_ITEMS = st.one_of(
    st.builds("fn {}({}={}) = {}\n".format, NAMES, NAMES, NUMBERS, EXPRESSIONS),
    st.builds("choice {} = {}\n".format, NAMES, EXPRESSIONS),
    st.builds("{} = {}\n".format, NAMES, EXPRESSIONS),
    st.builds("block {}(c, k=3, s=1 once):\n{}".format, NAMES, suites(2)),
    st.builds("cell {}(x, y; c):\n{}".format, NAMES, suites(4)),
    st.builds("net {}:\n{}".format, NAMES, suites(2)),
    st.builds("net {} = {} with {}\n".format, NAMES, EXPRESSIONS, EXPRESSIONS),
    st.just("from std.mobile import mbconv, sepconv  # a library\n"),
    st.builds("search s over {}:\n  require {}\n  maximize accuracy\n".format, NAMES, EXPRESSIONS),
)

PROGRAMS = st.builds(
    lambda parts: "".join(space + item for space, item in parts), st.lists(st.tuples(_SPACE, _ITEMS), max_size=4)
)
"""Texts that parse. They need not mean anything."""


# ---- programs that mean something ------------------------------------------------------------------------------------

_ODD = st.sampled_from(
    [
        "0",
        "-1",
        "1.5",
        "2 ** 40",
        "9999999999",
        "none",
        '"same"',
        "[1, 2]",
        "pos",
        "relu",
        "{3, 5}",
        "true",
        "1e300",
        "_",
    ]
)
_CHANNELS = st.sampled_from(["4", "8", "W", "double(4)", "_.c", "_.c * 2", "max(4, _.c // 2)", "{4, 8}", "16.0"])
_KERNELS = st.sampled_from(["1", "3", "5", "1x3", "(3, 1)", "K", "{1, 3}"])


def _mostly(usual: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(range(30)).flatmap(lambda n: _ODD if n == 17 else usual)


_CONV = st.builds(
    "conv({}, {}{})".format,
    _mostly(_CHANNELS),
    _mostly(_KERNELS),
    st.sampled_from(
        [
            "",
            "",
            "",
            ", s=2",
            ", norm=bn",
            ", act=relu",
            ", pad=same",
            ", pad=1",
            ", bias=0",
            ", groups=1",
            ", dilation=2",
        ]
    ),
)
_PLAIN = st.sampled_from(
    [
        *(
            "relu",
            "swish",
            "bn",
            "skip",
            "sigmoid",
            "relu6",
            "hswish",
            "gelu",
            "dropout(0.1)",
            "dwconv(3)",
            "avgpool(3)",
        ),
        *("maxpool(3)", "maxpool(2, s=2)", "upsample(2)", "scale(1)", "lrn(5, 1e-4, 0.75, 1)", "layernorm", "zero"),
        *(
            "unit(8)",
            "unit(_.c)",
            "unit(8, k=5)",
            "unit(8, s=2)",
            "squeeze(4)",
            "EDGE",
            "leaky_relu(0.1)",
            "shuffle(2)",
        ),
        *("conv(_.c, 1) * 2", "unit(8, s=2) * 2", "(relu -> conv(8, 3)) * 2", "conv({4, 8}, 3) * {1, 2}"),
        *("unit(each {4, 8}) * 2", "drop_path(0.1)", "softmax", "conv(8)(k=3)", "tower(2, 8)", "subsample(2)"),
    ]
)
STEPS = st.one_of(_CONV, _PLAIN, st.builds("{} -> {}".format, _CONV, _PLAIN))

_COUNTS = st.sampled_from(["1", "2", "3", "{1, 2}", "0", "len([1, 2])"])
_CONDITIONS = st.sampled_from(["1", "0", "_.c == 8", "W > 4 and not 0", "_.h >= 4", "{0, 1}", "_.c % 2 == 0 or 1"])


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _group(head: str, body: list[str]) -> list[str]:
    return [f"{head}:", *_indented(body)]


def _statements(depth: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[list[str]]:
    one = st.one_of(STEPS.map(lambda step: [step]), _statement(depth)) if depth else STEPS.map(lambda step: [step])
    return st.lists(one, min_size=1, max_size=3).map(lambda parts: [line for part in parts for line in part])


def _statement(depth: int) -> st.SearchStrategy[list[str]]:
    body = st.deferred(lambda: _statements(depth - 1))
    branches = st.lists(STEPS, min_size=1, max_size=3)
    fitting = st.lists(
        st.sampled_from(["skip", "relu", "conv(_.c, 3)", "dwconv(3)", "conv(_.c, 1) -> bn"]), min_size=1, max_size=3
    )
    heads = st.sampled_from(
        ["residual", "residual(when=fits)", "residual(project=conv(8, 1))", "residual(drop=0.2 * pos)"]
    )
    return st.one_of(
        st.builds(_group, heads, body),
        st.builds(
            _group, st.sampled_from(["add", "mul", "mean", "concat", "add -> relu", "mean(drop_path=0.1)"]), fitting
        ),
        st.builds(_group, st.just("concat"), branches),
        st.builds(_group, st.just("branch"), body),
        st.builds(_group, st.builds("for i in 1..{}".format, _COUNTS), body),
        st.builds(
            _group,
            st.builds("for i, c in enumerate({})".format, st.sampled_from(["[4, 8]", "SIZES", "range(2)"])),
            body,
        ),
        st.builds(lambda test, yes, no: [*_group(f"if {test}", yes), *_group("else", no)], _CONDITIONS, body, body),
        st.builds(
            lambda name, inner: _group(f"stage {name}", inner), st.sampled_from(["a", "b", "head", "class"]), body
        ),
        st.builds(lambda step: [f"h = {step.split(' -> ')[0]}", "h"], STEPS),
        st.builds(lambda step: [f"{step} as e", "merge(_, e, 8)"], STEPS),
        st.just(["keep, go = split(_, 2)", "concat(keep, go)"]),
        st.just(["g = [conv(_, c, 1) for c in SIZES]", "concat(g)"]),
        st.builds(lambda step: [f"aux early: {step} -> gap -> linear(4)"], _CONV),
        st.builds(
            lambda settings: [f"default {settings}"],
            st.sampled_from(["conv(norm=bn, act=relu)", "conv(bias=0)", "unit(k=5)", "maxpool(s=2)"]),
        ),
        _rows(),
    )


def _rows() -> st.SearchStrategy[list[str]]:
    cell = _mostly(st.sampled_from(["4", "8", "-", "{4, 8}", "W"]))
    kernel = _mostly(st.sampled_from(["1", "3", "-", "K"]))
    count = _mostly(_COUNTS)
    plain = st.builds("| {} | {} | {} |".format, st.sampled_from(["4", "8", "W", "{4, 8}"]), kernel, count)
    named = st.builds("| {} | {} | {} |".format, st.sampled_from(["unit", "conv", "OP"]), cell, count)
    rows = st.lists(plain, min_size=1, max_size=3), st.lists(named, min_size=1, max_size=3)
    return st.one_of(
        rows[0].map(lambda found: ["table unit:", *_indented(["| c | k | n |", *found])]),
        rows[1].map(lambda found: ["table as part:", *_indented(["| op | c -> double | n |", *found])]),
    )


_PRELUDE = """\
from std.mobile import mbconv

W = 8
SIZES = [4, 8]
fn double(x) = 2 * x
choice K = {1, 3}
choice OP = {unit, conv}
choice EDGE = {skip, relu, conv(_.c, 3)}

block tower(n, c):
  conv(c, 3)
  if n > 1: tower(n - 1, c)

"""
_TAILS = st.sampled_from(
    [
        "gap -> linear(classes)",
        "gap -> linear(classes) -> softmax",
        "flatten -> linear(classes)",
        'rearrange("b c h w -> b (h w) c") -> layernorm -> attention(1) -> gap -> linear(classes)',
        "output _ as features",
        "relu as out",
    ]
)
_INPUTS = st.sampled_from(["3x8x8", "(3, 8, 8)", "1x9x7", "(3, W, W)", "8x16x16", "(4, {8, 12}, 8)"])
_MORE = st.sampled_from(
    [
        "",
        "",
        "\nvariants A:\n  | name | classes |\n  | few  |       2 |\n  | many |      20 |\n",
        "\nnet B = A(classes=3) with conv(act=swish)\n",
        "\nnet B:\n  input 3x8x8\n  A\n",
        "\nnet B:\n  input a (3, 8, 8)\n  input b (3, 8, 8)\n  a + b -> conv(8, 3)\n  output _ as y, a as x\n",
        "\nexpect A.params > 0\n",
        "\nsearch s over A:\n  require params <= 6M\n  maximize accuracy\n  minimize macs\n",
        "\nfn compound(phi) = A(classes=ceil(2 ** phi))\n\nnet C = compound(2)\n",
    ]
)


def _definition(head: str, body: list[str]) -> str:
    return "\n".join(_group(head, body)) + "\n\n"


NETS = st.builds(
    lambda unit, squeeze, merge, shape, body, tail, more: (
        _PRELUDE
        + _definition("block unit(c, k=3, s=1 once)", ["conv(c, k, s=s)", *unit])
        + _definition(
            "block squeeze(c)", ["mul:", "  skip", "  gap -> conv(c, 1) -> conv(x.c, 1) -> sigmoid", *squeeze]
        )
        + _definition("cell merge(near, far; c)", ["concat(near, far) -> conv(c, 1)", *merge])
        + _definition("net A(classes=4)", [f"input {shape}", *body, tail]).rstrip("\n")
        + "\n"
        + more
    ),
    st.lists(st.sampled_from(["relu", "bn", "conv(c, 1)", "residual: relu -> conv(_.c, 3)"]), max_size=2),
    st.lists(st.sampled_from(["relu", "bn"]), max_size=1),
    st.lists(st.sampled_from(["relu", "unit(c)"]), max_size=1),
    _INPUTS,
    _statements(2),
    _TAILS,
    _MORE,
)
"""Programs most of which are networks or spaces of networks."""


# ---- real programs, broken -------------------------------------------------------------------------------------------

_TOKENS = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|[-+*/<>=!.]+|\s+|.", re.DOTALL)
_WORDS = st.sampled_from(
    [
        *(
            "",
            "1",
            "0",
            "-1",
            "1e400",
            "9" * 30,
            "10 ** 10",
            "2 ** 63",
            "10000",
            "conv",
            "relu",
            "_",
            "x",
            "pos",
            "none",
        ),
        *("(", ")", "[", "]", "{", "}", ",", ":", "=", "->", "|", "**", "..", "each", "if", "else", "for", "in", "as"),
        *(
            "\n",
            "  ",
            "\n  ",
            "\n    ",
            '"',
            "#",
            "net",
            "block",
            "choice",
            "fn",
            "table",
            "{1, 2}",
            "[x for x in 1..3]",
        ),
    ]
)


def _mutation(text: str) -> st.SearchStrategy[str]:
    tokens, lines = _TOKENS.findall(text) or [""], text.splitlines(keepends=True) or [""]
    token, line = st.integers(0, len(tokens) - 1), st.integers(0, len(lines) - 1)
    return st.one_of(
        st.builds(lambda i: "".join(tokens[:i] + tokens[i + 1 :]), token),
        st.builds(lambda i: "".join(tokens[: i + 1] + tokens[i:]), token),
        st.builds(lambda i, word: "".join([*tokens[:i], word, *tokens[i + 1 :]]), token, _WORDS),
        st.builds(lambda i, word: "".join([*tokens[:i], word, *tokens[i:]]), token, _WORDS),
        st.builds(lambda i, j: "".join(_swapped(tokens, i, j)), token, token),
        st.builds(lambda i: "".join(lines[:i] + lines[i + 1 :]), line),
        st.builds(lambda i: "".join(lines[: i + 1] + lines[i:]), line),
        st.builds(lambda i, j: "".join(_swapped(lines, i, j)), line, line),
        st.builds(
            lambda i, indent: "".join([*lines[:i], indent + lines[i].lstrip(" "), *lines[i + 1 :]]),
            line,
            st.sampled_from(["", " ", "  ", "    ", "      ", "\t"]),
        ),
    )


def _swapped(parts: list[str], i: int, j: int) -> list[str]:
    parts = list(parts)
    parts[i], parts[j] = parts[j], parts[i]
    return parts


def mutated(texts: list[str]) -> st.SearchStrategy[str]:
    """One of the texts with up to four changes: of tokens, lines, indentation."""
    return (
        st.sampled_from(texts)
        .flatmap(_mutation)
        .flatmap(lambda t: st.one_of(st.just(t), _mutation(t).flatmap(_mutation)))
    )
