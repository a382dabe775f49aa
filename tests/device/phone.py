"""The device's side of adb, over TCP: connect, shell (both versions), push and pull, with faults on demand.

Protocol: packages/modules/adb/protocol.txt, SYNC.TXT and shell_service.h of the Android sources. Commands run in a
real shell on this machine, below a folder that stands for the device's file system.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

VERSION, MAXIMUM = 0x01000001, 256 * 1024
A_CNXN, A_AUTH, A_OPEN, A_OKAY, A_CLSE, A_WRTE = (
    int.from_bytes(n, "little") for n in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
STDOUT, STDERR, EXIT = 1, 2, 3


@dataclass
class Faults:
    """What goes wrong. drop_during: the cable is pulled while a command with this text runs, so many times. hang_on:
    a command with this text never ends. cut: its output ends early, without its end. full: nothing can be written."""

    drop_during: str = ""
    drops: int = 0
    hang_on: str = ""
    cut: str = ""
    full: bool = False
    unauthorized: bool = False


@dataclass
class Stream:
    """One service on a connection. There is at most one write on its way, as adb has it."""

    local: int
    remote: int
    ready: threading.Event = field(default_factory=threading.Event)
    data: bytearray = field(default_factory=bytearray)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    closed: bool = False

    def exactly(self, size: int) -> bytes:
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.data) >= size or self.closed)
            if len(self.data) < size:
                raise EOFError
            taken = bytes(self.data[:size])
            del self.data[:size]
            return taken


class Phone:
    """A device at 127.0.0.1:`port`, whose files are below `root`."""

    def __init__(self, root: Path, shell_v2: bool = True) -> None:
        self.root = root
        self.shell_v2 = shell_v2
        self.faults = Faults()
        self.commands: list[str] = []
        self._make_files()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def folder(self) -> Path:
        return self.root / "data/local/tmp"

    def left_behind(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def close(self) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def placed(self, text: str) -> str:
        """Paths of the device as they are here."""
        for path in ("/data/local/tmp", "/sys/"):
            text = text.replace(path, f"{self.root}{path}")
        return text

    def _make_files(self) -> None:
        """Four slow cores and four fast ones, a sensor, and the programs that Android has and Debian has not."""
        self.folder.mkdir(parents=True)
        for core in range(8):
            cpu = self.root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            cpu.mkdir(parents=True)
            (cpu / "cpuinfo_max_freq").write_text("1800000\n" if core < 4 else "2400000\n")
            (cpu / "scaling_cur_freq").write_text("1200000\n")
            (cpu / "scaling_governor").write_text("schedutil\n")
        zone = self.root / "sys/class/thermal/thermal_zone0"
        zone.mkdir(parents=True)
        (zone / "type").write_text("cpu-0-0\n")
        (zone / "temp").write_text("41500\n")
        programs = {
            "getprop": 'case "$1" in ro.product.model) echo "Model F";; ro.build.version.release) echo 14;; '
            "ro.product.cpu.abi) echo arm64-v8a;; *) echo;; esac",
            "nproc": "echo 8",
            "taskset": 'shift; exec "$@"',
        }
        for name, body in programs.items():
            program = self.root / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                end, _ = self._listener.accept()
                connection = Connection(self, end)
                self._connections.append(connection)
                threading.Thread(target=connection.serve, daemon=True).start()


class Connection:
    def __init__(self, phone: Phone, end: socket.socket) -> None:
        self.phone = phone
        self._end = end
        self._streams: dict[int, Stream] = {}
        self._sending = threading.Lock()

    def close(self) -> None:
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        for stream in list(self._streams.values()):
            self._ended(stream)

    def serve(self) -> None:
        source = self._end.makefile("rb")
        with suppress(OSError, EOFError, ValueError, struct.error):
            while True:
                command, first, second, size, _, _ = struct.unpack("<6I", _read(source, 24))
                self._handle(command, first, second, _read(source, size))
        self.close()

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._sending:
            self._end.sendall(head + data)

    def _handle(self, command: int, first: int, second: int, data: bytes) -> None:
        if command in (A_CNXN, A_AUTH):
            self._greet()
        elif command == A_OPEN:
            self._open(first, data.rstrip(b"\0").decode())
        elif command == A_OKAY and second in self._streams:
            self._streams[second].ready.set()
        elif command == A_WRTE and second in self._streams:
            self._arrive(self._streams[second], data)
        elif command == A_CLSE and second in self._streams:
            self._ended(self._streams[second])

    def _greet(self) -> None:
        if self.phone.faults.unauthorized:
            self.send(A_AUTH, 1, 0, bytes(20))
            return
        features = ";features=shell_v2,cmd" if self.phone.shell_v2 else ""
        self.send(A_CNXN, VERSION, MAXIMUM, f"device::ro.product.name=f;ro.product.model=F{features}\0".encode())

    def _open(self, remote: int, service: str) -> None:
        stream = Stream(len(self._streams) + 1, remote)
        self._streams[stream.local] = stream
        self.send(A_OKAY, stream.local, remote)
        work = self._sync if service.startswith("sync:") else self._shell
        threading.Thread(target=self._run, args=(work, stream, service), daemon=True).start()

    def _run(self, work: object, stream: Stream, service: str) -> None:
        with suppress(OSError, EOFError):
            work(stream, service)  # type: ignore[operator]
            self.send(A_CLSE, stream.local, stream.remote)

    def _arrive(self, stream: Stream, data: bytes) -> None:
        with stream.arrived:
            stream.data += data
            stream.arrived.notify_all()
        self.send(A_OKAY, stream.local, stream.remote)

    def _ended(self, stream: Stream) -> None:
        with stream.arrived:
            stream.closed = True
            stream.arrived.notify_all()
        stream.ready.set()

    def write(self, stream: Stream, data: bytes) -> None:
        for start in range(0, len(data), MAXIMUM):
            stream.ready.clear()
            self.send(A_WRTE, stream.local, stream.remote, data[start : start + MAXIMUM])
            stream.ready.wait()
            if stream.closed:
                raise EOFError

    # shell

    def _shell(self, stream: Stream, service: str) -> None:
        options, _, command = service.partition(":")
        framed = ",v2" in options
        faults = self.phone.faults
        self.phone.commands.append(command)
        if faults.hang_on and faults.hang_on in command:
            time.sleep(3600)
        child = self._started(command)
        if faults.drop_during and faults.drop_during in command and faults.drops:
            faults.drops -= 1
            time.sleep(0.3)
            self.close()
            return
        output = child.communicate()[0].replace(str(self.phone.root).encode(), b"")
        if faults.cut and faults.cut in command:
            output = output[: len(output) // 2]
            self.write(stream, _packet(STDOUT, output) if framed else output)
            return
        if output:
            self.write(stream, _packet(STDOUT, output) if framed else output)
        if framed:
            self.write(stream, _packet(EXIT, bytes([child.returncode & 0xFF])))

    def _started(self, command: str) -> subprocess.Popen[bytes]:
        """It lives on when the cable is pulled, as a process that pays no heed to the hang-up does."""
        environment = {**os.environ, "PATH": f"{self.phone.root}/bin:{os.environ['PATH']}"}
        return subprocess.Popen(
            ["sh", "-c", self.phone.placed(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )

    # push and pull

    def _sync(self, stream: Stream, service: str) -> None:
        while True:
            name, size = struct.unpack("<4sI", stream.exactly(8))
            if name == b"QUIT":
                return
            argument = stream.exactly(size).decode()
            _REQUESTS[name](self, stream, argument)

    def _stat(self, stream: Stream, path: str) -> None:
        here = Path(self.phone.placed(path))
        found = here.stat() if here.exists() else None
        values = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
        self.write(stream, struct.pack("<4s3I", b"STAT", *values))

    def _receive(self, stream: Stream, argument: str) -> None:
        path, _, mode = argument.rpartition(",")
        content = bytearray()
        while (part := struct.unpack("<4sI", stream.exactly(8)))[0] == b"DATA":
            content += stream.exactly(part[1])
        if self.phone.faults.full:
            message = b"couldn't create file: No space left on device"
            self.write(stream, struct.pack("<4sI", b"FAIL", len(message)) + message)
            return
        here = Path(self.phone.placed(path))
        here.write_bytes(content)
        here.chmod(int(mode) & 0o777)
        self.write(stream, struct.pack("<4sI", b"OKAY", 0))

    def _give(self, stream: Stream, path: str) -> None:
        content = Path(self.phone.placed(path)).read_bytes()
        for start in range(0, len(content), 64 * 1024):
            part = content[start : start + 64 * 1024]
            self.write(stream, struct.pack("<4sI", b"DATA", len(part)) + part)
        self.write(stream, struct.pack("<4sI", b"DONE", 0))


_REQUESTS = {b"STAT": Connection._stat, b"SEND": Connection._receive, b"RECV": Connection._give}


def _packet(kind: int, data: bytes) -> bytes:
    return struct.pack("<BI", kind, len(data)) + data


def _read(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data


# ---- Debian's adb, with a server of its own --------------------------------------------------------------------------

ADB = shutil.which("adb")


class Client:
    """The real adb command, its server on a port of its own, its keys in a folder of its own."""

    def __init__(self, root: Path, port: int) -> None:
        assert ADB is not None
        self.command = root / "adb"
        self.command.write_text(
            f'#!/bin/sh\nexport HOME="{root}" ANDROID_ADB_SERVER_PORT={port}\nunset ANDROID_SERIAL\nexec {ADB} "$@"\n'
        )
        self.command.chmod(0o755)

    def kill_server(self) -> None:
        subprocess.run([self.command, "kill-server"], capture_output=True, check=False, timeout=30)


def kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
