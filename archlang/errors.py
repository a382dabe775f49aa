"""Diagnostics: what was seen, why it is wrong, what to write instead, and how it came about.

Errors are values. Code that finds one raises `ArchError` with one or more diagnostics, or collects them; the only
place that turns them into text for a person is `render`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from archlang.source import Span


@dataclass(frozen=True)
class Label:
    """A second place that a diagnostic points at, with a few words beside it."""

    span: Span
    text: str

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text, "file": self.span.source.name, "line": self.span.line, "column": self.span.column}


@dataclass(frozen=True)
class Diagnostic:
    """One located error.

    code: `E` and four digits, looked up in `archlang.codes`.
    message: one line, lower case, without a full stop.
    label: the words beside the marked text.
    trace: the expansion that led there, innermost first, such as "repeat 1 of `basic(128) * 2`".
    """

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    labels: tuple[Label, ...] = ()
    help: str = ""
    trace: tuple[str, ...] = ()

    def expanded(self, step: str) -> Diagnostic:
        """The same diagnostic seen from one level further out."""
        return replace(self, trace=(*self.trace, step))

    def as_json(self) -> dict[str, Any]:
        """The fields that `check --json` promises, the other places, and the trace."""
        line, column = (self.span.line, self.span.column) if self.span else (0, 0)
        return {
            "code": self.code,
            "message": _clipped(self.message),
            "file": self.span.source.name if self.span else "",
            "line": line,
            "column": column,
            "help": self.help,
            "labels": [label.as_json() for label in self.labels],
            "trace": list(self.trace),
        }


class ArchError(Exception):
    """The input is wrong (exit code 1). Carries every diagnostic that was found."""

    def __init__(self, diagnostics: Diagnostic | Sequence[Diagnostic]) -> None:
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        super().__init__("\n".join(render(d) for d in self.diagnostics))

    def __reduce__(self) -> tuple[type[ArchError], tuple[tuple[Diagnostic, ...]]]:
        """Pickled as its diagnostics, on the way from a worker process."""
        return type(self), (self.diagnostics,)

    def expanded(self, step: str) -> ArchError:
        return ArchError([d.expanded(step) for d in self.diagnostics])


class OutsideError(Exception):
    """Something outside the input is missing: an extra, a device, a server (exit code 3). One sentence says what
    to do."""


def fail(code: str, message: str, span: Span | None = None, **fields: Any) -> ArchError:
    """An ArchError of one diagnostic, to be raised by the caller."""
    return ArchError(Diagnostic(code, message, span, **fields))


def missing_extra(what: str, extra: str) -> OutsideError:
    """The error for an optional package that is not installed."""
    return OutsideError(f"{what} needs the extra `{extra}`: run  pip install 'archlang[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str:
    """A help sentence with the known names nearest to `name`, or all of them where none is near and they are few."""
    names = sorted(set(known))
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(f"`{n}`" for n in near) + "?"
    if names and len(names) <= 12:
        return "known here: " + ", ".join(f"`{n}`" for n in names)
    return ""


def render(diagnostic: Diagnostic) -> str:
    """The text that a person sees: message, place, marked source lines, help, expansion."""
    lines = [f"error[{diagnostic.code}]: {_clipped(diagnostic.message)}"]
    notes = [("help", _clipped(diagnostic.help))] if diagnostic.help else []
    notes += [("expanded from", _clipped(step)) for step in _shortened(diagnostic.trace)]
    gutter = ""
    if diagnostic.span is not None:
        lines += _excerpt(diagnostic, diagnostic.span)
        gutter = " " * (_gutter(diagnostic) + 1)
        lines += [f"{gutter}|"] if notes else []
    for title, text in notes:
        prefix = f"{gutter}= {title}: "
        lines.append(prefix + text.replace("\n", "\n" + " " * len(prefix)))
    return "\n".join(lines)


def _shortened(trace: Sequence[str]) -> list[str]:
    """The innermost and the outermost steps of a long expansion."""
    if len(trace) <= 10:
        return list(trace)
    return [*trace[:4], f"... {len(trace) - 8} more", *trace[-4:]]


def _gutter(diagnostic: Diagnostic) -> int:
    spans = [label.span for label in diagnostic.labels]
    spans += [diagnostic.span] if diagnostic.span else []
    return max((len(str(span.line)) for span in spans), default=1)


def _excerpt(diagnostic: Diagnostic, span: Span) -> list[str]:
    marks = [(span, diagnostic.label, "^")]
    marks += [(label.span, label.text, "-") for label in diagnostic.labels if label.span.source is span.source]
    marks.sort(key=lambda mark: mark[0].start)
    width = _gutter(diagnostic)
    out = [f"{' ' * width}--> {span}", f"{' ' * width} |"]
    previous, view = None, range(0)
    for where, text, char in marks:
        number = where.line
        if previous is not None and number > previous + 1:
            out.append(f"{' ' * width}...")
        if number != previous or where.column - 1 not in view:
            view = _view(where)
            out.append(f"{number:>{width}} | {_seen(where, view)}")
        out.append(f"{' ' * width} | {_underline(where, char, view)} {text}".rstrip())
        previous = number
    for label in diagnostic.labels:
        if label.span.source is not span.source:
            view = _view(label.span)
            out += [f"{' ' * width}::: {label.span}", f"{label.span.line:>{width}} | {_seen(label.span, view)}"]
            out.append(f"{' ' * width} | {_underline(label.span, '-', view)} {label.text}".rstrip())
    return out


MAX_SHOWN = 160
"""Columns of a source line; of a longer one, the part around the mark."""


def _view(span: Span) -> range:
    """The columns of the span's line that are shown, counted from 0."""
    length = len(span.source.line(span.line))
    start = max(0, min(span.column - 1 - MAX_SHOWN // 3, length - MAX_SHOWN)) if length > MAX_SHOWN else 0
    return range(start, max(length, span.column) if length <= MAX_SHOWN else start + MAX_SHOWN)


def _seen(span: Span, view: range) -> str:
    """The line as far as it is shown. What could move a terminal's cursor or turn its letters stands as U+FFFD."""
    line = span.source.line(span.line)
    text = "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in line[view.start : view.stop])
    return ("…" if view.start else "") + text + ("…" if view.stop < len(line) else "")


def _underline(span: Span, char: str, view: range) -> str:
    line = span.source.line(span.line)
    start = span.column - 1
    end = min(span.end - span.start + start, len(line), view.stop)
    return " " * (start - view.start + (view.start > 0)) + char * max(1, end - start)


MAX_MESSAGE = 500


def _clipped(text: str) -> str:
    """A message that quotes a name of a megabyte still fits on a screen."""
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE // 2]}…{text[-MAX_MESSAGE // 4 :]}"
