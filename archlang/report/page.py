"""The page: a template, one style sheet and one script, which draws everything from the data in the page.

Whatever comes from a run is data: the template escapes it, the script writes it as text. The page's own script is let
through by its hash, so that a browser would run nothing else even if something were missed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from archlang.draw.page import DARK, variables
from archlang.draw.svg import COLOURS, clean
from archlang.grammar.highlight import RULES
from archlang.report.columns import STATUSES, columns, decisions, ended_early, facts, passed_over
from archlang.report.detail import details
from archlang.report.run import Run
from archlang.search.trial import Status
from archlang.search.winners import described

if TYPE_CHECKING:
    from jinja2 import Environment


def page(run: Run) -> str:
    """The report as HTML."""
    script = f"\n{_text('chart.js')}{_text('report.js')}"
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            name=clean(str(run.facts.get("name") or run.folder.name)),
            command=clean(str(run.facts.get("command", ""))),
            search=clean(run.search),
            facts=facts(run.facts),
            counts={status.value: sum(trial.status is status for trial in run.trials) for status in Status},
            wanted=run.facts.get("trials"),
            best=None
            if run.best is None
            else (run.best.id, described(run.best.metrics, str(run.facts.get("device", "")))),
            front=len(run.front),
            require=[str(constraint) for constraint in run.objective.require],
            passed_over=passed_over(run.trials),
            ended={status: ended_early(run.trials, status) for status in (Status.REJECTED, Status.FAILED)},
            events=run.events,
            style=_style(),
            script=script,
            hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            data=_json(_data(run)),
        )
    )


def _data(run: Run) -> dict[str, Any]:
    objective = run.objective
    return {
        "name": str(run.facts.get("name") or run.folder.name),
        "statuses": STATUSES,
        "maximize": objective.maximize,
        "minimize": objective.minimize,
        "require": [[each.metric, each.op, each.limit] for each in objective.require],
        "trials": columns(run),
        "decisions": decisions(run),
        "front": [trial.id for trial in run.front],
        "best": None if run.best is None else run.best.id,
        "details": details(run),
        "rules": [[rule.pattern, rule.kinds] for rule in RULES],
    }


def _text(name: str) -> str:
    return files("archlang.report").joinpath(name).read_text("utf-8")


def _style() -> str:
    kinds = [f".drawing .{kind} {{ --fill: var(--{kind}); --line: var(--{kind}-line); }}" for kind in DARK]
    style = _text("report.css").replace("/*light*/", variables(COLOURS)).replace("/*dark*/", variables(DARK))
    return "\n".join([style, *kinds])


def _json(value: object) -> str:
    """JSON inside a <script>: nothing in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("archlang.report", "."),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
