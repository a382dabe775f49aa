"""devices.toml, and the commands around it."""

from __future__ import annotations

import json
import re
import textwrap
import time
from pathlib import Path

import pytest

from archlang.device import devices, places
from archlang.device.quarantine import Quarantine
from archlang.errors import ArchError
from archlang.source import Source
from tests.device.phone import ADB, Client
from tests.device.processes import free_port
from tests.device.ssh_server import Board
from tests.e2e.program import archlang as run

GOOD = """\
[pi4]
kind = "ssh"
host = "raspberrypi.local"
user = "pi"
connect_secs = 5

[phone]   # on the desk
kind = "adb"
benchmark_model = "~/benchmark_model"
cores = "f0"

[npu]
kind = "ethos-u"
"""


def _wrong(text: str) -> list[tuple[str, int, str, str]]:
    """The mistakes in a text: code, line, message, help."""
    with pytest.raises(ArchError) as caught:
        devices.parse(Source("devices.toml", text))
    return [(d.code, d.span.line if d.span else 0, d.message, d.help) for d in caught.value.diagnostics]


def test_a_file_with_devices() -> None:
    entries = devices.parse(Source("devices.toml", GOOD))
    assert list(entries) == ["pi4", "phone", "npu"]
    assert (entries["pi4"].kind, entries["pi4"].settings["host"]) == ("ssh", "raspberrypi.local")


def test_the_example_is_right_once_its_comments_are_taken_away() -> None:
    lines = [line.removeprefix("# ") for line in devices.EXAMPLE.splitlines() if line.startswith(("# [", "# "))]
    text = "\n".join(line for line in lines if line.startswith("[") or " = " in line)
    assert {entry.kind for entry in devices.parse(Source("devices.toml", text)).values()} == set(devices.KINDS)
    assert devices.parse(Source("devices.toml", devices.EXAMPLE)) == {}


def test_the_tables_of_the_page_are_right() -> None:
    """Every example of docs/devices.md can be copied as it stands."""
    page = (Path(__file__).parents[2] / "docs/devices.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^((?:    .*\n)+)", page, re.MULTILINE)
    tables = "\n".join(textwrap.dedent(block) for block in blocks if block.startswith("    ["))
    assert {entry.kind for entry in devices.parse(Source("page", tables)).values()} == set(devices.KINDS)


@pytest.mark.parametrize(
    ("text", "code", "line", "message", "help"),
    [
        ('[pi4]\nkind = "ssh\n', "E1021", 2, "not TOML: ", ""),
        ('[pi4]\nkind = "shh"\nhost = "a"\n', "E1022", 2, "`pi4` is of an unknown kind 'shh'", "did you mean `ssh`?"),
        ('[pi4]\nhost = "a"\n', "E1022", 1, "`pi4` has no kind", "known here"),
        ('["pi 4"]\nkind = "ssh"\nhost = "a"\n', "E1022", 1, "a device cannot be called `pi 4`", "letters"),
        ('[host]\nkind = "ssh"\nhost = "a"\n', "E1022", 1, "a device cannot be called `host`", "this machine"),
        ('kind = "ssh"\n', "E1022", 1, "`kind` stands outside a table", "[NAME]"),
        ('[pi4]\nkind = "ssh"\n', "E1023", 1, "`pi4` has no `host`", ""),
        ('[pi4]\nkind = "ssh"\nhots = "a"\nhost = "a"\n', "E1023", 3, "there is no key `hots`", "`host`"),
        ('[pi4]\nkind = "ssh"\nhost = "a"\nport = "22"\n', "E1023", 4, "`port` is a whole number", ""),
        ('[pi4]\nkind = "ssh"\nhost = "a"\nport = true\n', "E1023", 4, "`port` is a whole number", ""),
    ],
)
def test_mistakes_are_shown_where_they_are(text: str, code: str, line: int, message: str, help: str) -> None:
    ((found_code, found_line, found_message, found_help),) = _wrong(text)
    assert (found_code, found_line) == (code, line)
    assert message in found_message
    assert help in found_help


def test_all_mistakes_at_once() -> None:
    assert len(_wrong('[a]\nkind = "ssh"\nprot = 1\n\n[b]\nkind = "abd"\n')) == 3


def test_the_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert places.devices_file() == tmp_path / "config/archlang/devices.toml"
    assert places.state_folder() == tmp_path / "state/archlang"
    monkeypatch.setenv("ARCHLANG_DEVICES", "other.toml")
    assert places.devices_file() == Path("other.toml")


# ---- quarantine ------------------------------------------------------------------------------------------------------


def test_quarantine_grows_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine = Quarantine.of("pi4")
    pauses = []
    for _ in range(12):
        quarantine.failed("lost")
        pauses.append(round(max(0.0, quarantine.record().until - time.time()), -1))
    assert pauses[:5] == [0, 0, 600, 1200, 2400]
    assert pauses[-1] == 86_400
    held = quarantine.holds()
    assert held is not None
    assert (held.failures, held.reason) == (12, "lost")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_500)
    assert quarantine.holds() is None
    quarantine.succeeded()
    assert quarantine.record().failures == 0


def test_a_damaged_record_is_none() -> None:
    quarantine = Quarantine.of("pi4")
    quarantine.failed("lost")
    (quarantine.folder / "pi4.json").write_text('{"failures": ')
    assert quarantine.record().failures == 0


# ---- the commands ----------------------------------------------------------------------------------------------------


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "devices.toml"
    path.write_text(text)
    return str(path)


def test_init_add_list_remove(tmp_path: Path) -> None:
    file = tmp_path / "config/archlang/devices.toml"
    assert run("devices", "init").status == 0
    assert "E1024" in run("devices", "init").err
    added = run("devices", "add", "pi4", "ssh", "host=raspberrypi.local", "port=2222", "--json")
    assert added.document == {"name": "pi4", "file": str(file)}
    assert run("devices", "add", "pi4", "ssh", "host=other").status == 1
    assert run("devices", "add", "pi5", "ssh", "hsot=other").status == 1
    assert run("devices", "add", "mcu", "tflm", "arena=65536").status == 0
    listed = run("devices", "--json").document
    assert [(row["name"], row["kind"]) for row in listed] == [("host", "host"), ("pi4", "ssh"), ("mcu", "tflm")]
    assert listed[1]["settings"] == {"host": "raspberrypi.local", "port": 2222}
    assert run("devices", "remove", "pi4").status == 0
    assert [row["name"] for row in run("devices", "list", "--json").document] == ["host", "mcu"]
    assert run("devices", "remove", "pi4").status == 1
    assert file.read_text().startswith(devices.EXAMPLE)


def test_a_file_that_is_named_must_be_there() -> None:
    assert run("devices", "list").status == 0
    missing = run("devices", "list", "--devices", "nowhere.toml")
    assert missing.status == 3
    assert "archlang devices init" in missing.err


def test_mistakes_end_the_commands(tmp_path: Path) -> None:
    done = run("bench", "m.tflite", "--device", "pi4", "--devices", _file(tmp_path, '[pi4]\nkind = "shs"\n'))
    assert done.status == 1
    assert "devices.toml:2:1" in done.err


def test_unknown_names(tmp_path: Path) -> None:
    done = run("devices", "check", "pi5", "--devices", _file(tmp_path, GOOD))
    assert done.status == 3
    assert "did you mean `pi4`" in done.err


def test_names_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHLANG_DEVICES", _file(tmp_path, GOOD))
    assert devices.names() == ["host", "pi4", "phone", "npu"]
    _file(tmp_path, "[")
    assert devices.names() == ["host"]


def test_check_says_what_is_missing(tmp_path: Path) -> None:
    text = (
        '[off]\nkind = "ssh"\nhost = "127.0.0.1"\nport = 1\nconnect_secs = 2\n'
        '[phone]\nkind = "adb"\nbenchmark_model = "/nowhere"\nadb = "/nowhere/adb"\n'
        '[npu]\nkind = "ethos-u"\nvela = "/nowhere/vela"\n'
    )
    done = run("devices", "check", "--devices", _file(tmp_path, text), "--json")
    assert done.status == 3
    found = {row["name"]: row for row in done.document}
    assert found["host"]["ok"]
    assert [found[name]["ok"] for name in ("off", "phone", "npu")] == [False] * 3
    remedies = {name: found[name]["findings"][0]["remedy"] for name in ("off", "phone", "npu")}
    assert "is it on" in remedies["off"]
    assert "apt install adb" in remedies["phone"]
    assert "archlang[ethos-u]" in remedies["npu"]


def _board_file(board: Board) -> str:
    device = board.device()
    keys = {key: getattr(device, key) for key in ("host", "user", "port", "key", "known_hosts", "python", "folder")}
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return _file(board.root, "\n".join(["[board]", 'kind = "ssh"', *lines]) + "\n")


def test_check_lifts_the_quarantine_of_a_device_that_is_well(board: Board) -> None:
    file = _board_file(board)
    for _ in range(3):
        Quarantine.of("board").failed("the connection was lost")
    listed = run("devices", "list", "--devices", file)
    assert "board is left alone until" in listed.out
    done = run("devices", "check", "board", "--devices", file)
    assert done.status == 0, done.out + done.err
    assert "it is used again now" in done.out
    assert Quarantine.of("board").holds() is None
    assert board.left_behind() == []


def test_bench_on_a_board_and_on_this_machine_at_once(board: Board, small: Path) -> None:
    words = ("bench", str(small), "--devices", _board_file(board), "--runs", "20", "--min-secs", "0.05", "--json")
    both = run(*words, "--device", "board,host").document
    assert [row["device"] for row in both] == ["board", "host"]
    assert all(row["median_ms"] > 0 and row["runs"] >= 20 for row in both)
    one = run(*words, "--device", "board").document
    assert one["runtime"].startswith("LiteRT ")
    assert board.left_behind() == []


def test_the_failure_of_one_device_is_not_that_of_the_others(tmp_path: Path, small: Path) -> None:
    file = _file(tmp_path, '[off]\nkind = "adb"\nbenchmark_model = "/nowhere"\n')
    words = ("bench", str(small), "--devices", file, "--runs", "5", "--min-secs", "0", "--device", "off,host", "--json")
    done = run(*words)
    assert done.status == 3
    off, host = done.document
    assert "cannot read /nowhere" in off["error"]
    assert host["median_ms"] > 0


@pytest.mark.skipif(ADB is None, reason="no adb here (on Debian, apt install adb)")
def test_no_phone_is_no_traceback(tmp_path: Path) -> None:
    client = Client(tmp_path, free_port())
    keys = f'benchmark_model = "b"\nserial = "127.0.0.1:1"\nadb = "{client.command}"\n'
    done = run("devices", "check", "phone", "--devices", _file(tmp_path, f'[phone]\nkind = "adb"\n{keys}'))
    client.kill_server()
    assert done.status == 3
    assert "connection: failed to connect to" in done.out
    assert "Traceback" not in done.err
