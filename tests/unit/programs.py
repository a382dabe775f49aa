"""Random programs for property tests: trees drawn by hypothesis, printed to text."""

from __future__ import annotations

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
