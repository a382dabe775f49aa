"""Docstrings of generated source: lines that fit, and text in which nothing can end the string."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from textwrap import wrap

from archlang.backends.source.layout import INDENT, WIDTH, fits
from archlang.backends.source.plan import ClassPlan
from archlang.ir.graph import Graph

_HARD_SPACE = "\N{NO-BREAK SPACE}"


_LABEL = re.compile(r"[a-z_]\w*:")


def docstring(text: str) -> str:
    """`text` for use between triple quotes: what could end or change the string is escaped."""
    escaped = "".join(_escaped(char) for char in " ".join(text.split()))
    escaped = escaped.replace('"""', '\\"\\"\\"')
    return escaped[:-1] + '\\"' if escaped.endswith('"') and not escaped.endswith('\\"') else escaped


def _escaped(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if "\ud800" <= char <= "\udfff":  # half of a pair: no file could hold it
        return "\N{REPLACEMENT CHARACTER}"
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def sentence(text: str, subject: str) -> str:
    """For use between triple quotes: with a capital and a full stop. `subject` stands before a quotation, which would
    run into the quotes; a label such as `prev:`, the name of a parameter, stays as it is."""
    text = " ".join(text.split())
    text = f"`{subject}`: {text}" if text.startswith('"') else text
    text = text if _LABEL.match(text) else text[:1].upper() + text[1:]
    return docstring(text if text.endswith((".", "!", "?")) else f"{text}.")


def doc_lines(text: str) -> list[str]:
    """The text in lines that fit between the quotes of a docstring. A shape stays on one line."""
    whole = re.sub(r"\(N, [^)]*\)", lambda shape: shape[0].replace(" ", _HARD_SPACE), text)
    lines = [text] if fits(text, INDENT + 6) else wrap(whole, WIDTH - INDENT - 3, break_long_words=False)
    return [line.replace(_HARD_SPACE, " ") for line in lines]


def block_doc(plan: ClassPlan) -> list[str]:
    """The comment of the block's definition, or its name."""
    scope = plan.region.scope
    if scope and scope.doc:
        return doc_lines(sentence(scope.doc, plan.region.block))
    kind = "Block " if plan.region.block else "Stage " if scope and scope.kind == "stage" else ""
    what = f"{kind}`{plan.region.block or plan.region.path}`."
    return doc_lines(docstring(what))


def network_doc(graph: Graph, inputs: Sequence[str], batched: Callable[[int], str], when: str) -> list[str]:
    """What it is, the shapes that it takes, and those that it returns.

    inputs: how the arguments are called. batched: the text for the shape of a value. when: the words that say when
    auxiliary results are returned too.
    """
    taken = [f"{name}: {batched(value)}" for name, value in zip(inputs, graph.inputs, strict=True)]
    returned = [batched(output.value) for output in graph.outputs if not output.aux]
    auxiliary = [batched(output.value) for output in graph.outputs if output.aux]
    shapes = f"{', '.join(taken)}. Returns {', '.join(returned)}"
    shapes += f", {when} also {', '.join(auxiliary)}." if auxiliary else "."
    about = f"{graph.name}. {graph.doc}" if _LABEL.match(graph.doc) else graph.doc
    what = sentence(about or graph.name, graph.name)
    together = f"{what} {shapes}"
    return [together] if fits(together, INDENT + 6) else [*doc_lines(what), "", *doc_lines(shapes)]
