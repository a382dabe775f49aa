"""A board on the loopback address: OpenSSH's sshd, or asyncssh's own server where there is no sshd."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import asyncssh

from archlang.device.ssh import SshDevice
from tests.device.processes import answers, free_port, kill_tree, until

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Board:
    """A server with its keys and a folder for temporary files, all below `root`."""

    def __init__(self, root: Path, real: bool) -> None:
        self.root = root
        self.real = real
        self.port = free_port()
        self.folder = root / "tmp"
        self.folder.mkdir()
        self._server: subprocess.Popen[bytes] | None = None
        for name in ("host", "client"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(root / name)
            key.write_public_key(root / f"{name}.pub")
            (root / name).chmod(0o600)
        (root / "known_hosts").write_text(f"[127.0.0.1]:* {(root / 'host.pub').read_text()}")
        (root / "authorized_keys").write_bytes((root / "client.pub").read_bytes())

    def device(self, **changes: object) -> SshDevice:
        return SshDevice(
            **{  # type: ignore[arg-type]
                "host": "127.0.0.1",
                "port": self.port,
                "user": getpass.getuser(),
                "key": str(self.root / "client"),
                "known_hosts": str(self.root / "known_hosts"),
                "python": sys.executable,
                "folder": str(self.folder),
                "keepalive_secs": 0.5,
                **changes,
            }
        )

    def start(self) -> None:
        log = (self.root / "server.log").open("ab")
        self._server = subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        until(lambda: answers(self.port), f"the server listens; {(self.root / 'server.log').read_text()}")

    def kill(self) -> None:
        """The server and every process of its sessions at once."""
        if self._server is not None:
            kill_tree(self._server)
        self._server = None

    def _command(self) -> list[str]:
        if not self.real:
            return [sys.executable, "-m", "tests.device.ssh_server", str(self.root), str(self.port)]
        assert SSHD is not None
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        config = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": self.root / "host",
            "AuthorizedKeysFile": self.root / "authorized_keys",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
        }
        (self.root / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in config.items()))
        return [SSHD, "-D", "-e", "-f", str(self.root / "sshd_config")]

    def left_behind(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


class Cable:
    """Forwards connections to a board, until it is pulled: then nothing passes and nothing is closed."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._plugged = threading.Event()
        self._plugged.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        self._plugged.clear()

    def close(self) -> None:
        self._listener.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not self._plugged.is_set():
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


# ---- the fallback ----------------------------------------------------------------------------------------------------


async def _handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """The command by a shell, as sshd does."""
    child = await asyncio.create_subprocess_shell(
        process.command or "true",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    process.exit(await child.wait())


async def _serve(root: Path, port: int) -> None:
    await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[root / "host"],
        authorized_client_keys=str(root / "authorized_keys"),
        process_factory=_handle,
        encoding=None,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
