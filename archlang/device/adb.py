"""The transport to an Android device: TFLite's `benchmark_model`, by the `adb` command.

The tool tells statistics of its runs, not the runs themselves; so it is started many times for few runs each, and the
median over these processes counts. One process that met a busy moment then moves nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archlang.device import agent, benchmark_model, scripts
from archlang.device.benchmark_model import Output
from archlang.device.transport import Conditions, Description, DeviceFailure, Finding, OpTime, Sampled, Settings
from archlang.errors import fail

PROCESSES = 4
"""In one run, of which a measurement has several, the reference model's in between."""

COMMAND_SECS = 30.0
SETTLE_SECS = 2.0
SLOWEST_BYTES = 500_000
PREFIX = "archlang-"
OLD_MINUTES = 24 * 60
"""A folder that another computer made is left over when it is older than this."""

TOOL = "benchmark_model"

_live: set[str] = set()
"""The folders that this process uses."""


@dataclass(frozen=True)
class AdbDevice:
    """An Android device.

    serial: as `adb devices` lists it, or an address `HOST:PORT` that is connected to; empty for the only one there is.
    benchmark_model: the tool for the device's processor, on this machine. cores: `big`, `all` or a mask for taskset in
    hexadecimal digits. flags: more flags of the tool, such as `--use_gpu=true`. adb: the command here.
    """

    benchmark_model: str
    serial: str = ""
    cores: str = "big"
    flags: str = ""
    folder: str = "/data/local/tmp"
    adb: str = "adb"

    def link(self, name: str) -> Adb:
        return Adb(self)

    def check(self, name: str) -> Iterable[Finding]:
        return _findings(self)

    def tool(self) -> bytes:
        """The tool's content. Raises DeviceFailure."""
        path = Path(self.benchmark_model).expanduser()
        try:
            return path.read_bytes()
        except OSError as error:
            remedy = "set `benchmark_model` in devices.toml to TFLite's tool for the device's processor"
            raise DeviceFailure("missing", f"cannot read {path}: {error.strerror}", remedy) from error


class Adb:
    """The way to one device."""

    def __init__(self, device: AdbDevice) -> None:
        self._device = device
        self._folder = ""
        self._there: dict[str, str] = {}
        self._model = ""

    def run(self, model: Path, settings: Settings) -> Sampled:
        if model.suffix != ".tflite":
            raise fail("E1003", f"{model}: an Android device measures .tflite files only")
        tool = self._device.tool()
        self._prepare(tool)
        content = model.read_bytes()
        self._model = f"model-{hashlib.sha256(content).hexdigest()[:16]}.tflite"
        self._push(model, self._model, content)
        before = self._conditions()
        prefix = self._pinning(settings.threads)
        share = _share(settings)
        end = time.monotonic() + settings.timeout_secs
        outputs = [self._benchmark(model, prefix, share, end) for _ in range(PROCESSES)]
        ops = self._profiled(model, prefix, share, end) if settings.profile else None
        sampled = _sampled(outputs, _runtime(tool, prefix, self._device.flags), ops, before, self._conditions())
        return replace(sampled, delegate=self._device.flags)

    def describe(self) -> Description:
        self._connect()
        told = {name: self._shell(f"getprop {name}").strip() for name in _PROPERTIES}
        cores = int(self._shell("nproc || grep -c ^processor /proc/cpuinfo").split()[0])
        return Description(
            fingerprint=scripts.fingerprint({**told, "cores": cores, "device": self._device.cores}),
            model=told["ro.product.model"] or "Android",
            system=f"Android {told['ro.build.version.release']} {told['ro.product.cpu.abi']}",
            cores=cores,
            conditions=self._conditions(),
        )

    def close(self) -> None:
        folder, self._folder, self._there = self._folder, "", {}
        if folder:
            with suppress(DeviceFailure):
                self._shell(_removal(folder))
            _live.discard(folder)

    # preparing

    def _prepare(self, tool: bytes) -> None:
        if not self._folder:
            self._connect()
            self._remove_stale()
            folder = f"{self._device.folder}/{PREFIX}{_here()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            self._shell(f"mkdir {folder}")
            _live.add(folder)
            self._folder = folder
        self._push(Path(self._device.benchmark_model).expanduser(), TOOL, tool)

    def try_tool(self) -> None:
        """Raises DeviceFailure where the tool cannot be started there; without a model it ends with an error."""
        self._prepare(self._device.tool())
        text, code = self._shell_code(f"cd {self._folder} && ./{TOOL} 2>&1", COMMAND_SECS)
        if code in _NO_PROGRAM:
            raise _tool_failure(Path(), code, text)

    def _connect(self) -> None:
        """Raises DeviceFailure where the device does not get ready. A connection over the network that was lost stays
        in adb's list as `offline`, until it is told to forget it."""
        network = ":" in self._device.serial
        if network:
            self._connect_to(self._device.serial)
        state = self._settled_state()
        if network and "offline" in state:
            self._adb(["disconnect", self._device.serial], COMMAND_SECS, anywhere=True)
            self._connect_to(self._device.serial)
            state = self._settled_state()
        if state != "device":
            raise _failure(state)

    def _connect_to(self, address: str) -> None:
        done = self._adb(["connect", address], COMMAND_SECS, anywhere=True)
        said = done.stdout + done.stderr
        if "connected to" not in said:
            raise _failure(said or "failed to connect")

    def _settled_state(self) -> str:
        """`device`, or what is said after a moment in which it may become that."""
        end = time.monotonic() + SETTLE_SECS
        while True:
            done = self._adb(["get-state"], COMMAND_SECS)
            state = (done.stdout + done.stderr).strip()
            if state == "device" or time.monotonic() > end:
                return state
            time.sleep(0.2)

    def _remove_stale(self) -> None:
        listed = self._shell(f"ls -d {self._device.folder}/{PREFIX}* 2>/dev/null; true").split()
        old = self._shell(
            f"find {self._device.folder} -maxdepth 1 -name '{PREFIX}*' -mmin +{OLD_MINUTES} 2>/dev/null; true"
        )
        for folder in listed:
            if folder in old.split() or _left_over(folder):
                self._shell(_removal(folder))

    def _push(self, source: Path, name: str, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        if self._there.get(name) == digest:
            return
        target = f"{self._folder}/{name}"
        done = self._adb(["push", str(source), target], COMMAND_SECS + len(content) / SLOWEST_BYTES)
        if done.returncode != 0:
            raise _failure(done.stdout + done.stderr)
        size = self._shell(f"wc -c < {target}").strip()
        if size != str(len(content)):
            raise DeviceFailure("partial", f"of {name}, {size or 'no'} bytes of {len(content)} arrived")
        self._shell(f"chmod 755 {target}")
        self._there[name] = digest

    def _pinning(self, threads: int) -> str:
        """`taskset MASK`, or nothing."""
        cores = self._device.cores
        if cores == "all":
            return ""
        mask = cores if cores != "big" else big_cores(self._maximum_khz(), threads)
        return f"taskset {mask}" if mask else ""

    def _maximum_khz(self) -> dict[int, int]:
        texts = self._files("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq")
        found = ((re.search(r"cpu(\d+)/", path), text) for path, text in texts.items())
        return {int(match[1]): int(text) for match, text in found if match and text.isdigit()}

    def _conditions(self) -> Conditions:
        return scripts.conditions(agent.conditions_of(self._files(*agent.SENSORS)))

    def _files(self, *patterns: str) -> dict[str, str]:
        """The contents of the small files that can be read, by path."""
        text = self._shell(
            f'for f in {" ".join(patterns)}; do [ -r "$f" ] && echo "$f=$(cat "$f" 2>/dev/null)"; done; true'
        )
        return {path: value for line in text.splitlines() for path, equals, value in [line.partition("=")] if equals}

    # running

    def _benchmark(self, model: Path, prefix: str, settings: Settings, end: float, profile_to: str = "") -> Output:
        """One process. Its number is written down, so that it can be ended where the connection was lost."""
        flags = " ".join([*benchmark_model.arguments(self._model, settings, profile_to), self._device.flags])
        command = shlex.quote(f"echo $$ > pid; exec {prefix} ./{TOOL} {flags}")
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise _too_slow(model, settings)
        text, code = self._shell_code(f"cd {self._folder} && sh -c {command} 2>&1", remaining)
        if code != 0:
            raise _tool_failure(model, code, text)
        return benchmark_model.parsed(text)

    def _profiled(self, model: Path, prefix: str, settings: Settings, end: float) -> tuple[OpTime, ...]:
        self._benchmark(model, prefix, settings, end, "profile.csv")
        text = self._shell(f"cat {self._folder}/profile.csv")
        ops: list[dict[str, Any]] = benchmark_model.operators(text)
        return scripts.with_shares(ops)

    # adb

    def _shell(self, command: str) -> str:
        text, code = self._shell_code(command, COMMAND_SECS)
        if code != 0:
            raise _failure(text or f"`{command}` ended with {code}")
        return text

    def _shell_code(self, command: str, limit: float) -> tuple[str, int]:
        """The output and the exit code, which the end of the output tells: old devices tell it in no other way, and
        without it the output is not whole."""
        done = self._adb(["shell", "-n", f"{command}\necho {_MARK}$?"], limit)
        text, mark, code = done.stdout.replace("\r\n", "\n").rpartition(_MARK)
        if not mark or not code.strip().isdigit():
            raise _failure(done.stderr or "the connection was lost")
        return text, int(code)

    def _adb(self, words: list[str], limit: float, anywhere: bool = False) -> subprocess.CompletedProcess[str]:
        device = [] if anywhere or not self._device.serial else ["-s", self._device.serial]
        command = [os.path.expanduser(self._device.adb), *device, *words]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL, errors="replace"
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceFailure("hung", f"`adb {words[0]}` did not end within {limit:.3g} s") from error
        except OSError as error:
            remedy = "install it (on Debian and Ubuntu, apt install adb), or name it with `adb` in devices.toml"
            raise DeviceFailure("missing", f"cannot run {command[0]}: {error.strerror}", remedy) from error


_MARK = "archlang-exit:"
_PROPERTIES = (
    "ro.product.model",
    "ro.build.version.release",
    "ro.product.cpu.abi",
    "ro.build.fingerprint",
    "ro.serialno",
    "ro.soc.model",
)


def big_cores(maximum_khz: dict[int, int], threads: int) -> str:
    """The mask, in hexadecimal digits, of the cores that are not of the slowest kind; of the `threads` fastest where
    these are fewer. Empty where all cores are equal."""
    slowest = min(maximum_khz.values(), default=0)
    fast = {core for core, khz in maximum_khz.items() if khz > slowest}
    if not fast:
        return ""
    ranked = sorted(maximum_khz, key=lambda core: (-maximum_khz[core], -core))
    return f"{sum(1 << core for core in fast | set(ranked[:threads])):x}"


def _share(settings: Settings) -> Settings:
    """What one process has to do of it. Each warms up anew, and for as long."""
    return replace(settings, runs=-(-settings.runs // PROCESSES), min_secs=settings.min_secs / PROCESSES)


def _sampled(
    outputs: list[Output], runtime: str, ops: tuple[OpTime, ...] | None, before: Conditions, after: Conditions
) -> Sampled:
    warmup = sum(output.warmup.runs for output in outputs if output.warmup)
    return Sampled(
        runtime=runtime,
        samples_ms=tuple(output.measured.typical_ms for output in outputs),
        warmup_runs=warmup,
        ops=ops,
        averaged=min(output.measured.runs for output in outputs),
        before=before,
        after=after,
    )


def _runtime(tool: bytes, prefix: str, flags: str) -> str:
    """The tool has no version: its digest stands for it. What changes the time is part of the name."""
    return " ".join(filter(None, [f"TFLite benchmark_model {hashlib.sha256(tool).hexdigest()[:8]}", prefix, flags]))


def _here() -> str:
    """This computer, as part of a folder's name."""
    return f"{uuid.getnode():012x}"


def _left_over(folder: str) -> bool:
    """Whether the process of this computer that made the folder is gone."""
    found = re.fullmatch(rf"{PREFIX}{_here()}-(\d+)-\w+", folder.rpartition("/")[2])
    if found is None:
        return False
    number = int(found[1])
    return folder not in _live if number == os.getpid() else not _alive(number)


def _alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _removal(folder: str) -> str:
    """End the tool that runs in the folder, where its number still is that of a process there, and remove it."""
    kill = f'p=$(cat {folder}/pid 2>/dev/null) && [ "$(readlink /proc/$p/cwd)" = {folder} ] && kill -9 $p'
    return f"{kill}; rm -rf {folder}"


_SAID = (
    (r"No space left|ENOSPC|[Dd]isk full", "disk"),
    (r"unauthorized|failed to authenticate", "refused"),
    (r"more than one device", "missing"),
    (r"[Pp]ermission denied|Read-only file system", "permission"),
    (r"no devices|device .*not found|failed to connect|Connection refused|offline|cannot connect", "unreachable"),
)
_REMEDIES = {
    "disk": "make room there: `adb shell df /data/local/tmp`",
    "refused": "unlock the device and allow USB debugging from this computer",
    "missing": "set `serial` in devices.toml to one that `adb devices` lists",
    "permission": "name a `folder` in devices.toml that the shell may write to and run programs in",
    "unreachable": "is it plugged in, with USB debugging on? `adb devices` lists what is there",
}


def _failure(said: str) -> DeviceFailure:
    """What adb or the device's shell said, as a failure of a kind."""
    kind = next((kind for pattern, kind in _SAID if re.search(pattern, said)), "lost")
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("* daemon")]
    words = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "the connection was lost")
    return DeviceFailure(kind, words.removeprefix("adb: ").removeprefix("error: "), _REMEDIES.get(kind, ""))


def _too_slow(model: Path, settings: Settings) -> DeviceFailure:
    return DeviceFailure(
        "hung", f"{model.name} was not measured within {settings.timeout_secs:g} s", "ask for fewer runs"
    )


_NO_PROGRAM = (126, 127)


def _tool_failure(model: Path, code: int, text: str) -> Exception:
    """128 and more: a signal, as the shell tells it."""
    words = [line.strip() for line in text.splitlines() if line.strip()] or ["no words"]
    if code in _NO_PROGRAM:
        return DeviceFailure("missing", f"{TOOL} cannot be run there: {words[-1]}", "is it for the device's processor?")
    if code == 128 + 9:
        return DeviceFailure("crashed", "the system killed the measurement: memory is short there")
    if code > 128:
        return scripts.crash(model, 128 - code, text)
    said = next((line for line in words if "ERROR" in line), words[-1])
    return fail("E1001", f"{model} cannot be run: {TOOL} does not accept it: {said}")


# ---- devices check ---------------------------------------------------------------------------------------------------


def _findings(device: AdbDevice) -> Iterable[Finding]:
    link = Adb(device)
    try:
        described = link.describe()
    except DeviceFailure as failure:
        yield Finding("connection", False, str(failure), failure.remedy)
        return
    yield Finding("connection", True, f"{described.model}, {described.system}, {described.cores} cores")
    try:
        link.try_tool()
        yield Finding(TOOL, True, device.benchmark_model)
    except DeviceFailure as failure:
        yield Finding(TOOL, False, str(failure), failure.remedy)
    finally:
        link.close()
