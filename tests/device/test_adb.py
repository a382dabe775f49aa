"""Measuring over adb, with the real client, on a device that fails in all the ways that devices do."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archlang.device import adb
from archlang.device.adb import Adb, AdbDevice, big_cores
from archlang.device.quarantine import Quarantine
from archlang.device.reliable import Reliable
from archlang.device.transport import DeviceFailure, Settings
from archlang.errors import ArchError, OutsideError
from tests.device import benchmark_tool
from tests.device.phone import ADB, Client, Phone, kill
from tests.device.processes import free_port, running, until

pytestmark = pytest.mark.skipif(ADB is None, reason="no adb here (on Debian, apt install adb)")

QUICK = Settings(runs=40, min_secs=0.1, warmup_secs=0.0, warmup_runs=2, timeout_secs=60)
RUN = "./benchmark_model --graph"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(tmp_path_factory.mktemp("adb"), free_port())
    yield client
    client.kill_server()


@pytest.fixture(autouse=True)
def _few_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb, "PROCESSES", 4)


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["shell_v2", "shell_v1"])
def phone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Phone]:
    yield from _running(Phone(tmp_path / "phone", shell_v2=request.param))


@pytest.fixture
def new_phone(tmp_path: Path) -> Iterator[Phone]:
    yield from _running(Phone(tmp_path / "phone"))


def _running(phone: Phone) -> Iterator[Phone]:
    yield phone
    phone.close()
    kill(running(str(phone.root)))


def _tool(path: Path, form: str = "new", before: str = "") -> str:
    """benchmark_model, as it would print in this form; `before` is done first."""
    text = Path(benchmark_tool.__file__).read_text().replace('FORM = "new"', f'FORM = "{form}"')
    path.write_text(
        f"#!{sys.executable}\n{text}".replace("def main() -> int:\n", f"def main() -> int:\n    {before}\n")
    )
    return str(path)


def _device(phone: Phone, client: Client, tmp_path: Path, tool: str = "", **changes: str) -> AdbDevice:
    tool = tool or _tool(tmp_path / "benchmark_model")
    return replace(AdbDevice(tool, f"127.0.0.1:{phone.port}", adb=str(client.command)), **changes)


def _calls(phone: Phone) -> list[dict[str, str]]:
    return [json.loads(line) for path in phone.folder.glob("*/calls.json") for line in path.read_text().splitlines()]


def test_a_model_is_measured_and_nothing_stays(phone: Phone, client: Client, tmp_path: Path, small: Path) -> None:
    link = Adb(_device(phone, client, tmp_path))
    sampled = link.run(small, replace(QUICK, threads=2, profile=True))
    assert len(sampled.samples_ms) == adb.PROCESSES
    assert sampled.averaged * adb.PROCESSES >= QUICK.runs
    assert min(sampled.samples_ms) > 0
    assert sampled.runtime.endswith("taskset f0")
    assert sampled.before is not None
    assert (sampled.before.temperature_c, sampled.before.governor) == (41.5, "schedutil")
    assert sampled.before.frequency_mhz == (1200.0,) * 8
    assert sampled.ops is not None
    assert [(op.op, op.name, op.ms) for op in sampled.ops] == [
        ("CONV_2D", "[net/conv, bias]:0", 0.09),
        ("ELU", "[net/elu]:1", 0.03),
    ]
    calls = _calls(phone)
    assert len(calls) == adb.PROCESSES + 1
    assert {call["num_threads"] for call in calls} == {"2"}
    link.close()
    assert phone.left_behind() == []


def test_two_models_in_turns_are_pushed_once_each(
    phone: Phone, client: Client, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(small.read_bytes() + b"\0")
    link = Adb(_device(phone, client, tmp_path))
    pushed: list[str] = []
    command = link._adb

    def observed(words: list[str], *rest: Any, **options: Any) -> Any:
        pushed.extend(words[2:] if words[0] == "push" else [])
        return command(words, *rest, **options)

    monkeypatch.setattr(link, "_adb", observed)
    for model in (small, other, small, other):
        link.run(model, QUICK)
    assert len([path for path in pushed if path.endswith(".tflite")]) == 2
    assert len({call["graph"] for call in _calls(phone)}) == 2
    link.close()


@pytest.mark.parametrize(
    "form",
    ["old", pytest.param("new", marks=pytest.mark.slow), pytest.param("median", marks=pytest.mark.slow), "litert"],
)
def test_every_form_of_the_output_is_read(
    form: str, new_phone: Phone, client: Client, tmp_path: Path, small: Path
) -> None:
    link = Adb(_device(new_phone, client, tmp_path, _tool(tmp_path / "tool", form)))
    sampled = link.run(small, QUICK)
    link.close()
    assert len(sampled.samples_ms) == adb.PROCESSES
    assert sampled.warmup_runs == 2 * adb.PROCESSES


def test_a_device_says_what_it_is(new_phone: Phone, client: Client, tmp_path: Path) -> None:
    described = Adb(_device(new_phone, client, tmp_path)).describe()
    assert (described.model, described.system, described.cores) == ("Model F", "Android 14 arm64-v8a", 8)


@pytest.mark.slow
def test_what_is_pushed_can_be_pulled(new_phone: Phone, client: Client, tmp_path: Path) -> None:
    """The endpoint itself: what adb sends arrives, and comes back the same."""
    content = os.urandom(700_000)
    (tmp_path / "there").write_bytes(content)
    link = Adb(_device(new_phone, client, tmp_path))
    link.describe()
    link._adb(["push", str(tmp_path / "there"), "/data/local/tmp/x"], 30)
    assert (new_phone.folder / "x").read_bytes() == content
    link._adb(["pull", "/data/local/tmp/x", str(tmp_path / "back")], 30)
    assert (tmp_path / "back").read_bytes() == content


def test_big_cores() -> None:
    assert big_cores({0: 1800, 1: 1800, 2: 2400, 3: 2800}, 1) == "c"
    assert big_cores({0: 1800, 1: 1800, 2: 2400, 3: 2800}, 3) == "e"
    assert big_cores({0: 1500, 1: 1500}, 1) == ""
    assert big_cores({}, 1) == ""


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_the_cable_is_pulled_in_the_middle(phone: Phone, client: Client, tmp_path: Path, small: Path) -> None:
    """The tool lives on at the device; the next contact ends it and removes its folder."""
    phone.faults.drop_during, phone.faults.drops = RUN, 1
    link = Adb(_device(phone, client, tmp_path))
    with pytest.raises(DeviceFailure) as caught:
        link.run(small, QUICK)
    assert caught.value.kind in ("lost", "unreachable")
    assert len(phone.left_behind()) == 1
    link.close()
    sampled = link.run(small, QUICK)
    assert len(sampled.samples_ms) == adb.PROCESSES
    link.close()
    assert phone.left_behind() == []


def test_a_tool_that_hangs_is_ended(new_phone: Phone, client: Client, tmp_path: Path, small: Path) -> None:
    tool = _tool(tmp_path / "tool", before="time.sleep(600 if len(sys.argv) > 1 else 0)")
    link = Adb(_device(new_phone, client, tmp_path, tool))
    start = time.monotonic()
    with pytest.raises(DeviceFailure, match="did not end within") as caught:
        link.run(small, replace(QUICK, timeout_secs=2.0))
    assert caught.value.kind == "hung"
    assert time.monotonic() - start < 30
    link.close()
    assert new_phone.left_behind() == []
    until(lambda: not running(str(new_phone.folder)), "the tool is ended")


def test_a_device_that_hangs(
    new_phone: Phone, client: Client, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adb, "COMMAND_SECS", 1.0)
    new_phone.faults.hang_on = "mkdir"
    with pytest.raises(DeviceFailure, match="did not end within 1 s"):
        Adb(_device(new_phone, client, tmp_path)).run(small, QUICK)


def test_a_full_disk(phone: Phone, client: Client, tmp_path: Path, small: Path) -> None:
    phone.faults.full = True
    link = Adb(_device(phone, client, tmp_path))
    with pytest.raises(DeviceFailure) as caught:
        link.run(small, QUICK)
    assert caught.value.kind == "disk"
    link.close()
    assert phone.left_behind() == []


def test_output_that_is_cut_is_no_result(phone: Phone, client: Client, tmp_path: Path, small: Path) -> None:
    phone.faults.cut = RUN
    link = Adb(_device(phone, client, tmp_path))
    with pytest.raises(DeviceFailure) as caught:
        link.run(small, QUICK)
    assert caught.value.kind in ("lost", "partial")
    link.close()


def test_the_server_is_killed_in_the_middle(new_phone: Phone, client: Client, tmp_path: Path, small: Path) -> None:
    """The adb server on this machine; the next try starts another."""
    device = Reliable("phone", Adb(_device(new_phone, client, tmp_path)), Quarantine.of("phone"), pause_secs=0.1)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(device.run, small, replace(QUICK, min_secs=3.0))
        until(lambda: any(RUN in command for command in new_phone.commands), "the measurement runs")
        client.kill_server()
        assert len(future.result(60).samples_ms) == adb.PROCESSES
    device.close()
    assert new_phone.left_behind() == []


@pytest.mark.slow
def test_a_reboot_between_two_tries(new_phone: Phone, client: Client, tmp_path: Path, small: Path) -> None:
    """Everything that ran is gone, the files are still there."""
    device = Reliable("phone", Adb(_device(new_phone, client, tmp_path)), Quarantine.of("phone"), pause_secs=0.2)
    new_phone.faults.drop_during, new_phone.faults.drops = RUN, 2
    rebooted = threading.Thread(target=lambda: kill(running(str(new_phone.folder))))
    rebooted.start()
    assert len(device.run(small, QUICK).samples_ms) == adb.PROCESSES
    rebooted.join()
    assert new_phone.faults.drops == 0
    device.close()
    assert new_phone.left_behind() == []


@pytest.mark.slow
def test_a_device_that_keeps_failing_is_left_alone(
    new_phone: Phone, client: Client, tmp_path: Path, small: Path
) -> None:
    new_phone.faults.drop_during, new_phone.faults.drops = RUN, 100
    device = Reliable("phone", Adb(_device(new_phone, client, tmp_path)), Quarantine.of("phone"), pause_secs=0.0)
    for _ in range(3):
        with pytest.raises(OutsideError, match="phone: "):
            device.run(small, QUICK)
    assert new_phone.faults.drops == 100 - 9
    with pytest.raises(OutsideError, match="left alone until"):
        device.run(small, QUICK)
    assert new_phone.faults.drops == 100 - 9


@pytest.mark.slow
def test_folders_of_others_stay(new_phone: Phone, client: Client, tmp_path: Path, small: Path) -> None:
    """Those of a process that lives, or of another computer, unless they are a day old."""
    lives, gone = os.getppid(), 2**22 + 1
    (new_phone.folder / f"archlang-{adb._here()}-{lives}-a").mkdir()
    (new_phone.folder / f"archlang-{adb._here()}-{gone}-b").mkdir()
    (new_phone.folder / "archlang-0123456789ab-1-c").mkdir()
    old = new_phone.folder / "archlang-0123456789ab-1-d"
    old.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    link = Adb(_device(new_phone, client, tmp_path))
    link.run(small, QUICK)
    link.close()
    assert new_phone.left_behind() == ["archlang-0123456789ab-1-c", f"archlang-{adb._here()}-{lives}-a"]


# ---- what a person has to set right ----------------------------------------------------------------------------------


def test_no_adb(tmp_path: Path) -> None:
    with pytest.raises(DeviceFailure, match="cannot run /nowhere/adb") as caught:
        Adb(AdbDevice("tool", adb="/nowhere/adb")).describe()
    assert "apt install adb" in caught.value.remedy


def test_no_device(client: Client, tmp_path: Path) -> None:
    with pytest.raises(DeviceFailure) as caught:
        Adb(AdbDevice("tool", f"127.0.0.1:{free_port()}", adb=str(client.command))).describe()
    assert caught.value.kind == "unreachable"


def test_a_device_that_does_not_trust_this_computer(new_phone: Phone, client: Client, tmp_path: Path) -> None:
    new_phone.faults.unauthorized = True
    with pytest.raises(DeviceFailure) as caught:
        Adb(_device(new_phone, client, tmp_path)).describe()
    assert caught.value.kind == "refused"
    assert "allow USB debugging" in caught.value.remedy


def test_no_tool(new_phone: Phone, client: Client, tmp_path: Path, small: Path) -> None:
    with pytest.raises(DeviceFailure, match="cannot read /nowhere/tool"):
        Adb(_device(new_phone, client, tmp_path, "/nowhere/tool")).run(small, QUICK)


def test_a_tool_for_another_processor(new_phone: Phone, client: Client, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"\x7fELF" + bytes(60))
    found = {entry.what: entry for entry in _device(new_phone, client, tmp_path, str(tmp_path / "tool")).check("phone")}
    assert found["connection"].ok
    assert not found["benchmark_model"].ok
    assert "processor" in found["benchmark_model"].remedy
    assert new_phone.left_behind() == []


def test_a_damaged_model_is_the_users_fault(new_phone: Phone, client: Client, tmp_path: Path) -> None:
    (tmp_path / "damaged.tflite").write_bytes(b"nothing")
    link = Adb(_device(new_phone, client, tmp_path))
    with pytest.raises(ArchError, match="not a valid Flatbuffer"):
        link.run(tmp_path / "damaged.tflite", QUICK)
    link.close()
