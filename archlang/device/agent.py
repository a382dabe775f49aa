"""What stands at the device's end of a connection: it keeps files in a folder of its own and runs scripts there.

The ssh transport sends this script over the connection that it then talks through; nothing is installed. It needs
Python 3.7 and its standard library. It leaves nothing behind: it ends, kills what it has started and removes its folder
when it is told to, when the connection closes, and when nothing has come for `patience` seconds, since a cable that was
pulled closes no connection. A folder that survived (the process was killed, the board rebooted) is found by the lock
that nobody holds, and removed by the next.

Messages: a line with the payload's length and SHA-256, then the payload, a JSON document. Requests, by `do`:
  hello {folder, patience} -> {folder, removed, python}
  put {path, size, sha256} and that many bytes -> {}
  run {arguments, input, timeout_secs} -> {code, out, err, before, after}; code null: it did not end in time
  describe {imports} -> {identity, model, system, cores, free_bytes, conditions, modules}
  ping {} -> no answer
  bye {} -> {}
What fails is answered by {error, message}; error is `disk`, `permission` or `agent`.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO, Any

PREFIX = "archlang-"
LOCK = ".lock"
YOUNG_SECS = 60
"""A folder younger than this may not have its lock yet."""

POLL_SECS = 0.1


# ---- what the device tells -------------------------------------------------------------------------------------------

SENSORS = (
    "/sys/class/thermal/thermal_zone*/type",
    "/sys/class/thermal/thermal_zone*/temp",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor",
)
PROCESSOR_ZONES = ("cpu", "soc", "pkg", "core", "tsens", "mtktscpu", "bigcore", "cluster")


def conditions() -> dict[str, Any]:
    """The temperature in degrees Celsius, the frequencies in MHz, the governor, as far as they can be read."""
    paths = [path for pattern in SENSORS for path in glob.glob(pattern)]
    return conditions_of({path: read(path) for path in paths})


def conditions_of(texts: dict[str, str]) -> dict[str, Any]:
    """The same from the contents of the files of `SENSORS`."""
    frequencies = {path: text for path, text in texts.items() if path.endswith("scaling_cur_freq")}
    ordered = sorted(frequencies, key=lambda path: int("".join(filter(str.isdigit, path)) or 0))
    governors = {text for path, text in texts.items() if path.endswith("scaling_governor") and text}
    return {
        "temperature_c": temperature(texts),
        "frequency_mhz": [int(frequencies[path]) / 1000 for path in ordered if frequencies[path].isdigit()],
        "governor": ",".join(sorted(governors)),
    }


def temperature(texts: dict[str, str]) -> float | None:
    """Of the hottest zone of the processor, or of all where none is called so. Zones that say nonsense do not count."""
    zones = {}
    for path, text in texts.items():
        if path.endswith("/temp") and text.lstrip("-").isdigit() and 0 < int(text) / 1000 < 150:
            zones[texts.get(path[: -len("temp")] + "type", "").lower()] = int(text) / 1000
    of_processor = [value for name, value in zones.items() if any(word in name for word in PROCESSOR_ZONES)]
    return max(of_processor or zones.values(), default=None)


def read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(4096).decode("utf-8", "replace").strip("\0\n\t ")
    except OSError:
        return ""


def board() -> str:
    """The board as the device tree or the firmware calls it, or else the processor."""
    named = read("/proc/device-tree/model") or read("/sys/devices/virtual/dmi/id/product_name")
    return named or processor() or platform.machine()


def processor() -> str:
    told: dict[str, str] = {}
    for line in read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        told.setdefault(key.strip().lower(), value.strip())
    return told.get("model name") or told.get("hardware") or platform.processor()


def identity() -> dict[str, Any]:
    """What the same hardware with the same system has in common with itself."""
    limits = [read(path) for path in sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq"))]
    return {
        "machine": read("/etc/machine-id") or platform.node(),
        "board": board(),
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "max_khz": limits,
        "kernel": platform.release(),
        "architecture": platform.machine(),
    }


def describe(request: dict[str, Any], folder: str) -> dict[str, Any]:
    return {
        "identity": identity(),
        "model": board(),
        "system": " ".join((platform.system(), platform.release(), platform.machine())),
        "cores": os.cpu_count() or 1,
        "free_bytes": shutil.disk_usage(folder).free,
        "conditions": conditions(),
        "modules": modules(request.get("imports", [])),
    }


def modules(groups: list[list[str]]) -> dict[str, str]:
    """Of each group the modules up to the first that can be imported, and why the others cannot."""
    found = {}
    for group in groups:
        for module in group:
            found[module] = importable(module)
            if not found[module]:
                break
    return found


def importable(module: str) -> str:
    """Empty where the module can be imported, else the last line of why not. In a process of its own: a runtime built
    for another numpy kills it."""
    done = subprocess.run(
        [sys.executable, "-c", "import " + module], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120
    )
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return "" if done.returncode == 0 else (said[-1] if said else f"exit code {done.returncode}")


# ---- the folder ------------------------------------------------------------------------------------------------------


def remove_stale(folder: str) -> int:
    """Remove the folders of ours that no process holds. Their number."""
    removed = 0
    for path in glob.glob(os.path.join(glob.escape(folder), PREFIX + "*")):
        if os.path.isdir(path) and not os.path.islink(path) and os.stat(path).st_uid == os.getuid() and stale(path):
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
    return removed


def stale(path: str) -> bool:
    try:
        lock = locked(path, create=False)
    except FileNotFoundError:
        return time.time() - os.stat(path).st_mtime > YOUNG_SECS
    except OSError:
        return False
    lock.close()
    return True


def locked(path: str, create: bool) -> IO[bytes]:
    """The lock file of a folder, held until it is closed. Raises OSError where another process holds it."""
    import fcntl

    lock = open(os.path.join(path, LOCK), "wb" if create else "r+b")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise
    return lock


# ---- requests --------------------------------------------------------------------------------------------------------


class Agent:
    """Answers requests until the connection ends."""

    def __init__(self, source: IO[bytes], answer_to: IO[bytes]) -> None:
        self.source = source
        self.answer_to = answer_to
        self.requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.over = threading.Event()
        self.patience = 60.0
        self.folder = ""
        self.lock: IO[bytes] | None = None

    def serve(self) -> None:
        threading.Thread(target=self.listen, daemon=True).start()
        try:
            while True:
                request = self.requests.get()
                if request is None:
                    return
                self.answer(request)
                if request["do"] == "bye":
                    return
        finally:
            self.leave()

    def listen(self) -> None:
        """Queue the requests as they come. The end of the connection, or silence, ends all."""
        try:
            while True:
                request = self.document()
                if request["do"] == "put":
                    request["body"] = self.exactly(request["size"])
                if request["do"] != "ping":
                    self.requests.put(request)
        except (EOFError, ValueError, OSError):
            self.over.set()
            self.requests.put(None)

    def document(self) -> Any:
        """The next message; what comes damaged ends the connection, since the end of one cannot be found then."""
        head = b""
        while not head.endswith(b"\n"):
            head += self.exactly(1)
        size, digest = head.decode().split()
        payload = self.exactly(int(size))
        if hashlib.sha256(payload).hexdigest() != digest:
            raise EOFError
        return json.loads(payload)

    def exactly(self, size: int) -> bytes:
        parts = []
        while size:
            if not select.select([self.source], [], [], self.patience)[0]:
                raise EOFError
            part = os.read(self.source.fileno(), min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def answer(self, request: dict[str, Any]) -> None:
        handle = getattr(self, "do_" + request["do"])
        try:
            self.say(handle(request))
        except OSError as error:
            self.say({"error": kind_of(error), "message": f"{error.strerror}: {error.filename or self.folder}"})
        except Exception as error:
            self.say({"error": "agent", "message": repr(error)})

    def say(self, answer: dict[str, Any]) -> None:
        payload = json.dumps(answer).encode()
        head = f"{len(payload)} {hashlib.sha256(payload).hexdigest()}\n"
        self.answer_to.write(head.encode() + payload)
        self.answer_to.flush()

    def do_hello(self, request: dict[str, Any]) -> dict[str, Any]:
        self.patience = request["patience"]
        parent = request["folder"] or tempfile.gettempdir()
        removed = remove_stale(parent)
        self.folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        self.lock = locked(self.folder, create=True)
        return {"folder": self.folder, "removed": removed, "python": platform.python_version()}

    def do_put(self, request: dict[str, Any]) -> dict[str, Any]:
        body = request.pop("body")
        if hashlib.sha256(body).hexdigest() != request["sha256"]:
            return {"error": "agent", "message": f"{request['path']} came damaged"}
        path = os.path.join(self.folder, request["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(body)
        return {}

    def do_describe(self, request: dict[str, Any]) -> dict[str, Any]:
        return describe(request, self.folder)

    def do_bye(self, request: dict[str, Any]) -> dict[str, Any]:
        self.leave()
        return {}

    def do_run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a script of the folder. Its output goes to files: a pipe that nobody empties would stop it."""
        before = conditions()
        with tempfile.TemporaryFile(dir=self.folder) as out, tempfile.TemporaryFile(dir=self.folder) as err:
            code = self.finished(request, out, err)
            texts = [tail(file) for file in (out, err)]
        return {"code": code, "out": texts[0], "err": texts[1], "before": before, "after": conditions()}

    def finished(self, request: dict[str, Any], out: IO[bytes], err: IO[bytes]) -> int | None:
        """The exit code; None where it was killed, since the time or the connection is over."""
        environment = dict(os.environ, PYTHONPATH=self.folder, ARCHLANG_PARENT=str(os.getpid()))
        child = subprocess.Popen(
            [sys.executable, *request["arguments"]],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        )
        end = time.monotonic() + request["timeout_secs"]
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:  # it may have ended already: its exit code says how
            child.stdin.write(request["input"].encode())
        while child.poll() is None:
            if self.over.is_set() or time.monotonic() > end:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                return None
            time.sleep(POLL_SECS)
        return child.returncode

    def leave(self) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.lock is not None:
            self.lock.close()
        self.folder, self.lock = "", None


def tail(file: IO[bytes], limit: int = 16 << 20) -> str:
    file.seek(0)
    return file.read(limit).decode("utf-8", "replace")


def kind_of(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "disk"
    return "permission" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "agent"


def end(*_: object) -> None:
    """A hang-up or a request to terminate ends the program as if it had come to its end."""
    sys.exit(1)


def main() -> None:
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, end)
    Agent(sys.stdin.buffer, sys.stdout.buffer).serve()


if __name__ == "__main__":
    main()
