"""What quantization costs: the signal-to-noise ratio of every layer and of the outputs, and what floats would gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import inf, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archlang.quantize.options import Range


@dataclass
class Noise:
    """The mean squares of values and of what is wrong with them, summed over samples."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, wanted: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        error = (wanted - found).reshape(-1)
        flat = wanted.reshape(-1)
        self.signal += float(np.dot(flat, flat))
        self.noise += float(np.dot(error, error))

    @property
    def snr(self) -> float:
        """In decibels; infinite where nothing is wrong, and where nothing is there: a constant zero, kept."""
        if self.noise == 0:
            return inf
        return 10 * log10(self.signal / self.noise) if self.signal > 0 else -inf


@dataclass(frozen=True)
class Layer:
    """One layer of the network.

    snr: of its value in the quantized network, all noise from before it included, in decibels. weight_snr: of its value
    if only its weights were quantized; None where it has none. activation_snr: of its value if only that was, rounded
    and cut off. bytes: that its weights take; float_bytes: what they would take in floats. gain: by how many decibels
    the outputs would be better with it in floats, where that was measured. range: that its value was given. kept:
    whether it is in floats already.
    """

    name: str
    op: str
    snr: float
    weight_snr: float | None
    activation_snr: float | None
    bytes: int
    float_bytes: int
    range: Range | None
    gain: float | None = None
    kept: bool = False

    @property
    def own_snr(self) -> float:
        """Of the noise that this layer adds by itself: that of its weights and of its value together."""
        parts = [snr for snr in (self.weight_snr, self.activation_snr) if snr is not None]
        total = sum(10 ** (-snr / 10) for snr in parts)
        return -10 * log10(total) if 0 < total < inf else (inf if total == 0 else -inf)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "op": self.op,
            "snr_db": self.snr,
            "own_snr_db": self.own_snr,
            "weight_snr_db": self.weight_snr,
            "activation_snr_db": self.activation_snr,
            "float_gain_db": self.gain,
            "bytes": self.bytes,
            "float_bytes": self.float_bytes,
            "range": list(self.range) if self.range else None,
            "kept_float": self.kept,
        }


@dataclass(frozen=True)
class Report:
    """outputs: their signal-to-noise ratios by name. layers: in the network's order. samples: how many were run."""

    net: str
    mode: str
    observer: str
    samples: int
    outputs: Mapping[str, float]
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def worst(self) -> list[Layer]:
        """The layers that add the most noise by themselves first; those in floats last."""
        return sorted(self.layers, key=lambda layer: (layer.kept, layer.own_snr))

    def as_json(self) -> dict[str, Any]:
        """For `--json`: ratios in decibels, null where they are infinite."""
        return {
            "mode": self.mode,
            "observer": self.observer,
            "samples": self.samples,
            "outputs": dict(self.outputs),
            "worst": [layer.name for layer in self.worst[:5]],
            "layers": [layer.as_json() for layer in self.layers],
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """The outputs' ratios and the worst layers, in a sentence."""
        outputs = ", ".join(f"`{name}` {decibels(snr)} dB" for name, snr in self.outputs.items())
        worst = ", ".join(
            f"`{layer.name}` ({decibels(layer.own_snr)} dB)" for layer in self.worst[:3] if not layer.kept
        )
        return (
            f"signal to noise of {self.mode} against float32 on {self.samples} inputs: {outputs}; "
            f"the most noise is added by {worst or 'no layer'}"
        )


TITLES = ("layer", "op", "own dB", "weights dB", "values dB", "so far dB", "float gains dB", "bytes", "in float")


def rows(report: Report) -> list[Sequence[Any]]:
    """Below `TITLES`, the worst layer first."""
    return [
        (
            layer.name,
            f"{layer.op} (float)" if layer.kept else layer.op,
            *(decibels(snr) for snr in (layer.own_snr, layer.weight_snr, layer.activation_snr, layer.snr)),
            "" if layer.gain is None else f"{layer.gain:+.1f}",
            layer.bytes,
            layer.float_bytes,
        )
        for layer in report.worst
    ]


def decibels(snr: float | None) -> str:
    if snr is None:
        return ""
    return f"{snr:.1f}" if abs(snr) != inf else ("exact" if snr > 0 else "lost")


EXPLANATION = (
    "own: the noise that the layer adds by itself, of its weights and of its values (rounded and cut off) together; "
    "so far: of its values in the quantized network, with all noise from before; float gains: by how much the outputs "
    "would be better with the layer in floats, measured for the worst ones."
)


def markdown(report: Report) -> str:
    """The report as a Markdown page."""
    lines = [f"# {report.net}: {report.mode}", "", report.summary() + ".", ""]
    lines += [f"Ranges by `{report.observer}`. {EXPLANATION}", ""]
    lines += [f"- {note}" for note in report.notes] + ([""] if report.notes else [])
    lines += ["| " + " | ".join(TITLES) + " |", "| --- | --- |" + " ---: |" * (len(TITLES) - 2)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows(report)]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


_STYLE = """body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .2em .6em; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th { position: sticky; top: 0; background: Canvas; } th, td:first-child, td:nth-child(2) { text-align: left; }
.bar { background: linear-gradient(90deg, #d9534f88 var(--w), transparent var(--w)); }
:root { color-scheme: light dark; }"""


def html(report: Report) -> str:
    """The report as one page that needs nothing else. Bars: the layer's part of all noise that layers add."""
    noises = [_linear(layer.own_snr) if not layer.kept else 0.0 for layer in report.worst]
    largest = max([*noises, 1e-30])
    body = "\n".join(
        f'<tr><td class="bar" style="--w:{100 * noise / largest:.0f}%">{escape(str(row[0]))}</td>'
        + "".join(f"<td>{escape(_cell(value))}</td>" for value in row[1:])
        + "</tr>"
        for row, noise in zip(rows(report), noises, strict=True)
    )
    head = "".join(f"<th>{title}</th>" for title in TITLES)
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    title = escape(f"{report.net}: {report.mode}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n<p>{escape(report.summary())}.</p>\n"
        f"<p>Ranges by <code>{escape(report.observer)}</code>. {escape(EXPLANATION)}</p>\n"
        f"{f'<ul>{notes}</ul>' if notes else ''}\n"
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></body></html>\n"
    )


def _linear(snr: float) -> float:
    return float(10 ** (-min(max(snr, -100.0), 200.0) / 10))


WRITERS = {".md": markdown, ".html": html}
"""By the suffix of the file that `--report FILE` names."""
