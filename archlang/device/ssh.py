"""The transport to a Linux board over ssh: one connection, one process of ours on the board, no trace after it.

A Python program (`agent.py`) is sent over the connection and talks through it: it receives the scripts and the model,
runs them, and removes its folder when the connection ends, however it ends. The board needs Python 3.7 and numpy with a
runtime; neither sftp nor scp.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import threading
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from archlang.device import agent, scripts
from archlang.device.transport import Description, DeviceFailure, Finding, Sampled, Settings
from archlang.errors import fail, missing_extra

if TYPE_CHECKING:
    import asyncssh

Result = TypeVar("Result")

CONNECT_SECS = 20.0
ANSWER_SECS = 60.0
"""For what takes no time on the board; a model is sent in this and `SLOWEST_BYTES` a second."""

SLOWEST_BYTES = 100_000
IMPORTS_SECS = 300.0
"""TensorFlow takes its time on a small board."""

GRACE_SECS = 15.0
"""The agent ends what takes too long itself; this much later its silence counts."""

NEEDED = (("numpy",), ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite"))
"""Groups of modules of which the board needs one each."""

_START = (
    "import os;r=lambda n,b=b'':b if len(b)==n else r(n,b+(os.read(0,n-len(b))or exit(1)));"
    "exec(compile(r(int(r(10))),'agent','exec'))"
)
"""Reads ten digits, then as many bytes of a program, and runs it."""


@dataclass(frozen=True)
class SshDevice:
    """A Linux board.

    key: the private key's file; without it, what ssh would use. python: the interpreter there. folder: where the
    temporary folder is made; without it, where Python would. keepalive_secs: a connection that does not answer for
    three times this is lost.
    """

    host: str
    user: str = ""
    port: int = 0
    key: str = ""
    known_hosts: str = ""
    python: str = "python3"
    folder: str = ""
    connect_secs: float = CONNECT_SECS
    keepalive_secs: float = 5.0

    def link(self, name: str) -> Ssh:
        return Ssh(self)

    def check(self, name: str) -> Iterable[Finding]:
        return _findings(self)


class Ssh:
    """The way to one board. Connects at the first call, and anew after a failure. For one thread at a time."""

    def __init__(self, device: SshDevice) -> None:
        self._device = device
        self._session: _Session | None = None

    interleaves = True

    def run(self, model: Path, settings: Settings) -> Sampled:
        session = self._opened()
        where = self._put(session, model)
        reference = self._put(session, settings.reference) if settings.reference else ""
        states = []

        def ask(script: Path, request: dict[str, Any]) -> dict[str, Any]:
            _await(session.put_package(scripts.RUNNER, script), 4 * ANSWER_SECS)
            done = _await(
                session.run_script(script, request, settings.timeout_secs), settings.timeout_secs + GRACE_SECS
            )
            states.append(done)
            return _checked(model, self._device, done, settings)

        sampled = scripts.sampled(ask, model, where, settings, reference)
        before, after = scripts.conditions(states[0]["before"]), scripts.conditions(states[-1]["after"])
        return replace(sampled, before=before, after=after)

    def _put(self, session: _Session, model: Path) -> str:
        """Where the model is on the board."""
        content = _content(model)
        where = f"model-{hashlib.sha256(content).hexdigest()[:16]}{model.suffix}"
        _await(session.put(where, content), ANSWER_SECS + _sending_secs(content))
        return where

    def describe(self) -> Description:
        return scripts.description(self.told(()))

    def told(self, imports: Sequence[Sequence[str]]) -> dict[str, Any]:
        """What the agent tells of the board, and which modules can be imported there."""
        return _await(self._opened().ask({"do": "describe", "imports": imports}, IMPORTS_SECS), IMPORTS_SECS)

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(DeviceFailure):
                _await(session.close(), GRACE_SECS)

    def _opened(self) -> _Session:
        if self._session is None:
            self._session = _await(_Session.opened(self._device), 2 * self._device.connect_secs + 2 * ANSWER_SECS)
        return self._session


def _checked(model: Path, device: SshDevice, done: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The answer of a script that the agent has run. Raises ArchError where the model is wrong."""
    code = done["code"]
    if code is None:
        raise DeviceFailure(
            "hung", f"{model.name} was not measured within {settings.timeout_secs:g} s", "ask for fewer runs"
        )
    if code == -signal.SIGKILL:
        raise DeviceFailure("crashed", "the system killed the measurement: memory is short there")
    if code != 0:
        raise scripts.crash(model, code, done["err"])
    try:
        answer = json.loads(done["out"])
    except ValueError as error:
        raise DeviceFailure("partial", "its answer is not whole") from error
    if answer.get("error") == "missing":
        raise DeviceFailure("missing", answer["message"], _remedy_for_runtime(device))
    return scripts.checked(model, answer)


def _remedy_for_runtime(device: SshDevice) -> str:
    return f"there, run  {device.python} -m pip install numpy ai-edge-litert"


def _content(model: Path) -> bytes:
    try:
        return model.read_bytes()
    except OSError as error:
        raise fail("E1005", f"cannot read {model}: {error.strerror}") from error


def _sending_secs(content: bytes) -> float:
    return len(content) / SLOWEST_BYTES


# ---- the session -----------------------------------------------------------------------------------------------------


class _Session:
    """A connection with an agent at its end. All of it runs in the event loop."""

    def __init__(self, connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._connection = connection
        self._process = process
        self._there: dict[str, str] = {}
        self._beat: asyncio.Task[None] | None = None

    @classmethod
    async def opened(cls, device: SshDevice) -> _Session:
        """Connect and start the agent. Raises DeviceFailure."""
        connection = await _connection(device)
        session = None
        try:
            command = f'exec {_quoted(device.python)} -c "{_START}"'
            process = await _within(connection.create_process(command, encoding=None), ANSWER_SECS, "start a process")
            session = cls(connection, process)
            await session._greet(device)
        except BaseException:
            connection.abort()
            raise
        return session

    async def _greet(self, device: SshDevice) -> None:
        program = Path(agent.__file__).read_bytes()
        try:
            self._process.stdin.write(b"%010d" % len(program) + program)
        except OSError as error:
            raise await self._lost() from error
        patience = max(12 * device.keepalive_secs, 10.0)
        await self.ask({"do": "hello", "folder": device.folder, "patience": patience}, ANSWER_SECS)
        self._beat = asyncio.create_task(self._keep_alive(device.keepalive_secs))

    async def _keep_alive(self, every: float) -> None:
        """The agent ends when it hears nothing: a cable that was pulled closes no connection."""
        with suppress(OSError):
            while not self._process.stdin.is_closing():
                self._write({"do": "ping"})
                await asyncio.sleep(every)

    def _write(self, request: dict[str, Any], body: bytes = b"") -> None:
        payload = json.dumps(request).encode()
        head = f"{len(payload)} {hashlib.sha256(payload).hexdigest()}\n".encode()
        self._process.stdin.write(head + payload + body)

    async def ask(self, request: dict[str, Any], limit: float, body: bytes = b"") -> dict[str, Any]:
        """The agent's answer. Raises DeviceFailure where none comes within `limit` seconds, or it says what failed."""
        answer = await _within(self._exchange(request, body), limit, f"answer ({request['do']})")
        if "error" in answer:
            kind = answer["error"] if answer["error"] in ("disk", "permission") else "crashed"
            raise DeviceFailure(kind, answer["message"], _REMEDIES.get(kind, ""))
        return answer

    async def _exchange(self, request: dict[str, Any], body: bytes) -> dict[str, Any]:
        import asyncssh

        try:
            self._write(request, body)
            await self._process.stdin.drain()
            head = await self._process.stdout.readline()
            size, digest = head.decode("ascii", "replace").split()
            payload = await self._process.stdout.readexactly(int(size))
        except (ValueError, asyncio.IncompleteReadError, OSError, asyncssh.Error) as error:
            raise await self._lost() from error
        if hashlib.sha256(payload).hexdigest() != digest:
            raise DeviceFailure("partial", "its answer came damaged")
        answer: dict[str, Any] = json.loads(payload)
        return answer

    async def _lost(self) -> DeviceFailure:
        """Why there was no answer: the program could not start, ended, or the connection is gone."""
        said = b""
        with suppress(Exception):
            await asyncio.wait_for(self._process.wait_closed(), 2.0)
            said = await asyncio.wait_for(self._process.stderr.read(), 2.0)
        words = said.decode(errors="replace").strip().splitlines()
        if self._process.exit_status in (126, 127):
            return DeviceFailure("missing", f"there is no Python: {words[-1] if words else ''}", _REMEDIES["python"])
        if words:
            return DeviceFailure("crashed", f"the program there ended: {words[-1]}")
        return DeviceFailure("lost", "the connection was lost", "is it still plugged in and switched on?")

    async def put(self, path: str, content: bytes) -> None:
        """Write a file in the agent's folder, where it is not the same already."""
        digest = hashlib.sha256(content).hexdigest()
        if self._there.get(path) == digest:
            return
        request = {"do": "put", "path": path, "size": len(content), "sha256": digest}
        await self.ask(request, ANSWER_SECS + _sending_secs(content), content)
        self._there[path] = digest

    async def put_package(self, *modules: Path) -> None:
        """The modules as part of a package of our name, so that they find each other there as they do here."""
        for name in ("archlang/__init__.py", "archlang/device/__init__.py"):
            await self.put(name, b"")
        for module in modules:
            await self.put(f"archlang/device/{module.name}", module.read_bytes())

    async def run_script(self, script: Path, request: dict[str, Any], timeout_secs: float) -> dict[str, Any]:
        arguments = ["-m", f"archlang.device.{script.stem}"]
        run = {"do": "run", "arguments": arguments, "input": json.dumps(request), "timeout_secs": timeout_secs}
        return await self.ask(run, timeout_secs + GRACE_SECS)

    async def close(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
        with suppress(DeviceFailure):
            await self.ask({"do": "bye"}, GRACE_SECS)
        self._connection.abort()


_REMEDIES = {
    "disk": "make room there, or name another `folder` in devices.toml",
    "permission": "name a `folder` in devices.toml that the user may write to",
    "python": "install Python 3.7 or later there, or name it with `python` in devices.toml",
}


async def _connection(device: SshDevice) -> asyncssh.SSHClientConnection:
    """Raises DeviceFailure."""
    try:
        import asyncssh
    except ImportError as error:
        raise missing_extra("the ssh transport", "ssh") from error
    given: dict[str, Any] = {"username": device.user, "port": device.port}
    given |= {"client_keys": _path(device.key), "known_hosts": _path(device.known_hosts)}
    try:
        return await asyncio.wait_for(
            asyncssh.connect(
                device.host,
                connect_timeout=device.connect_secs,
                login_timeout=device.connect_secs,
                keepalive_interval=device.keepalive_secs,
                keepalive_count_max=3,
                **{key: value for key, value in given.items() if value},
            ),
            2 * device.connect_secs,
        )
    except (OSError, asyncssh.Error, ValueError) as error:
        raise _connect_failure(device, error) from error


def _connect_failure(device: SshDevice, error: BaseException) -> DeviceFailure:
    import asyncssh

    who = f"{device.user}@{device.host}" if device.user else device.host
    port = f" -p {device.port}" if device.port else ""
    if isinstance(error, asyncssh.PermissionDenied):
        return DeviceFailure("refused", f"{who} refuses the key", f"run  ssh-copy-id{port} {who}")
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        known = f"run  ssh{port} {who}  once and look whether its key is the right one"
        return DeviceFailure("refused", f"the key of {device.host} is not in the file of known hosts", known)
    if isinstance(error, asyncssh.KeyImportError | FileNotFoundError | PermissionError | ValueError):
        return DeviceFailure("missing", f"the key cannot be read: {error}", "set `key` in devices.toml")
    said = str(error) or "no answer in time"
    return DeviceFailure("unreachable", f"{device.host} cannot be reached: {said}", "is it on, and is the name right?")


def _path(text: str) -> str:
    return str(Path(text).expanduser()) if text else ""


def _quoted(word: str) -> str:
    """For a POSIX shell, with `~/` left to it."""
    import shlex

    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word)


# ---- the event loop --------------------------------------------------------------------------------------------------


_FIRST = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """One loop in a thread of its own for all boards: each is driven from its own thread, all at once."""
    with _FIRST:  # two boards may ask for it in the same moment
        return _started()


@cache
def _started() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="archlang-ssh", daemon=True).start()
    return loop


def _await(work: Coroutine[Any, Any, Result], limit: float) -> Result:
    """The result, from a thread outside the loop. Raises DeviceFailure after `limit` seconds."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result(limit + GRACE_SECS)  # the work has limits of its own: this one is for a loop that hangs
    except TimeoutError as error:
        future.cancel()
        raise DeviceFailure("hung", f"it did not answer within {limit:g} s") from error
    except BaseException:
        future.cancel()
        raise


async def _within(work: Awaitable[Result], limit: float, what: str) -> Result:
    import asyncssh

    try:
        return await asyncio.wait_for(work, limit)
    except TimeoutError as error:
        raise DeviceFailure("hung", f"it did not {what} within {limit:g} s") from error
    except asyncssh.Error as error:
        raise DeviceFailure("lost", f"the connection was lost: {error}") from error


# ---- devices check ---------------------------------------------------------------------------------------------------


def _findings(device: SshDevice) -> Iterable[Finding]:
    link = Ssh(device)
    try:
        told = link.told(NEEDED)
    except DeviceFailure as failure:
        yield Finding("connection", False, str(failure), failure.remedy)
        return
    finally:
        link.close()
    yield Finding("connection", True, f"{told['model']}, {told['system']}, {told['cores']} cores")
    yield from _runtime_findings(device, told["modules"])
    free = told["free_bytes"]
    remedy = "" if free > LEAST_FREE else _REMEDIES["disk"]
    yield Finding("disk", free > LEAST_FREE, f"{free / 1e6:,.0f} MB are free", remedy)


LEAST_FREE = 50_000_000


def _runtime_findings(device: SshDevice, modules: dict[str, str]) -> Iterable[Finding]:
    """modules: why each cannot be imported, empty for one that can."""
    if modules["numpy"]:
        yield Finding("numpy", False, modules["numpy"], f"there, run  {device.python} -m pip install numpy")
    runtimes = [name for name in NEEDED[1] if modules.get(name) == ""]
    why = runtimes[0].split(".")[0] if runtimes else "; ".join(modules.get(name, "") for name in NEEDED[1])
    yield Finding("runtime", bool(runtimes), why, "" if runtimes else _remedy_for_runtime(device))
