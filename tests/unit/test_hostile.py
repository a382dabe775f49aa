"""Hostile and huge programs: a located error, within 2 GB and 10 seconds of the processor; never a crash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.hostile import Server

NET = "net A:\n  input 3x8x8\n"


def chain(first: str, more: str, count: int) -> str:
    return first + more * count


def nested(opening: str, inner: str, closing: str, count: int) -> str:
    return opening * count + inner + closing * count


def indented(head: str, count: int) -> str:
    lines = [f"{'  ' * (i + 1)}{head}:\n" for i in range(count)]
    return "".join(lines) + "  " * (count + 1) + "relu\n"


def line(text: str) -> str:
    return f"{NET}  {text}\n"


def doubled(first: str, next_: str, count: int = 39) -> str:
    """Definitions each of which uses the one before twice: `{n}` is its number, `{m}` that of the one before."""
    return first + "".join(next_.format(n=i, m=i - 1) for i in range(1, count + 1))


REPEATS = {
    "repeats of repeats": (line("(conv(8, 3) * 1000000) * 1000000"), "E0401"),
    "repeats of repeats within the limit of one": (line("((conv(8, 3) * 1000) * 1000) * 1000"), "E0401"),
    "repeats of what does nothing": (line("((skip * 10000) * 10000) * 10000"), "E0401"),
    "a column of repeats": (line("table conv:\n    | c | n |\n    | 8 | 1000000 |"), "E0401"),
    "loops in loops": (line("for i in 1..10000:\n    for j in 1..10000:\n      n = i"), "E0401"),
    "lists in lists": (line("n = [[[1 for a in 1..1000] for b in 1..1000] for c in 1..1000]"), "E0401"),
    "a doubled list": (line("a = [1]\n  for i in 1..60: a = a + a"), "E0403"),
    "a list of itself, twice": (line("a = 1\n  for i in 1..60: a = [a, a]"), "E0403"),
    "a list in a list in a list": (line("a = 1\n  for i in 1..9000: a = [a]\n  conv(a)"), "E0403"),
    "a doubled step": (line("s = relu\n  for i in 1..60: s = s -> s\n  s"), "E0403"),
    "a step in a step": (line("s = relu\n  for i in 1..9000: s = conv(8, act=s)\n  s"), "E0403"),
    "a growing list": (line("a = [1]\n  for i in 1..10000: a = a + [i]"), "E0401"),
    "a growing expression": (line("p = pos\n  for i in 1..9000: p = p + 1\n  residual(drop=p): relu"), "E0403"),
    "a million parts": (line("a = split(_, 1000000)"), "E0305"),
    "parts of parts": (line("conv(100000)\n  a = split(_, 100000)"), "E0401"),
    "doubling functions": (
        doubled("fn f0(x) = x\n", "fn f{n}(x) = f{m}(x) + f{m}(x)\n") + line("conv(f39(1))"),
        "E0401",
    ),
    "doubling blocks": (doubled("block b0():\n  relu\n\n", "block b{n}():\n  b{m}\n  b{m}\n\n") + line("b39"), "E0401"),
    "doubling nets": (
        doubled("net N0:\n  input 3x8x8\n  relu\n\n", "net N{n}:\n  input 3x8x8\n  N{m}\n  N{m}\n\n"),
        "E0401",
    ),
    "doubling metrics": (
        doubled(
            "net N0:\n  input 3x8x8\n  relu\n\n", "net N{n}:\n  input 3x8x8\n  k = N{m}.macs + N{m}.flops\n  relu\n\n"
        ),
        None,
    ),
    "metrics of a net for each number": (
        "net B(k=1):\n  input 3x8x8\n  conv(k)\n\n" + line("for i in 1..9000: n = B(k=i).macs"),
        "E0401",
    ),
    "doubling choices": (
        doubled("choice C0 = {1, 2}\n", "choice C{n} = {{C{m} + C{m}, 1}}\n", 18) + line("conv(C18)"),
        "E0401",
    ),
    "a huge range": (line("n = 1..1000000000"), "E0403"),
    "a huge sum": (line("n = sum(range(1000000000000))"), "E0403"),
    "zips of zips": (line("a = range(100000)\n  for i in 1..60: a = zip(a, a, a, a)"), "E0403"),
}

NUMBERS = {
    "a tower of powers": (line("conv(9 ** 9 ** 9)"), "E0403"),
    "a power of a power": (line("conv((2 ** 62) ** (2 ** 62))"), "E0403"),
    "a negative tower": (line("n = 2.0 ** -(9 ** 9)\n  relu"), None),
    "1e400": (line("conv(1e400)"), "E0403"),
    "an exponent of nine digits": (line("n = 1e999999999"), "E0403"),
    "digits": (line(f"conv({'9' * 100_000})"), "E0403"),
    "digits behind the point": (line(f"n = 0.{'1' * 100_000}"), "E0403"),
    "digits with a unit": (line(f"n = {'9' * 5000}k"), "E0403"),
    "digits in a size": (line(f"conv(8, {'9' * 5000}x3)"), "E0403"),
    "an input of many digits": (f"net A:\n  input 3x{'9' * 5000}x3\n", "E0403"),
    "a huge input": ("net A:\n  input 3x2000000000x2000000000\n", "E0403"),
    "huge channels": (line("conv(9223372036854775807)"), "E0403"),
    "a huge kernel": (line("conv(8, 2000000000, pad=1000000000)"), None),
    "a huge image": (line("upsample(100000) -> upsample(100000)"), "E0403"),
    "infinity": (line("n = 1e308 * 10"), "E0403"),
    "not a number": (line("n = (-8) ** 0.5"), "E0404"),
    "zero to the minus one": (line("n = 0 ** -1"), "E0404"),
    "division by `pos`": (line("residual(drop=0.1 / pos): relu"), "E0404"),
    "a power of `pos`": (line("residual(drop=(pos - 1) ** 0.5): relu"), "E0404"),
    "more than certain": (line("residual(drop=2 * pos): relu\n  residual(drop=2 * pos): relu"), "E0304"),
}

DEPTHS = {
    "round brackets": (line(f"n = {nested('(', '1', ')', 5000)}"), "E0107"),
    "square brackets": (line(f"n = {nested('[', '1', ']', 5000)}"), "E0107"),
    "braces": (line(f"n = {nested('{', '1', '}', 5000)}"), "E0107"),
    "calls in calls": (line(f"n = {nested('abs(', '1', ')', 5000)}"), "E0107"),
    "brackets that are never closed": (line("n = " + "(" * 100_000), "E0107"),
    "brackets that close nothing": (line("n = " + ")" * 100_000), "E0102"),
    "signs": (line(f"n = {chain('', '-', 5000)}1"), "E0107"),
    "negations": (line(f"n = {chain('', 'not ', 5000)}1"), "E0107"),
    "each of each": (line(f"conv({chain('', 'each ', 5000)}{{1, 2}}) * 2"), "E0107"),
    "powers": (line(f"n = {chain('1', ' ** 1', 5000)}"), "E0107"),
    "a sum of many": (line(f"n = {chain('1', ' + 1', 20_000)}"), "E0107"),
    "steps in a row": (line(chain("relu", " -> relu", 5000)), "E0107"),
    "calls of calls": (line(chain("conv", "(8)", 5000)), "E0107"),
    "elements of elements": (line(chain("n = [1]", "[0]", 5000)), "E0107"),
    "sizes of sizes": (line(chain("n = _", ".c", 5000)), "E0107"),
    "tests in tests": (line(f"n = {chain('', '1 if 0 else ', 5000)}2"), "E0107"),
    "ifs": (f"net A:\n  input 3x8x8\n{indented('if 1', 500)}", "E0107"),
    "loops": (f"net A:\n  input 3x8x8\n{indented('for i in [1]', 500)}", "E0107"),
    "groups": (f"net A:\n  input 3x8x8\n{indented('residual', 500)}", "E0107"),
    "stages": (f"net A:\n  input 3x8x8\n{indented('stage a', 30)}", None),
    "other cases": (NET + "  if 0: relu\n" + "  elif 0: relu\n" * 5000, None),
}

RECURSIONS = {
    "a block": ("block f(n):\n  f(n + 1)\n\n" + line("f(1)"), "E0402"),
    "a block in groups": (
        "block f(n):\n  residual:\n    branch:\n      stage a:\n        if 1:\n          f(n + 1)\n\n" + line("f(1)"),
        "E0402",
    ),
    "two blocks": ("block f(n):\n  g(n)\n\nblock g(n):\n  f(n)\n\n" + line("f(1)"), "E0402"),
    "a block by its default": ("block f(n=f):\n  n\n\n" + line("f"), "E0402"),
    "a block given to itself": ("block f(g):\n  g(g)\n\n" + line("f(f)"), "E0402"),
    "a function": ("fn f(n) = f(n + 1)\n" + line("conv(f(1))"), "E0402"),
    "a function in many brackets": (f"fn f(n) = {nested('(1 + ', 'f(n)', ')', 60)}\n" + line("conv(f(1))"), "E0402"),
    "two functions": ("fn f(n) = g(n)\nfn g(n) = f(n)\n" + line("conv(f(1))"), "E0402"),
    "a function given to itself": ("fn f(g) = g(g)\n" + line("conv(f(f))"), "E0402"),
    "a function by its default": ("fn f(n=f()) = n\n" + line("conv(f())"), "E0402"),
    "a choice": ("choice C = {C, conv(8)}\n" + line("C"), "E0402"),
    "a choice with an argument": ("choice C(n) = {C(n + 1), conv(8)}\n" + line("C(1)"), "E0402"),
    "a constant": ("a = b\nb = a\n" + line("conv(a)"), "E0205"),
    "a net": ("net A:\n  input 3x8x8\n  A\n", "E0402"),
    "two nets": ("net B:\n  input 3x8x8\n  A\n\nnet A:\n  input 3x8x8\n  B\n", "E0402"),
    "a net's size": ("net A:\n  input 3x8x8\n  conv(A.params)\n", "E0402"),
    "an alias": ("net A = B\nnet B = A\n", "E0205"),
    "forty-seven blocks": (
        "block f(n):\n  residual:\n    branch:\n      if n > 1:\n        f(n - 1)\n      relu\n\n" + line("f(47)"),
        None,
    ),
}

TEXTS = {
    "100 MB": ("x" * 100_000_000, "E0003"),
    "quotes": ('"' * 100_001, "E0103"),
    "signs of no meaning": ("?" * 100_000, "E0103"),
    "a null byte": (NET + "\0", "E0002"),
    "an escape sequence": (NET + "  # \x1b[2J\n", "E0002"),
    "half a character": (NET + "  # \ud800\n", "E0002"),
    "turned letters": (NET + "  # \u202e relu\n", "E0002"),
    "a carriage return alone": (NET + "  # why\r  relu\n", "E0002"),
    "a line separator": (NET + "  # why\u2028  relu\n", "E0002"),
    "carriage returns": (NET.replace("\n", "\r\n"), None),
    "nothing": ("", "E0204"),
    "no end of line": (NET.rstrip("\n"), None),
}

LARGE = {
    "a line of 9 MB": (line(f"n = [{'1,' * 4_500_000}]"), "E0003"),
    "a name of 9 MB": (line("x" * 9_000_000), "E0201"),
    "a string of 9 MB": (line(f'n = "{"x" * 9_000_000}"\n  relu'), None),
    "a comment of 9 MB": (f"# {'x' * 9_000_000}\n{NET}", None),
    "blank lines": ("\n" * 9_000_000 + NET, None),
}

CASES = {**REPEATS, **NUMBERS, **DEPTHS, **RECURSIONS, **TEXTS}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.mark.parametrize("name", CASES)
def test_hostile_programs(name: str, server: Server) -> None:
    refused(*CASES[name], server)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_programs(name: str, server: Server) -> None:
    refused(*LARGE[name], server)


def refused(text: str, code: str | None, server: Server) -> None:
    """The text gets the error, or none where there is no code; the process comes to a good end."""
    done = server.ask(text=text)
    assert "crash" not in done, done
    assert done["codes"][:1] == ([code] if code else []), done
    assert done.get("shown", 0) < 10_000, "the error fits no screen"
    assert done.get("places") or code in (None, "E0003", "E0204")


@pytest.mark.parametrize(
    ("text", "targets", "code"),
    [
        (line("conv(100000, 3) -> conv(100000, 3)"), ["onnx"], "E0813"),
        (line("conv(100000, 3) -> conv(100000, 3)"), ["tflite"], "E0813"),
        (line("(conv(8, 3) -> relu) * 2000"), ["pytorch"], None),
        (line("(conv(8, 3) -> relu) * 2000"), ["onnx"], None),
        (line("(conv(8, 3) -> relu) * 2000"), ["tflite"], None),
        (line("for i in 1..3000: _ + _"), ["pytorch"], None),
        (line("concat:\n    for i in 1..1000: conv(1)"), ["pytorch"], None),
        (line("upsample(100000)"), ["pytorch", "onnx"], None),
        (line("conv(8, 3, pad=1000000)"), ["pytorch", "onnx"], None),
    ],
)
def test_huge_networks_become_files_or_errors(text: str, targets: list[str], code: str | None, server: Server) -> None:
    assert server.ask(text=text, targets=targets).get("codes") == ([code] if code else [])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("".join(f"net N{i}:\n  input 3x8x8\n  relu * 9000\n\n" for i in range(300)), "E0401"),
        (
            "".join(
                f"net N{i}:\n  input 3x8x8\n  for i in 1..300:\n    for j in 1..300: n = i\n\n" for i in range(300)
            ),
            "E0401",
        ),
        ("choice OP = {OP, conv}\n" + line("table:\n    | op | c |\n    | OP | 8 |"), "E0402"),
        (
            doubled("choice C0 = {conv, relu}\n", "choice C{n} = {{C{m}, C{m}}}\n", 30)
            + line("table:\n    | op |\n    | C30 |"),
            "E0402",
        ),
        (line("\n  ".join(f"cnov{i}(8)" for i in range(1000))), "E0201"),
        (line("\n  ".join("conv({1, 2})" for _ in range(200))), None),
        (RECURSIONS["a block in groups"][0], "E0402"),
        (REPEATS["a growing list"][0], "E0401"),
    ],
    ids=["nets", "loops", "choice", "choices", "errors", "decisions", "recursion", "list"],
)
def test_checks_of_whole_files(text: str, code: str | None, server: Server, tmp_path: Path) -> None:
    """All nets of a file together, and the walks that look for more than one error."""
    (tmp_path / "a.arch").write_text(text)
    status, codes = ask(server, tmp_path, "check", "a.arch")
    assert (status, codes[:1]) == ((1, [code]) if code else (0, []))


# ---- files -----------------------------------------------------------------------------------------------------------


FLAGS = "".join(f"  a{i} = {{0, 1}}\n" for i in range(24))

SPACES = {
    "a choice of a hundred thousand": line("conv({1..100000})"),
    "three hundred choices of a thousand": NET + "  conv({1..1000})\n" * 300,
    "up to ten thousand repeats": line("conv({8, 16}) * {1..10000}"),
    "ten thousand decisions": line("conv(each {8, 16}) * 10000"),
    "one of many flags": NET + FLAGS + "  if " + " or ".join(f"a{i}" for i in range(24)) + ": conv({4, 8}, 3)\n",
    "seven of many flags": NET + FLAGS + "  if " + " + ".join(f"a{i}" for i in range(24)) + " == 7: conv({4, 8}, 3)\n",
}


@pytest.mark.parametrize("name", SPACES)
def test_spaces_too_large_to_be_followed(name: str, server: Server, tmp_path: Path) -> None:
    """`check` says that it gives up, in time, and claims no size."""
    (tmp_path / "a.arch").write_text(SPACES[name])
    status, codes = ask(server, tmp_path, "check", "a.arch")
    assert (status, codes) == (0, [])


def ask(server: Server, folder: Path, *command: str) -> tuple[int, list[str]]:
    done = server.ask(command=list(command), cwd=str(folder))
    assert "crash" not in done, done
    assert "Traceback" not in done["err"]
    assert "bug in archlang" not in done["err"], done
    return done["status"], done["codes"]


@pytest.mark.parametrize("command", [("check",), ("cost",), ("fmt", "--check")])
def test_what_is_no_file(command: tuple[str, ...], server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.arch")
    (tmp_path / "zero.arch").symlink_to("/dev/zero")
    (tmp_path / "circle.arch").symlink_to("circle.arch")
    for name in ("pipe.arch", "zero.arch", "circle.arch", "/dev/zero", "/dev/full", "none.arch", "x" * 5000 + ".arch"):
        status, codes = ask(server, tmp_path, *command, name)
        assert (status, codes) in ((1, ["E0001"]), (3, [])), name


@pytest.mark.parametrize("name", ["pipe.arch", "zero.arch", "circle.arch", "folder", "x" * 5000, "", "."])
def test_imports_of_what_is_no_file(name: str, server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.arch")
    (tmp_path / "zero.arch").symlink_to("/dev/zero")
    (tmp_path / "circle.arch").symlink_to("circle.arch")
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.arch").write_text(f'from "{name}" import b\n{NET}')
    status, codes = ask(server, tmp_path, "check", "a.arch")
    assert status == 1
    assert codes in (["E0001"], ["E0205"])


@pytest.mark.parametrize(
    "path", ["../secret.arch", "/etc/passwd", "link/secret.arch", "./sub/../../secret.arch", "secret_link.arch"]
)
def test_imports_do_not_leave_the_folder(path: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "secret.arch").write_text("block b():\n  relu\n")
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (inside / "link").symlink_to(tmp_path)
    (inside / "secret_link.arch").symlink_to(tmp_path / "secret.arch")
    (inside / "a.arch").write_text(f'from "{path}" import b\n{NET}  b\n')
    assert ask(server, inside, "check", "a.arch") == (1, ["E0205"])


def test_a_circle_of_imports(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_text('from "b.arch" import f\nblock e():\n  relu\n')
    (tmp_path / "b.arch").write_text('from "a.arch" import e\nblock f():\n  relu\n')
    assert ask(server, tmp_path, "check", "a.arch") == (1, ["E0205"])


def test_an_endless_chain_of_imports(server: Server, tmp_path: Path) -> None:
    for i in range(200):
        (tmp_path / f"{i}.arch").write_text(f'from "{i + 1}.arch" import f\nblock g():\n  relu\n')
    assert ask(server, tmp_path, "check", "0.arch") == (1, ["E0205"])


def test_imports_that_double(server: Server, tmp_path: Path) -> None:
    """Each file is read once, however many ways lead to it."""
    for i in range(20):
        (tmp_path / f"{i}.arch").write_text(
            "".join(f'from "{j}.arch" import f{j}\n' for j in range(i + 1, 20)) + f"block f{i}():\n  relu\n"
        )
    (tmp_path / "a.arch").write_text(f'from "0.arch" import f0\n{NET}  f0\n')
    assert ask(server, tmp_path, "check", "a.arch") == (0, [])


@pytest.mark.parametrize("size", [11_000_000, 100_000_000])
def test_a_file_that_is_too_large(size: int, server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_bytes(b"#" * size)
    assert ask(server, tmp_path, "check", "a.arch") == (1, ["E0003"])
    (tmp_path / "b.arch").write_text(f'from "a.arch" import f\n{NET}')
    assert ask(server, tmp_path, "check", "b.arch") == (1, ["E0003"])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xfe" + NET.encode("utf-16-le"), "E0002"),
        (NET.encode() + b"  # \xc3\x28\n", "E0002"),
        (NET.encode() + b"  # \xed\xa0\x80\n", "E0002"),
        (bytes(range(256)) * 100, "E0002"),
        (b"\xef\xbb\xbf" + NET.encode(), None),
        (NET.replace("\n", "\r\n").encode(), None),
        (b"\x80\x04\x95" * 1000, "E0002"),
    ],
)
def test_bytes(data: bytes, code: str | None, server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_bytes(data)
    assert ask(server, tmp_path, "check", "a.arch") == ((1, [code]) if code else (0, []))


@pytest.mark.parametrize("option", ["--set", "--net"])
@pytest.mark.parametrize(
    "text", ["(" * 10_000, "9 ** 9 ** 9", "1\nnet B:\n  relu", "__import__('os')", "-" * 5000 + "1", "[1] * 9"]
)
def test_expressions_of_the_command_line(option: str, text: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_text("net A(n=1):\n  input 3x8x8\n  conv(n)\n")
    status, codes = ask(server, tmp_path, "cost", "a.arch", option, f"n={text}" if option == "--set" else text)
    assert status == 1
    assert codes
