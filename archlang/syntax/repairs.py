"""What a person may have forgotten or confused in a line: the changes that are tried, in this order."""

from __future__ import annotations

from typing import NamedTuple

Signs = tuple[tuple[str, str], ...]


class Repair(NamedTuple):
    """A change at the place where the parser stopped.

    put: terminals and texts that are written before the token there, or, with `removed`, in its stead.
    seen: terminals of that token, behind: types of the one before, first: terminals of the line's first; empty: any.
    closing: what is then written at the end of the line. then: what must be able to follow. grouped: between brackets
    that are no call's. top: at the top of a file alone (True), in bodies alone (False). mends: the parser goes on with
    the change, and not without the line.
    """

    put: Signs
    message: str
    help: str = ""
    code: str = "E0101"
    removed: int = 0
    seen: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    closing: tuple[str, str] | None = None
    then: tuple[str, ...] = ()
    grouped: bool = False
    top: bool | None = None
    mends: bool = True


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_VALUES = _words("NAME NUMBER DIMS STRING LPAR LSQB LBRACE FLOW")
_VALUE, _NAME, _ARROW = ("NUMBER", "1"), ("NAME", "name"), ("__ANON_0", "->")
_ENDS = _words("NAME NUMBER DIMS STRING RPAR RSQB RBRACE FLOW OPERATOR")

REPAIRS: tuple[Repair, ...] = (
    # ends of lines
    *(
        Repair(
            (("COLON", ":"),),
            "missing `:` at the end of this line",
            "a line that opens a block ends with `:`",
            seen=("_NL",),
            then=_words(then),
        )
        for then in ("_NL _INDENT PASS", "_NL _INDENT BAR NAME BAR", "_NL _INDENT NAME NUMBER")
    ),
    Repair(
        (("LPAR", "("), ("RPAR", ")"), ("COLON", ":")),
        "missing `():` at the end of this line",
        "the parameters of a block stand in brackets, also where there are none",
        seen=("_NL",),
        first=_words("BLOCK CELL"),
        then=_words("_NL _INDENT PASS"),
    ),
    Repair(
        (("EQUAL", "="), _VALUE),
        "missing `=` and the value at the end of this line",
        "write `fn double(x) = 2 * x`, `choice K = {3, 5}`",
        seen=("_NL",),
        first=_words("FN CHOICE"),
        mends=False,
    ),
    Repair(
        (("EQUAL", "="), _VALUE),
        "these values are neither joined nor given names",
        "steps on one line are joined by `->`; names get their values by `a, b = split(_, 2)`",
        seen=("_NL",),
        top=False,
    ),
    Repair(
        (("BAR", "|"),),
        "this row of the table does not end with `|`",
        "write the missing `|`",
        code="E0106",
        seen=("_NL",),
    ),
    Repair(
        (("BAR", "|"), ("MINUS", "-"), ("BAR", "|"), ("_NL", "")),
        "this table has no rows",
        "its rows stand below the header, each between `|`",
        code="E0106",
        seen=("_DEDENT",),
    ),
    Repair(
        (("_NL", ""), ("_INDENT", "")),
        "the header of a table stands on a line of its own",
        "indent it, below the line that ends with `:`",
        code="E0106",
        seen=("BAR",),
        mends=False,
    ),
    # one sign for another
    Repair(
        (("CMP", "=="),),
        "`=` where `==` was meant",
        "`=` gives a name to a value, `==` compares two",
        removed=1,
        seen=("EQUAL",),
        first=_words("IF ELIF EXPECT NAME"),
    ),
    Repair(
        (("EQUAL", "="),),
        "`:` where `=` was meant",
        "values are given by `name = value`, and in a call by `conv(16, k=3)`",
        removed=1,
        seen=("COLON",),
    ),
    Repair(
        (("EQUAL", "="), _VALUE),
        "`:` where `=` was meant",
        "a function is one value: `fn double(x) = 2 * x`",
        removed=1,
        seen=("COLON",),
        first=("FN",),
        mends=False,
    ),
    Repair(
        (("CMP", "<="),),
        "`:` where a comparison was meant",
        "write `require latency <= 80ms`",
        removed=1,
        seen=("COLON",),
    ),
    Repair(
        (("EQUAL", "="),), "{seen} where `=` was meant", removed=1, seen=("__ANON_0", "CMP"), first=("FN", "CHOICE")
    ),
    Repair((("IN", "in"),), "{seen} where `in` was meant", "a loop is `for x in list:`", removed=1, first=("FOR",)),
    Repair((("IN", "in"),), "missing `in` before {seen}", "a loop is `for x in list:`", first=("FOR",)),
    Repair(
        (("OVER", "over"),), "{seen} where `over` was meant", "`search NAME over NET:`", removed=1, first=("SEARCH",)
    ),
    Repair(
        (("OVER", "over"), _NAME),
        "missing `over` and the net before {seen}",
        "a search is headed `search NAME over NET:`",
        first=("SEARCH",),
    ),
    Repair((("COMMA", ","),), "`;` where `,` was meant", removed=1, seen=("SEMICOLON",)),
    Repair(
        (_ARROW,),
        "`,` where `->` was meant",
        "steps on one line are joined by `->`",
        removed=1,
        seen=("COMMA",),
    ),
    Repair((_ARROW,), "`|` where `->` was meant", "steps on one line are joined by `->`", removed=1, seen=("BAR",)),
    # words and signs left out
    Repair((("IMPORT", "import"),), "missing `import` before {seen}", first=("FROM",)),
    Repair((("WITH", "with"),), "missing `with` before {seen}", first=("NET",)),
    Repair((("EQUAL", "="),), "missing `=` before {seen}", seen=_VALUES, first=_words("CHOICE FN")),
    Repair((("COLON", ":"),), "missing `:` before {seen}", first=_words("IF ELIF ELSE FOR STAGE AUX NET BLOCK CELL")),
    Repair((("BAR", "|"),), "missing `|` before {seen}", "a table's cells stand between `|`", code="E0106"),
    Repair(
        (("MINUS", "-"),),
        "this cell of the table is empty",
        "`-` is a cell that gives nothing",
        code="E0106",
        seen=("BAR",),
    ),
    Repair(
        (("LPAR", "("),),
        "missing `(` before {seen}",
        "arguments stand in brackets: `conv(64, 3)`",
        seen=_words("NUMBER DIMS STRING"),
        behind=("NAME",),
        closing=("RPAR", ")"),
    ),
    Repair(
        (_ARROW,),
        "missing `->` before {seen}",
        "steps on one line are joined by `->`",
        seen=("NAME",),
        behind=("NAME", "RPAR"),
        grouped=True,
    ),
    Repair((("COMMA", ","),), "missing `,` before {seen}", seen=(*_VALUES, "MINUS")),
    Repair((_ARROW,), "missing `->` before {seen}", "steps on one line are joined by `->`", seen=_VALUES, behind=_ENDS),
    Repair(
        (("LPAR", "("), ("RPAR", ")")),
        "missing `()` before {seen}",
        "the parameters of a block stand in brackets, also where there are none",
        first=_words("BLOCK CELL FN"),
    ),
    Repair(
        (("ELSE", "else"), _VALUE),
        "missing `else` before {seen}",
        "a value that depends on a test is `a if test else b`",
    ),
    # values and names left out, and signs too many
    Repair((), "{seen} stands twice", "leave one out", removed=1, seen=("COMMA",), behind=("COMMA",)),
    Repair((), "{seen} is too many here", "leave it out", removed=1, seen=_words("COMMA COLON SEMICOLON EQUAL")),
    Repair((_VALUE,), "the line ends where a value should follow", seen=("_NL",)),
    Repair((_NAME,), "the line ends where a name should follow", seen=("_NL",)),
    Repair((("DIMS", "3x8x8"),), "the line ends where a size should follow", "write `input 3x224x224`", seen=("_NL",)),
    Repair((_VALUE,), "a value is missing before {seen}"),
    Repair((_NAME,), "a name is missing before {seen}"),
    Repair((_NAME,), "a name belongs here, not {seen}", "", removed=1),
)
