"""Measuring by the scripts of this folder, wherever they run: on this machine or at the end of a connection."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archlang.device.transport import Conditions, Description, OpTime, Sampled, Settings
from archlang.errors import ArchError, OutsideError, fail, missing_extra

RUNNER = Path(__file__).with_name("runner.py")
LITERT_PROFILE = Path(__file__).with_name("litert_profile.py")

Ask = Callable[[Path, dict[str, Any]], dict[str, Any]]
"""Runs a script with a request as JSON on stdin; what it answered."""

_EXTRAS = {
    ".tflite": ("running a .tflite file", "tflite"),
    ".onnx": ("running an .onnx file", "onnx"),
    ".py": ("running a PyTorch module", "torch"),
}


def sampled(ask: Ask, model: Path, where: str, settings: Settings, reference: str = "") -> Sampled:
    """What the runner has measured, with the times per operator where they are asked for.

    where, reference: the paths of the models there.
    """
    request = {**asdict(settings), "model": where, "reference": reference or None}
    answer = ask(RUNNER, request)
    ops = answer["ops"]
    if settings.profile and model.suffix == ".tflite":
        ops = ask(LITERT_PROFILE, request)["ops"]
    return Sampled(
        answer["runtime"],
        tuple(map(float, answer["samples_ms"])),
        answer["warmup_runs"],
        None if ops is None else with_shares(ops),
        delegate=answer["delegate"],
        stretches=tuple(answer["stretches"]),
        references_ms=tuple(map(float, answer["references_ms"])),
        waited_secs=float(answer["waited_secs"]),
    )


def with_shares(ops: list[dict[str, Any]]) -> tuple[OpTime, ...]:
    total = sum(op["ms"] for op in ops) or 1.0
    return tuple(OpTime(op["name"], op["op"], op["ms"], op["ms"] / total) for op in ops)


def checked(model: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of a script. Raises ArchError where the model is wrong, OutsideError where this machine lacks the
    runtime."""
    if "error" in answer:
        raise _failure(model, answer["error"], answer["message"])
    return answer


def crash(model: Path, code: int, err: str) -> ArchError:
    """The runtime took its process with it: a corrupt model, or too little memory. code: negative for a signal."""
    said = err.strip().splitlines()
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    help = f"its last words: {said[-1]}" if said else "is the file whole, and is there memory enough?"
    return fail("E1002", f"the runtime died on {model} ({how})", help=help)


def _failure(model: Path, kind: str, message: str) -> Exception:
    if kind == "missing":
        what, extra = _EXTRAS[model.suffix]
        return missing_extra(f"{what} ({message})", extra)
    if kind == "profile":
        return OutsideError(f"{message}; the .onnx file of the same network can be profiled too")
    return fail("E1001", f"{model} cannot be run: {message}")


def conditions(told: dict[str, Any]) -> Conditions:
    """What an agent tells of a device's state."""
    return Conditions(told["temperature_c"], tuple(told["frequency_mhz"]), told["governor"])


def description(told: dict[str, Any]) -> Description:
    """What an agent tells of a device."""
    return Description(
        fingerprint=fingerprint(told["identity"]),
        model=told["model"],
        system=told["system"],
        cores=told["cores"],
        conditions=conditions(told["conditions"]),
    )


def fingerprint(identity: dict[str, Any]) -> str:
    """16 hexadecimal digits for what identifies a device."""
    import hashlib

    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
