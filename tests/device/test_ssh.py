"""Measuring over ssh on a real server, and what happens when the board, the cable or the disk fails."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archlang.device import agent, runner, scripts, ssh
from archlang.device.quarantine import Quarantine
from archlang.device.reliable import Reliable
from archlang.device.ssh import Ssh
from archlang.device.transport import DeviceFailure, Sampled, Settings
from archlang.errors import ArchError, OutsideError
from tests.device.processes import running, until
from tests.device.ssh_server import Board, Cable

QUICK = Settings(runs=20, min_secs=0.05, warmup_secs=0.01, timeout_secs=60)
LONG = replace(QUICK, runs=10**9)


def _gone(board: Board) -> None:
    until(lambda: not board.left_behind(), "the folder on the board is removed")
    until(lambda: not running(str(board.folder)), "nothing of ours runs on the board")


def _python(path: Path, *lines: str) -> str:
    """A program in place of Python on the board."""
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return str(path)


def test_a_model_is_measured_and_nothing_stays(board: Board, small: Path) -> None:
    link = Ssh(board.device())
    sampled = link.run(small, QUICK)
    assert sampled.runtime.startswith("LiteRT ")
    assert len(sampled.samples_ms) >= 20
    assert min(sampled.samples_ms) > 0
    assert sampled.ops is None
    assert sampled.before is not None
    assert sampled.after is not None
    assert len(board.left_behind()) == 1
    link.close()
    _gone(board)


def test_two_models_in_turns_are_sent_once_each(board: Board, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = small.with_name("other.tflite")
    other.write_bytes(small.read_bytes() + b"\0")
    sent: list[str] = []
    ask = ssh._Session.ask

    async def observed(session: ssh._Session, request: dict[str, Any], *rest: Any) -> dict[str, Any]:
        if request["do"] == "put":
            sent.append(request["path"])
        return await ask(session, request, *rest)

    monkeypatch.setattr(ssh._Session, "ask", observed)
    link = Ssh(board.device())
    for model in (small, other, small, other):
        link.run(model, QUICK)
    link.close()
    assert len([path for path in sent if path.startswith("model-")]) == 2
    assert len(set(sent)) == len(sent)


@pytest.mark.slow
def test_the_fallback_server_serves_as_well(plain_board: Board, small: Path) -> None:
    link = Ssh(plain_board.device())
    assert len(link.run(small, QUICK).samples_ms) >= 20
    link.close()
    _gone(plain_board)


def test_operators_are_profiled(board: Board, small: Path) -> None:
    link = Ssh(board.device())
    sampled = link.run(small, replace(QUICK, profile=True))
    link.close()
    assert sampled.ops is not None
    assert any("Conv" in op.op for op in sampled.ops)
    assert sum(op.share for op in sampled.ops) == pytest.approx(1)


def test_a_board_says_what_it_is(board: Board) -> None:
    link = Ssh(board.device())
    described = link.describe()
    link.close()
    assert described.cores == os.cpu_count()
    assert os.uname().release in described.system
    assert described.fingerprint == scripts.description(agent.describe({}, "/tmp")).fingerprint


def test_several_boards_at_once(board: Board, small: Path) -> None:
    """Two measurements overlap: each runs until the other has begun."""
    links = [Ssh(board.device()) for _ in range(2)]
    both = threading.Event()

    def measure(link: Ssh) -> Sampled:
        sampled = link.run(small, replace(QUICK, min_secs=0.5))
        if len(board.left_behind()) == 2:
            both.set()
        return sampled

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(measure, links))
    for link in links:
        link.close()
    assert both.is_set()
    assert all(len(result.samples_ms) >= 20 for result in results)
    _gone(board)


def test_a_damaged_model_is_the_users_fault(board: Board, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\x1c\0\0\0TFL3" + bytes(40))
    link = Ssh(board.device())
    with pytest.raises(ArchError, match=r"E100[12]"):
        link.run(damaged, QUICK)
    link.close()
    _gone(board)


# ---- faults ----------------------------------------------------------------------------------------------------------


def _in_the_middle(board: Board, link: Ssh, small: Path) -> tuple[ThreadPoolExecutor, object]:
    """A measurement that will not end by itself, once it runs."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(link.run, small, LONG)
    until(lambda: bool(running("archlang.device.runner")) and bool(board.left_behind()), "the measurement runs")
    return pool, future


def test_the_server_is_killed_in_the_middle(board: Board, small: Path) -> None:
    """The kill takes the agent too: its folder stays, as after a power cut, and the next contact removes it."""
    link = Ssh(board.device())
    pool, future = _in_the_middle(board, link, small)
    board.kill()
    with pytest.raises(DeviceFailure) as caught:
        future.result(30)  # type: ignore[attr-defined]
    assert caught.value.kind == "lost"
    link.close()
    pool.shutdown()
    assert len(board.left_behind()) == 1
    with pytest.raises(DeviceFailure, match="cannot be reached"):
        link.run(small, QUICK)
    board.start()
    assert len(link.run(small, QUICK).samples_ms) >= 20
    link.close()
    _gone(board)


def test_only_the_connection_is_killed(board: Board, small: Path) -> None:
    """The board lives on and cleans up by itself."""
    link = Ssh(board.device())
    pool, future = _in_the_middle(board, link, small)
    assert link._session is not None
    ssh._loop().call_soon_threadsafe(link._session._connection.abort)
    with pytest.raises(DeviceFailure):
        future.result(30)  # type: ignore[attr-defined]
    pool.shutdown()
    link.close()
    _gone(board)


@pytest.mark.slow
def test_the_cable_is_pulled_in_the_middle(board: Board, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is closed, nothing arrives: both ends notice by the silence."""
    cable = Cable(board.port)
    link = Ssh(board.device(port=cable.port))
    pool, future = _in_the_middle(board, link, small)
    cable.pull()
    with pytest.raises(DeviceFailure) as caught:
        future.result(30)  # type: ignore[attr-defined]
    assert caught.value.kind == "lost"
    pool.shutdown()
    link.close()
    _gone(board)  # the agent's patience of 10 s is over
    cable.close()


def test_the_agent_is_killed_in_the_middle(board: Board, small: Path) -> None:
    link = Ssh(board.device())
    pool, future = _in_the_middle(board, link, small)
    folder = board.left_behind()[0]
    for pid in running(",'agent','exec'"):
        os.kill(pid, 9)
    with pytest.raises(DeviceFailure) as caught:
        future.result(30)  # type: ignore[attr-defined]
    assert caught.value.kind == "lost"
    pool.shutdown()
    until(lambda: not running(str(board.folder)), "the measurement ends with the agent")
    assert board.left_behind() == [folder]
    link.close()
    link.run(small, QUICK)
    assert folder not in board.left_behind()
    link.close()


@pytest.mark.slow
def test_a_folder_in_use_is_not_taken_for_stale(board: Board, small: Path) -> None:
    first, second = Ssh(board.device()), Ssh(board.device())
    first.run(small, QUICK)
    second.run(small, QUICK)
    assert len(board.left_behind()) == 2
    first.run(small, QUICK)
    first.close()
    second.close()
    _gone(board)


def test_a_hung_measurement_ends_in_time(
    board: Board, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = tmp_path / "runner.py"
    hanging.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(scripts, "RUNNER", hanging)
    link = Ssh(board.device())
    with pytest.raises(DeviceFailure, match=r"small\.tflite was not measured within 1 s") as caught:
        link.run(small, replace(QUICK, timeout_secs=1.0))
    assert caught.value.kind == "hung"
    link.close()
    _gone(board)


def test_a_board_that_never_answers(board: Board, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "ANSWER_SECS", 1.0)
    link = Ssh(board.device(python=_python(tmp_path / "python", "exec sleep 600")))
    with pytest.raises(DeviceFailure, match="did not answer"):
        link.run(small, QUICK)
    link.close()


def test_a_full_disk(board: Board, tmp_path: Path) -> None:
    """A limit on the size of files stands for it: both are errors of the write."""
    large = tmp_path / "large.tflite"
    large.write_bytes(b"\x1c\0\0\0TFL3" + bytes(4_000_000))
    link = Ssh(board.device(python=_python(tmp_path / "python", "ulimit -f 1000", f'exec "{sys.executable}" "$@"')))
    with pytest.raises(DeviceFailure) as caught:
        link.run(large, QUICK)
    assert caught.value.kind == "disk"
    assert "make room" in caught.value.remedy
    link.close()
    _gone(board)


def test_an_answer_that_is_not_whole(
    board: Board, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "runner.py"
    cut.write_text("""print('{"runtime": "LiteRT", "samples_ms": [1.0, 2.0, 3', end="")\n""")
    monkeypatch.setattr(scripts, "RUNNER", cut)
    link = Ssh(board.device())
    with pytest.raises(DeviceFailure) as caught:
        link.run(small, QUICK)
    assert caught.value.kind == "partial"
    link.close()


def test_memory_that_runs_out(board: Board, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = tmp_path / "runner.py"
    killed.write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setattr(scripts, "RUNNER", killed)
    link = Ssh(board.device())
    with pytest.raises(DeviceFailure, match="memory is short"):
        link.run(small, QUICK)
    link.close()


# ---- what a person has to set right ----------------------------------------------------------------------------------


def test_a_refused_key(board: Board) -> None:
    (board.root / "authorized_keys").write_text("")
    with pytest.raises(DeviceFailure, match="refuses the key") as caught:
        Ssh(board.device()).describe()
    assert "ssh-copy-id -p" in caught.value.remedy
    assert not caught.value.transient


def test_a_host_of_another_key(board: Board) -> None:
    (board.root / "known_hosts").write_text("")
    with pytest.raises(DeviceFailure, match="known hosts"):
        Ssh(board.device()).describe()


def test_a_board_without_python(board: Board) -> None:
    with pytest.raises(DeviceFailure, match="there is no Python") as caught:
        Ssh(board.device(python="python-of-nowhere")).describe()
    assert "`python` in devices.toml" in caught.value.remedy


def test_a_board_without_a_runtime(board: Board, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = tmp_path / "runner.py"
    without.write_text("""print('{"error": "missing", "message": "no TFLite runtime is installed"}')\n""")
    monkeypatch.setattr(scripts, "RUNNER", without)
    link = Ssh(board.device())
    with pytest.raises(DeviceFailure, match="no TFLite runtime") as caught:
        link.run(small, QUICK)
    link.close()
    assert "pip install numpy ai-edge-litert" in caught.value.remedy


def test_check_looks_for_what_a_measurement_needs(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "NEEDED", (("numpy",), ("runtime_of_nowhere",)))
    found = {finding.what: finding for finding in board.device().check("board")}
    assert [found[what].ok for what in ("connection", "runtime", "disk")] == [True, False, True]
    assert "No module named 'runtime_of_nowhere'" in found["runtime"].message


def test_a_folder_that_is_not_there(board: Board) -> None:
    with pytest.raises(DeviceFailure, match="No such file"):
        Ssh(board.device(folder="/nowhere/at/all")).describe()


# ---- tried again, and then no more -----------------------------------------------------------------------------------


def test_a_reboot_between_two_tries(board: Board, small: Path) -> None:
    """The board goes down in the middle of a measurement and is up again before the last try."""
    device = Reliable("board", Ssh(board.device()), Quarantine.of("board"), pause_secs=2.0)

    def reboot() -> None:
        until(lambda: bool(running("archlang.device.runner")), "the measurement runs")
        board.kill()
        board.start()

    rebooting = threading.Thread(target=reboot)
    rebooting.start()
    sampled = device.run(small, replace(QUICK, min_secs=3.0))
    rebooting.join()
    device.close()
    # The whole of the last try: a run takes microseconds, and about as long goes by between two.
    assert sum(sampled.samples_ms) > 1500
    assert Quarantine.of("board").record().failures == 0
    _gone(board)


def test_a_board_that_keeps_failing_is_left_alone(board: Board, small: Path) -> None:
    board.kill()
    device = Reliable("board", Ssh(board.device()), Quarantine.of("board"), pause_secs=0.0)
    for _ in range(3):
        with pytest.raises(OutsideError, match=r"board: 127\.0\.0\.1 cannot be reached"):
            device.run(small, QUICK)
    board.start()
    with pytest.raises(OutsideError, match=r"failed 3 times in succession .* is left alone until"):
        device.run(small, QUICK)
    record = Quarantine.of("board").holds()
    assert record is not None
    assert 500 < record.until - time.time() <= 600
    Quarantine.of("board").succeeded()
    assert len(device.run(small, QUICK).samples_ms) >= 20
    device.close()


# ---- old boards ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [agent, runner])
def test_what_runs_on_the_board_is_python_3_7(module: object) -> None:
    ast.parse(Path(str(module.__file__)).read_text(), feature_version=(3, 7))  # type: ignore[attr-defined]


def test_the_agent_stands_alone() -> None:
    """It is sent as one text, and starts without anything that has to be installed."""
    text = Path(agent.__file__).read_bytes()
    hello = json.dumps({"do": "hello", "folder": "", "patience": 5.0}).encode()
    message = f"{len(hello)} {hashlib.sha256(hello).hexdigest()}\n".encode() + hello
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ssh._START], input=b"%010d" % len(text) + text + message, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.partition(b"\n")[2])
    assert not Path(answer["folder"]).exists()


def test_boards_that_begin_in_the_same_moment_share_one_loop() -> None:
    ssh._started.cache_clear()
    begin = threading.Barrier(8)

    def loop(_: int) -> asyncio.AbstractEventLoop:
        begin.wait()
        return ssh._loop()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(loop, range(8)))) == 1
