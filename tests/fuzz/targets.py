"""What is fuzzed: functions of a text that must return, or raise ArchError with located diagnostics of known codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import archlang
from archlang.check import check
from archlang.codes import CODES
from archlang.cost import cost
from archlang.errors import ArchError, render
from archlang.lower import Loader, lower
from archlang.lower.names import check_module
from archlang.lower.nets import all_names, net_named, required
from archlang.source import Source
from archlang.syntax import format_text, parse
from archlang.syntax.parser import scan_comments


def syntax(text: str) -> None:
    """Parse, explain what does not parse, format what does: twice, and nothing but layout changes."""
    try:
        program = parse(Source("fuzz", text))
    except ArchError as error:
        check_error(error, text)
        return
    formatted = format_text(Source("fuzz", text))
    again = parse(Source("fuzz", formatted))
    assert again.items == program.items, "formatting changed the program"
    assert format_text(Source("fuzz", formatted)) == formatted, "formatting twice changed more"
    before, after = (sorted(comment.text for comment in scan_comments(Source("c", t))) for t in (text, formatted))
    assert before == after, "formatting lost a comment"


def meaning(text: str) -> None:
    """Check, lower and count every net of the text."""
    try:
        module = Loader().loads(Source("fuzz", text))
        for diagnostic in check_module(module):
            check_error(ArchError(diagnostic), text)
        for name in all_names(module)[:5]:
            net = net_named(module, name)
            if not required(net):
                cost(lower(net).graph)
    except ArchError as error:
        check_error(error, text)


def check_error(error: ArchError, text: str) -> None:
    """The error is one that a person can use: its code is known, its place lies in the text, it can be shown."""
    assert error.diagnostics
    for diagnostic in error.diagnostics:
        assert diagnostic.code in CODES, diagnostic
        assert diagnostic.message
        span = diagnostic.span
        assert span is None or 0 <= span.start <= span.end, diagnostic
        assert span is None or span.source.text is not text or span.end <= len(text) + 1, diagnostic
        assert diagnostic.code in render(diagnostic)


TARGETS: dict[str, Callable[[str], None]] = {"syntax": syntax, "meaning": meaning}


def whole_way(text: str, folder: Path) -> str:
    """From the text to model files of small nets: every step works or raises an ArchError. How far it came."""
    syntax(text)
    (folder / "fuzz.arch").write_text(text, encoding="utf-8")
    report = check(str(folder / "fuzz.arch"))
    if report.errors:
        check_error(ArchError(list(report.errors)), text)
    try:
        net = archlang.loads(text, name="fuzz")
        total = net.cost().total
    except ArchError as error:
        check_error(error, text)
        return "refused"
    if len(net.graph.nodes) > 150 or total.params > 1_000_000 or total.macs > 50_000_000:
        return "lowered"
    return "compiled" if [name for name, made in _MAKE.items() if _compiles(net, name, made)] else "lowered"


def _compiles(net: archlang.Net, target: str, look: Callable[[bytes], object]) -> bool:
    try:
        data = net.compile(target).data
    except ArchError as error:
        check_error(error, net.text)
        return False
    look(data)
    return True


def _check_onnx(data: bytes) -> None:
    import onnx

    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)


_MAKE: dict[str, Callable[[bytes], object]] = {
    "pytorch": lambda data: compile(data, "generated", "exec"),
    "onnx": _check_onnx,
    "tflite": lambda data: data[4:8] == b"TFL3",
}
"""The backends, and how what they make is looked at."""
