"""What Vela, Arm's compiler for the Ethos-U, reckons of a model: cycles and SRAM, layer by layer.

They are the compiler's own estimates; Arm says that a model of the hardware or an FPGA tells more. Operators that the
NPU cannot run are left to the CPU, and Vela counts no cycles for them: they are counted and named here.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from archlang.device.estimate import Estimate, Layer
from archlang.device.transport import Finding
from archlang.errors import OutsideError, fail

SECONDS = 600.0


@dataclass(frozen=True)
class EthosDevice:
    """An Arm NPU. accelerator, system, memory: as Vela names them (`vela --help`, `vela --list-configs Arm/vela.ini`).
    config: another vela.ini. sram: the bytes that there are, 0 where that is not known. vela: the command.
    """

    accelerator: str = "ethos-u55-128"
    system: str = ""
    memory: str = ""
    config: str = ""
    sram: int = 0
    vela: str = "vela"

    def estimate(self, model: Path) -> Estimate:
        if model.suffix != ".tflite":
            raise fail("E1003", f"{model}: an Ethos-U runs .tflite files only")
        command = _command(self.vela)
        if command is None:
            raise OutsideError(f"there is no command `{self.vela}`: {_REMEDY}")
        with tempfile.TemporaryDirectory(prefix="archlang-") as folder:
            _compile([command, str(model.resolve()), "--output-dir", folder, *self._options()], model)
            return self._read(Path(folder), model, _version(command))

    def check(self, name: str) -> tuple[Finding, ...]:
        command = _command(self.vela)
        if command is None:
            return (Finding("vela", False, f"there is no command `{self.vela}`", _REMEDY),)
        return (Finding("vela", True, f"Vela {_version(command)}"),)

    def _options(self) -> Iterable[str]:
        given = {
            "--accelerator-config": self.accelerator,
            "--system-config": self.system,
            "--memory-mode": self.memory,
            "--config": self.config,
        }
        yield from (word for flag, value in given.items() if value for word in (flag, value))
        yield "--verbose-performance"

    def _read(self, folder: Path, model: Path, version: str) -> Estimate:
        summary = _rows(folder, "*_summary_*.csv")[0]
        layers = tuple(_layer(row) for row in _rows(folder, "*_per-layer.csv"))
        fallback = tuple((layer.op, layer.name) for layer in layers if layer.target == "CPU")
        compiled = next(folder.glob("*_vela.tflite"))
        tool = f"Vela {version}, {self.accelerator}, {summary['system_config']}, {summary['memory_mode']}"
        return Estimate(
            tool=tool,
            ram_bytes=round(1024 * float(summary["sram_memory_used"])),
            flash_bytes=compiled.stat().st_size,
            ram_limit=self.sram,
            ms=1e3 * float(summary["inference_time"]) if len(fallback) < len(layers) else None,
            cycles=round(float(summary["cycles_total"])),
            layers=layers,
            fallback=fallback,
        )


_REMEDY = "run  pip install 'archlang[ethos-u]', or name another with `vela` in devices.toml"


def _command(name: str) -> str | None:
    """Beside this interpreter too, whose folder need not be in PATH."""
    path = str(Path(name).expanduser())
    return shutil.which(path) or shutil.which(path, path=str(Path(sys.executable).parent))


def _version(command: str) -> str:
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() or "of an unknown version"


def _compile(command: list[str], model: Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, errors="replace")
    except subprocess.TimeoutExpired as error:
        raise OutsideError(f"Vela did not end within {SECONDS:g} s on {model.name}") from error
    if done.returncode != 0:
        words = (done.stderr + done.stdout).strip().splitlines()
        said = next((line for line in words if "error" in line.lower()), words[-1] if words else "no words")
        raise fail("E1001", f"Vela does not compile {model}: {said.removeprefix('Error: ')}")


def _rows(folder: Path, pattern: str) -> list[dict[str, str]]:
    """The rows of a table that Vela has written. Raises OutsideError where the release writes it no more."""
    found = next(folder.glob(pattern), None)
    if found is None:
        raise OutsideError("this release of Vela writes no table of performance: version 5 does")
    with found.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _layer(row: dict[str, str]) -> Layer:
    return Layer(
        name=row["Name"],
        op=row["NNG Operator"] if row["Target"] == "NPU" else row["Original Operator"],
        target=row["Target"],
        cycles=round(float(row["Op Cycles"])),
        sram_bytes=round(float(row["Staging Usage"])),
        macs=round(float(row["MAC Count"])),
    )
