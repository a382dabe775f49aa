"""Program -> text. The formatter is `print_program(parse(text))`.

The layout is a function of the tree; only comments and single blank lines are taken from their places in the source,
which is why nodes that a rewrite puts in keep the span of what they replace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archlang.source import Span
from archlang.syntax import tree
from archlang.syntax.builder import BINDING, PREFIX_BINDING

INDENT = "  "
MAX_COLUMNS = 120


def print_program(program: tree.Program) -> str:
    """The whole file, formatted."""
    return _Printer(program).run()


# ---- expressions -----------------------------------------------------------------------------------------------------

_LOOSEST, _TERNARY, _OPERAND, _TIGHTEST = -2, -1, 8, 10


def print_expr(node: tree.Node, floor: int = _LOOSEST) -> str:
    """One line. Parentheses are added where a rewritten tree needs them: where `node` binds less than `floor`."""
    text, binding = _EXPR[type(node)](node)
    return text if binding >= floor else f"({text})"


def _items(nodes: Sequence[tree.Node]) -> str:
    return ", ".join(print_expr(node) for node in nodes)


def _infix(node: tree.Infix) -> tuple[str, int]:
    binding = BINDING[node.op]
    left, right = (binding + 1, binding) if node.op == "**" else (binding, binding + 1)
    signed = isinstance(node.right, tree.Prefix) and node.right.op in "+-"  # `2 ** -3` needs no parentheses
    return f"{print_expr(node.left, left)} {node.op} {print_expr(node.right, _LOOSEST if signed else right)}", binding


def _prefix(node: tree.Prefix) -> tuple[str, int]:
    binding = PREFIX_BINDING[node.op]
    space = " " if node.op.isalpha() else ""
    return f"{node.op}{space}{print_expr(node.value, binding)}", binding


def _range(node: tree.Range) -> tuple[str, int]:
    binding = BINDING[".."]
    ends = f"{print_expr(node.first, binding + 1)}..{print_expr(node.last, binding + 1)}"
    return (f"{ends} step {print_expr(node.step, binding + 1)}" if node.step else ends), binding


def _ternary(node: tree.Ternary) -> tuple[str, int]:
    condition = f"{print_expr(node.yes, 0)} if {print_expr(node.condition, 0)}"
    return f"{condition} else {print_expr(node.no, _TERNARY)}", _TERNARY


def _pipe(node: tree.Pipe) -> tuple[str, int]:
    return f"{print_expr(node.left)} -> {print_expr(node.right, _TERNARY)}", _LOOSEST


def _arg(node: tree.Arg) -> tuple[str, int]:
    value = print_expr(node.value)
    return (f"{node.name.id}={value}" if node.name else value), _TIGHTEST


def _comprehension(node: tree.Comprehension) -> tuple[str, int]:
    names = ", ".join(name.id for name in node.names)
    return f"[{print_expr(node.item)} for {names} in {print_expr(node.iterable)}]", _TIGHTEST


def _tuple(node: tree.Tuple) -> tuple[str, int]:
    return (f"({print_expr(node.items[0])},)" if len(node.items) == 1 else f"({_items(node.items)})"), _TIGHTEST


_EXPR: dict[type[tree.Node], Callable[..., tuple[str, int]]] = {
    tree.Name: lambda n: (n.id, _TIGHTEST),
    tree.Number: lambda n: (n.text, _TIGHTEST),
    tree.Dims: lambda n: (n.text, _TIGHTEST),
    tree.String: lambda n: (n.text, _TIGHTEST),
    tree.FlowValue: lambda n: ("_", _TIGHTEST),
    tree.Blank: lambda n: ("-", _TIGHTEST),
    tree.Paren: lambda n: (f"({print_expr(n.inner)})", _TIGHTEST),
    tree.Tuple: _tuple,
    tree.List: lambda n: (f"[{_items(n.items)}]", _TIGHTEST),
    tree.Choice: lambda n: (f"{{{_items(n.items)}}}", _TIGHTEST),
    tree.Comprehension: _comprehension,
    tree.Arg: _arg,
    tree.Call: lambda n: (f"{print_expr(n.function, _TIGHTEST)}({_items(n.args)})", _TIGHTEST),
    tree.Index: lambda n: (f"{print_expr(n.value, _TIGHTEST)}[{print_expr(n.index)}]", _TIGHTEST),
    tree.Attribute: lambda n: (f"{print_expr(n.value, _TIGHTEST)}.{n.name.id}", _TIGHTEST),
    tree.Prefix: _prefix,
    tree.Infix: _infix,
    tree.Range: _range,
    tree.Ternary: _ternary,
    tree.Pipe: _pipe,
}


def _broken(node: tree.Node, indent: str) -> str | None:
    """The expression with its last bracket's items on lines of their own; None where it ends in none."""
    if isinstance(node, tree.Pipe):
        right = _broken(node.right, indent)
        return right and f"{print_expr(node.left)} -> {right}"
    opener, items, closer = "", tuple[tree.Node, ...](), ""
    if isinstance(node, tree.Call) and node.args:
        opener, items, closer = print_expr(node.function, _TIGHTEST) + "(", node.args, ")"
    elif isinstance(node, tree.List) and node.items:
        opener, items, closer = "[", node.items, "]"
    elif isinstance(node, tree.Choice):
        opener, items, closer = "{", node.items, "}"
    if not items:
        return None
    lines = [""]
    for item in items:
        text = f"{print_expr(item)},"
        if lines[-1] and len(indent) + len(INDENT) + len(lines[-1]) + 1 + len(text) > MAX_COLUMNS:
            lines.append("")
        lines[-1] += f" {text}" if lines[-1] else text
    inner = "".join(f"{indent}{INDENT}{line}\n" for line in lines)
    return f"{opener}\n{inner}{indent}{closer}"


# ---- lines -----------------------------------------------------------------------------------------------------------


@dataclass
class _Line:
    text: str
    depth: int
    comment: str = ""


class _Printer:
    """Collects lines; comments are taken from `comments` in order as their places are passed."""

    def __init__(self, program: tree.Program) -> None:
        self.program = program
        self.source = program.source
        self.comments = list(program.comments)
        self.lines: list[_Line] = []

    def run(self) -> str:
        items = self.program.items
        for i, item in enumerate(items):
            apart = i > 0 and (_is_large(item) or _is_large(items[i - 1]))
            self._lead(item.span.start, 0, apart)
            _ITEM[type(item)](self, item)
        self._lead(len(self.source.text) + 1, 0, False)
        return _join(self.lines)

    # comments and blank lines

    def _lead(self, start: int, depth: int, apart: bool) -> None:
        """The comments before `start`, each on its own line, and at most one blank line before each and before it."""
        while self.comments and self.comments[0].start < start:
            comment = self.comments.pop(0)
            self._blank(comment.start, depth, apart)
            apart = False
            self.lines.append(_Line(comment.text, depth))
        if start <= len(self.source.text):
            self._blank(start, depth, apart)

    def _blank(self, offset: int, depth: int, apart: bool) -> None:
        if not self.lines or self.lines[-1].text == "" or (self.lines[-1].text.endswith(":") and not apart):
            return
        line = self.source.position(offset)[0]
        if apart or (line > 1 and not self.source.line(line - 1).strip()):
            self.lines.append(_Line("", depth))

    def _line(self, text: str, depth: int, start: int, end: int) -> None:
        """One line for the source between `start` and `end`; comments within it and behind it go along."""
        behind = self._take_behind(end)
        for comment in behind[:-1]:
            self.lines.append(_Line(comment, depth))
        self.lines.append(_Line(text, depth, behind[-1] if behind else ""))

    def _take_behind(self, end: int) -> list[str]:
        last = self.source.position(end)[0]
        taken = []
        while self.comments and self.source.position(self.comments[0].start)[0] <= last:
            taken.append(self.comments.pop(0).text)
        return taken

    # statements

    def suite(self, suite: tree.Suite, depth: int) -> None:
        for stmt in suite.body:
            self._lead(stmt.span.start, depth, False)
            self.stmt(stmt, depth)
        self._trail(suite.span, depth)

    def _trail(self, span: Span, depth: int) -> None:
        """The comments after the last line of a body that are indented like it, as far as no code comes between."""
        column = span.column
        at = span.end
        while self.comments and self.comments[0].own_line:
            comment = self.comments[0]
            between = self.source.text[at : comment.start]
            if between.strip() or self.source.position(comment.start)[1] < column or column == 1:
                return
            self._lead(comment.start + 1, depth, False)
            at = comment.start + len(comment.text)

    def stmt(self, stmt: tree.Stmt, depth: int) -> None:
        if type(stmt) in _SIMPLE:
            self._line(self._simple(stmt, depth), depth, stmt.span.start, stmt.span.end)
        else:
            _COMPOUND[type(stmt)](self, stmt, depth)

    def _simple(self, stmt: tree.Stmt, depth: int) -> str:
        text = _SIMPLE[type(stmt)](stmt)
        if len(text) + len(INDENT) * depth <= MAX_COLUMNS:
            return text
        last = _last_expr(stmt)
        broken = _broken(last, INDENT * depth) if last is not None else None
        return text if broken is None else text[: len(text) - len(print_expr(last))] + broken if last else text

    def body(self, head: str, suite: tree.Suite, depth: int, start: int, head_end: int) -> None:
        """A header and its body, on one line where the source has them so."""
        if suite.inline:
            self._line(f"{head}: {_SIMPLE[type(suite.body[0])](suite.body[0])}", depth, start, suite.span.end)
            return
        self._line(f"{head}:", depth, start, head_end)
        self.suite(suite, depth + 1)

    def group(self, stmt: tree.Group, depth: int) -> None:
        self.body(print_expr(stmt.head), stmt.suite, depth, stmt.span.start, stmt.head.span.end)

    def for_(self, stmt: tree.For, depth: int) -> None:
        names = ", ".join(name.id for name in stmt.names)
        head = f"for {names} in {print_expr(stmt.iterable)}"
        self.body(head, stmt.suite, depth, stmt.span.start, stmt.iterable.span.end)

    def if_(self, stmt: tree.If, depth: int) -> None:
        for i, case in enumerate(stmt.cases):
            if i:
                self._lead(case.span.start, depth, False)
            word = "else" if case.condition is None else f"{'elif' if i else 'if'} {print_expr(case.condition)}"
            end = case.condition.span.end if case.condition else case.span.start
            self.body(word, case.suite, depth, case.span.start, end)

    def stage(self, stmt: tree.Stage | tree.Aux, depth: int) -> None:
        word = "stage" if isinstance(stmt, tree.Stage) else "aux"
        self.body(f"{word} {stmt.name.id}", stmt.suite, depth, stmt.span.start, stmt.name.span.end)

    def table(self, stmt: tree.Table, depth: int) -> None:
        head = f"table {print_expr(stmt.unit)}" if stmt.unit else "table"
        head += f" as {stmt.name.id}" if stmt.name else ""
        end = (stmt.name or stmt.unit or stmt).span
        self._line(f"{head}:", depth, stmt.span.start, end.start if end is stmt.span else end.end)
        self.table_body(stmt.body, depth + 1)

    def table_body(self, body: tree.TableBody, depth: int) -> None:
        header = [_column(column) for column in body.columns]
        rows = [[print_expr(cell) for cell in row.cells] for row in body.rows]
        columns = range(max(map(len, (header, *rows))))  # a row may have too many cells: that is for others to say
        right = [_is_numeric([row.cells[i] for row in body.rows if i < len(row.cells)]) for i in columns]
        widths = [max(len(row[i]) for row in (header, *rows) if i < len(row)) for i in columns]
        first, last = body.columns[0].span, body.columns[-1].span
        self._lead(first.start, depth, False)
        self._line(_table_line(header, widths, right), depth, first.start, last.end)
        for row, cells in zip(body.rows, rows, strict=True):
            self._lead(row.span.start, depth, False)
            self._line(_table_line(cells, widths, right), depth, row.span.start, row.span.end)

    # items

    def block(self, item: tree.BlockDef) -> None:
        inputs = ", ".join(map(_param, item.inputs)) + "; " if item.inputs else ""
        head = f"{item.kind} {item.name.id}({inputs}{', '.join(map(_param, item.params))})"
        self._define(head.replace("; )", ";)"), item.suite, item, (*item.inputs, *item.params))

    def net(self, item: tree.NetDef) -> None:
        params = item.params or ()
        head = f"net {item.name.id}" + ("" if item.params is None else f"({', '.join(map(_param, params))})")
        self._define(head, item.suite, item, params)

    def _define(
        self, head: str, suite: tree.Suite, item: tree.BlockDef | tree.NetDef, params: Sequence[tree.Param]
    ) -> None:
        end = params[-1].span.end if params else item.name.span.end
        self.body(head, suite, 0, item.span.start, end)

    def variants(self, item: tree.Variants) -> None:
        self._line(f"variants {item.net.id}:", 0, item.span.start, item.net.span.end)
        self.table_body(item.body, 1)

    def search(self, item: tree.SearchDef) -> None:
        self._line(f"search {item.name.id} over {print_expr(item.over)}:", 0, item.span.start, item.over.span.end)
        for line in item.lines:
            self._lead(line.span.start, 1, False)
            self._line(f"{line.key.id} {print_expr(line.value)}", 1, line.span.start, line.span.end)

    def one_line(self, item: tree.Item) -> None:
        self._line(_ONE_LINE[type(item)](item), 0, item.span.start, item.span.end)


def _param(param: tree.Param) -> str:
    default = f"={print_expr(param.default)}" if param.default else ""
    return f"{param.name.id}{default}{' once' if param.once else ''}"


def _column(column: tree.Column) -> str:
    return column.name.id + (f" -> {print_expr(column.function)}" if column.function else "")


def _named(value: tree.Node, name: tree.Name | None) -> str:
    return print_expr(value) + (f" as {name.id}" if name else "")


def _function(item: tree.FnDef) -> str:
    return f"fn {item.name.id}({', '.join(map(_param, item.params))}) = {print_expr(item.body)}"


def _choice_def(item: tree.ChoiceDef) -> str:
    params = f"({', '.join(map(_param, item.params))})" if item.params else ""
    return f"choice {item.name.id}{params} = {print_expr(item.value)}"


def _alias(item: tree.NetAlias) -> str:
    overrides = f" with {_items(item.overrides)}" if item.overrides else ""
    return f"net {item.name.id} = {print_expr(item.value)}{overrides}"


_SIMPLE: dict[type[tree.Node], Callable[..., str]] = {
    tree.Flow: lambda s: _named(s.value, s.name),
    tree.Assign: lambda s: f"{_items(s.targets)} = {_items(s.values)}",
    tree.Default: lambda s: f"default {print_expr(s.call)}",
    tree.Input: lambda s: f"input {s.name.id + ' ' if s.name else ''}{print_expr(s.shape)}",
    tree.Output: lambda s: "output " + ", ".join(_named(item.value, item.name) for item in s.items),
    tree.Expect: lambda s: f"expect {print_expr(s.condition)}",
    tree.FnDef: _function,
    tree.Pass: lambda s: "pass",
}

_COMPOUND: dict[type[tree.Node], Callable[..., None]] = {
    tree.Group: _Printer.group,
    tree.For: _Printer.for_,
    tree.If: _Printer.if_,
    tree.Stage: _Printer.stage,
    tree.Aux: _Printer.stage,
    tree.Table: _Printer.table,
}

_ONE_LINE: dict[type[tree.Node], Callable[..., str]] = {
    tree.Import: lambda i: f"from {i.path} import {', '.join(name.id for name in i.names)}",
    tree.FnDef: _function,
    tree.ChoiceDef: _choice_def,
    tree.ConstDef: lambda i: f"{i.name.id} = {print_expr(i.value)}",
    tree.NetAlias: _alias,
    tree.ExpectItem: lambda i: f"expect {print_expr(i.condition)}",
}

_ITEM: dict[type[tree.Node], Callable[..., None]] = {
    **dict.fromkeys(_ONE_LINE, _Printer.one_line),
    tree.BlockDef: _Printer.block,
    tree.NetDef: _Printer.net,
    tree.Variants: _Printer.variants,
    tree.SearchDef: _Printer.search,
}


def _is_large(item: tree.Item) -> bool:
    return isinstance(item, tree.BlockDef | tree.NetDef | tree.Variants | tree.SearchDef)


def _last_expr(stmt: tree.Stmt) -> tree.Expr | None:
    """The expression at the end of the statement's line."""
    if isinstance(stmt, tree.Flow) and stmt.name is None:
        return stmt.value
    if isinstance(stmt, tree.Assign):
        return stmt.values[-1]
    if isinstance(stmt, tree.Default):
        return stmt.call
    return None


def _is_numeric(cells: Sequence[tree.Expr]) -> bool:
    given = [cell for cell in cells if not isinstance(cell, tree.Blank)]
    plain = [cell.value if isinstance(cell, tree.Prefix) and cell.op in "+-" else cell for cell in given]
    return bool(given) and all(isinstance(cell, tree.Number) for cell in plain)


def _table_line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=False)
    ]
    return f"| {' | '.join(padded)} |"


def _join(lines: Sequence[_Line]) -> str:
    """The text; comments behind neighbouring lines of equal depth begin in the same column."""
    out: list[str] = []
    i = 0
    while i < len(lines):
        run = [lines[i]]
        while lines[i].comment and i + len(run) < len(lines):
            following = lines[i + len(run)]
            if not following.comment or following.depth != lines[i].depth:
                break
            run.append(following)
        width = max(len(line.text.rsplit("\n", 1)[-1]) for line in run)
        for line in run:
            last = len(line.text.rsplit("\n", 1)[-1])
            behind = " " * (width - last + 2) + line.comment if line.comment else ""
            out.append((INDENT * line.depth + line.text + behind).rstrip())
        i += len(run)
    while out and not out[-1]:
        out.pop()
    return "\n".join(out) + "\n" if out else ""
