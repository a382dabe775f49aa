"""What people write who come from another language or from a paper's PDF, and what is written here instead.

A habit is looked for only in a line that is no program, so it may be recognised by little.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Habit(NamedTuple):
    """pattern: found in a line whose strings and comments are blanked; `{}` in the message is the text that it found.

    top: it counts at the top of a file alone (True), or in bodies alone (False).
    """

    pattern: re.Pattern[str]
    message: str
    help: str
    code: str = "E0101"
    top: bool | None = None


def _habit(pattern: str, message: str, help_: str, code: str = "E0101", top: bool | None = None) -> Habit:
    return Habit(re.compile(pattern), message, help_, code, top)


_FOREIGN = "`{}` is not part of the language"
_COMMENT = "comments begin with `#`, and end with the line"

HABITS: tuple[Habit, ...] = (
    # first words
    _habit(r"^(def|function|func)\b", _FOREIGN, "a function is `fn name(x) = value`, a part of a net `block name(c):`"),
    _habit(
        r"^(class|module|model|layer|network)\b", _FOREIGN, "a network is `net Name:`, a part of one `block name(c):`"
    ),
    _habit(r"^import\b", "an import begins with `from`", "write `from std.mobile import mbconv`"),
    _habit(r"^(return|yield)\b", _FOREIGN, "the last line of a body is its result; a net names several with `output`"),
    _habit(
        r"^(while|loop|repeat|do)\b", _FOREIGN, "a step is repeated by `STEP * 3`; `for x in list:` goes through a list"
    ),
    _habit(r"^(let|var|val|const|auto|int|float)\b", _FOREIGN, "a value gets its name by `name = value`"),
    _habit(r"^(try|except|raise|assert|async|await|global|del|switch|match|case)\b", _FOREIGN, ""),
    _habit(r"^(else\s+if|elseif|elsif)\b", "`{}` is written `elif`", "write `elif test:`"),
    _habit(
        r"^(else|elif)\b",
        "this `{}` has no `if` above it",
        "it stands right below the body of its `if`, indented like it",
    ),
    _habit(r"^(->|\.)", "no line begins with `{}`", "each line acts on the value of the line before, without a sign"),
    _habit(r"^pass\b(?=.*\w)", "`pass` stands alone on its line", ""),
    _habit(r"^@\s*\w+", "the language has no decorators", "take it out"),
    _habit(
        r"^(input|output|default|stage|aux|table|if|for|pass|residual|concat|add|mul|mean|conv|relu)\b",
        "`{}` belongs into the body of a net or a block",
        "write it, indented, below a line such as `net Name:`",
        top=True,
    ),
    _habit(
        r"^(net|block|cell|variants|search|choice|from)\b",
        "`{}` stands at the top of a file, not in a body",
        "do not indent it",
        top=False,
    ),
    _habit(
        r"^\w+\s*\(.*\)\s*$",
        "this step stands outside of a net",
        "steps are written, indented, below a line such as `net Name:`",
        top=True,
    ),
    _habit(
        r"^fn\s+\w+\s+\w.*", "the parameters of a function stand in brackets", "write `fn double(x) = 2 * x`", top=True
    ),
    # comments
    _habit(r"/\*|\*/|<!--|(?:^|\s)(?://|--)(?=\s|$)|^%", "`{}` begins no comment", _COMMENT),
    # tables
    _habit(
        r"^\|(\s*:?-{2,}:?\s*\|)+", "a table has no line of dashes", "the rows follow right below the header", "E0106"
    ),
    _habit(r"^\+[-=+]+\+?$", "a table has no frame", "its rows begin and end with `|`", "E0106"),
    # signs for others
    _habit(r"&&", "`&&` is written `and`", ""),
    _habit(r"^[^|]*\|\|", "`||` is written `or`", "write `a or b`"),
    _habit(r"[=!]==", "`{}` is none of the comparisons", "they are `== != < <= > >= ~`"),
    _habit(r"<>", "`<>` is written `!=`", ""),
    _habit(r":=|<-(?!\s*\d)", "`{}` is written `=`", ""),
    _habit(r"(\*\*|//|[-+*/%])=(?!=)", "`{}` would change a value", "values do not change: write `n = n + 1`"),
    _habit(r"\+\+|(?<=\w)--(?=\s*$)", "`{}` would change a value", "values do not change: write `n = n + 1`"),
    _habit(r"[=~|]>|->>|>>|>=>", "`{}` does not join steps", "steps are joined by `->`"),
    _habit(r"\.\.\.", "`...` is no range", "a range is written `1..9`, both ends included"),
    _habit(r"::", "`::` is written `.`", "a variant of a net is `Net.variant`"),
    _habit(
        r"^[^|]*[(,]\s*[\w.]+\s*\|\s*[\w.]+", "alternatives are not written with `|`", "they stand in braces: `{3, 5}`"
    ),
    # words for others
    _habit(r"\blambda\b", _FOREIGN, "a function has a name: `fn double(x) = 2 * x`"),
    _habit(r"\bthen\b", "`then` is written `:`", "write `if test: step`"),
    _habit(r"\bis(\s+not)?\b", "`{}` is none of the comparisons", "they are `== != < <= > >= ~`"),
    _habit(r"\b[frbu](?=\")", "a string has no letter before it", "", "E0103"),
    _habit(r'"""|\'\'\'', 'strings stand on one line, in `"`', _COMMENT, "E0103"),
    _habit(
        r"(?<=[(,])\s*\*{1,2}\s*[A-Za-z_]\w*(?=\s*[,)=])",
        "`{}` spreads no arguments",
        "arguments are written one by one",
    ),
    _habit(r"\?[^?]*:", "`{}` is no test", "a value that depends on a test is `a if test else b`", "E0103"),
    # numbers
    _habit(r"\b0[xX][0-9]*[a-fA-F]\w*", "`{}` is no number", "numbers are decimal"),
    _habit(r"\b[0-9]+_[0-9]+", "`{}` is no number", "digits stand together; large numbers take a unit: `10k`, `3M`"),
    _habit(r"(?<![\w.)\]])\.[0-9]+", "`{}` is no number", "write a digit before the point: `0.5`"),
    _habit(r"\b[0-9]+\.(?![\w.])", "`{}` is no number", "write a digit behind the point: `1.0`"),
    _habit(
        r"\b[0-9]+\s+(k|M|G|ms|us|KB|MB|GB|KiB|MiB)\b",
        "`{}` has a space in it",
        "a unit stands right behind its number: `80ms`",
    ),
    _habit(
        r"^input\b.*[0-9](\s+[xX]\s*|\s*[×*]\s*|X)[0-9].*",
        "`{}` gives no size",
        "sizes are joined by `x` without spaces: `input 3x224x224`",
    ),
    _habit(
        r"\b[0-9]+(\.[0-9]+)?(?!x[0-9])[A-Za-z]\w*", "`{}` is no number", "units are `k M G % ms us KB MB GB KiB MiB`"
    ),
    # lines of their own kind
    _habit(
        r"^input\s*\[.*", "a size does not stand in square brackets", "write `input 3x224x224` or `input (3, res, res)`"
    ),
    _habit(r"^input\s+\w+\s*,.*", "the size is in no brackets", "write `input 3x224x224` or `input (3, res, res)`"),
    _habit(r"^input\b.*\bas\s+\w+", "the name of an input stands before its size", "write `input depth (1, 64, 64)`"),
    _habit(
        r"^(input|output|default|expect|device|data|mutations|require|maximize|minimize|reward|method)\s*[=:]",
        "`{}` has a sign too many",
        "the word is followed by a space alone, as in `input 3x224x224`",
    ),
    _habit(r"^default\s+\w+\.\w+\s*=.*", "a default is written like a call", "write `default conv(norm=bn, act=relu)`"),
    _habit(
        r"^from\b.*\bimport\s*\*", "every name is imported by itself", "write `from std.mobile import mbconv, sepconv`"
    ),
    _habit(r"^from\b.*\bas\b.*", "an imported name stays as it is", "write `from std.mobile import mbconv`"),
    _habit(r"^from\s+[./][^\"]*", "a path stands in quotes", 'write `from "./blocks.arch" import fire`'),
    _habit(
        r"^from\b.*\bimport\s*\(.*",
        "imported names stand in no brackets",
        "write `from std.mobile import mbconv, sepconv`",
    ),
    # brackets
    _habit(
        r"\[[^\]]*\bfor\b[^\]]*\bin\b[^\]]*\bif\b[^\]]*\]",
        "this list has an `if` in it",
        "`[f(x) for x in list]` takes every x",
    ),
    _habit(r"\{[^{}]*\bfor\b[^{}]*\}", "braces hold the alternatives of a choice", "a list is `[f(x) for x in list]`"),
    _habit(
        r"\{[^{}]*:[^{}]*\}",
        "braces hold the alternatives of a choice",
        "the language has no dictionaries: give a choice as `{3, 5}`",
    ),
    _habit(
        r"\[[^\[\]]*:[^\[\]]*\]",
        "a list is not cut with `:`",
        "one element is `list[0]`; `split` and `take` cut tensors",
    ),
    _habit(
        r"(?:^|\s)\{[ ]*(?=\n)|^\}",
        "lines of a block stand in no braces",
        "end the line with `:` and indent the block below it",
    ),
    _habit(
        r";(?![^()]*\))", "`;` ends no statement", "one statement a line; steps on one line are joined by `->`", "E0103"
    ),
)
