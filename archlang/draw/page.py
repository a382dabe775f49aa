"""Drawings as one HTML page that needs nothing else: levels to open, blocks to look into, costs on hover."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from html import escape

from archlang.draw.layout import place
from archlang.draw.model import Box
from archlang.draw.svg import clean, svg

MAX_LEVELS = 4
"""How many levels of blocks the page can open at once; each is a drawing of its own in it."""

_STYLE = """
body { font: 14px/1.4 Helvetica, Arial, 'DejaVu Sans', sans-serif; color: #1f2733; margin: 0; }
header { position: sticky; top: 0; background: #fff; border-bottom: 1px solid #ddd; padding: 8px 16px; }
header b { font-size: 16px; margin-right: 12px; }
button { font: inherit; padding: 2px 10px; margin-right: 4px; border: 1px solid #bbb; border-radius: 4px; }
button { background: #fff; }
button[aria-pressed=true] { background: #dff2f1; border-color: #3b8f8a; }
main { display: flex; align-items: flex-start; gap: 16px; padding: 8px 16px; }
aside { position: sticky; top: 60px; max-height: calc(100vh - 70px); overflow: auto; }
aside { border: 1px solid #3b8f8a; border-radius: 6px; }
aside div { padding: 8px 12px; border-bottom: 1px solid #ddd; }
[hidden] { display: none; }
g.box:hover > rect { stroke-width: 2.5; }
g.inside { cursor: pointer; }
"""

_SCRIPT = """
const views = JSON.parse(document.getElementById('views').textContent);
const panel = document.querySelector('aside'), trail = [];
function level(n) {
  document.querySelectorAll('main > section').forEach((s, i) => { s.hidden = i !== n; });
  document.querySelectorAll('header button').forEach((b, i) => b.setAttribute('aria-pressed', i === n));
}
function show() {
  panel.hidden = !trail.length;
  if (!trail.length) return;
  const path = trail[trail.length - 1];
  panel.querySelector('b').textContent = path;
  const view = document.getElementById('view' + views[path]);
  panel.lastElementChild.replaceChildren(view.content.cloneNode(true));
  mark(panel);
}
function mark(root) {
  root.querySelectorAll('g.box').forEach(g => { if (Object.hasOwn(views, g.dataset.path)) g.classList.add('inside'); });
}
document.querySelectorAll('header button').forEach((b, i) => { b.onclick = () => level(i); });
panel.querySelector('button').onclick = () => { trail.pop(); show(); };
document.addEventListener('click', event => {
  const box = event.target.closest('g.inside');
  if (!box) return;
  if (!panel.contains(box)) trail.length = 0;
  trail.push(box.dataset.path);
  show();
});
mark(document);
level(0);
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(box: Box, depth: int) -> str:
    """The page. depth: how many levels of blocks are open at first; buttons open and close the others."""
    deepest = _nesting(box)
    depths = [depth] if depth >= deepest else [*range(depth, min(depth + MAX_LEVELS, deepest) + 1)]
    sections = [f"<section hidden>\n{svg(place(box, n), standalone=False)}</section>" for n in depths]
    places, views = _views(box)
    templates = [f'<template id="view{i}">{view}</template>' for i, view in enumerate(views)]
    title = escape(clean(box.title))
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            f"<header><b>{title}</b>{_summary(box)} {_buttons(depths)}</header>",
            "<main>",
            *sections,
            "<aside hidden><div><button>back</button> <b></b></div><div></div></aside>\n</main>",
            *templates,
            f'<script type="application/json" id="views">{_json(places)}</script>',
            f"<script>{_SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )


def _summary(box: Box) -> str:
    return f"{box.cost.params:,} parameters, {box.cost.macs:,} MACs."


def _buttons(depths: list[int]) -> str:
    if len(depths) == 1:
        return ""
    names = ["folded" if depth == 0 else f"open {depth}" for depth in depths]
    return "".join(f"<button>{name}</button>" for name in names)


def _nesting(box: Box) -> int:
    inner = max((_nesting(child) for child in box.children), default=0)
    return inner + (box.kind == "block")


def _views(box: Box) -> tuple[dict[str, int], list[str]]:
    """The path of every block -> the number of the drawing of its inside; equal ones share a drawing."""
    places: dict[str, int] = {}
    views: dict[str, int] = {}
    for block in _blocks(box):
        drawing = svg(place(replace(block, kind="net", count=1), 0), standalone=False)
        places[clean(block.path)] = views.setdefault(drawing, len(views))
    return places, list(views)


def _blocks(box: Box) -> Iterator[Box]:
    return (inner for inner in box.walk() if inner.kind == "block" and inner.children)


def _json(value: object) -> str:
    """JSON inside a <script>: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
