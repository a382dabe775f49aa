"""One candidate through an evaluator, whatever happens on the way."""

from __future__ import annotations

import math

from archlang.errors import ArchError, OutsideError
from archlang.search.evaluators import Evaluate
from archlang.search.objective import Objective
from archlang.search.trial import Candidate, Outcome, Status


def evaluated(evaluate: Evaluate, objective: Objective, candidate: Candidate) -> Outcome:
    """Run the stages until a constraint breaks. Every error costs the candidate alone."""
    metrics: dict[str, float] = {}
    try:
        for update in evaluate(candidate):
            for name, value in update.items():
                if not math.isfinite(value):
                    return Outcome(Status.FAILED, metrics, f"{name} is {value}")
                metrics[name] = value
            if (broken := objective.broken(metrics)) is not None:
                return Outcome(Status.REJECTED, metrics, f"{broken.metric} is {metrics[broken.metric]:g}, not {broken}")
    except ArchError as error:
        return Outcome(Status.FAILED, metrics, error.diagnostics[0].message)
    except OutsideError as error:
        return Outcome(Status.FAILED, metrics, str(error))
    except Exception as error:
        return Outcome(Status.FAILED, metrics, described(error))
    return Outcome(Status.DONE, metrics)


def described(error: Exception) -> str:
    """The error's kind, its first line, and the line of code that raised it."""
    text = str(error).strip().splitlines()
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_name}, line {trace.tb_lineno})" if trace is not None else ""
    return f"{type(error).__name__}: {text[0] if text else 'no message'}{where}"
