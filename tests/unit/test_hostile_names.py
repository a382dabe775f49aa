"""Names, comments and strings of a program are data in everything that is generated from it."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import archlang
from archlang.errors import ArchError
from tests.e2e.program import archlang as run

PAYLOADS = [
    '""" + __import__("os").system("touch hacked") + """',
    "''' + x + '''",
    "ends with a backslash \\",
    'ends with a quote"',
    "\\N{BULLET} \\x00 \\u1234 \\",
    "{{ 7 * 7 }} {% raw %} {# x #}",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]> --> <!-- &lt; &#0;",
    "%s {0} ${x} `id` $(id)",
    'x" -> "y"; label="',
    "\\n; import os",
]
NAMES = [
    *(
        "class",
        "def",
        "None",
        "True",
        "self",
        "forward",
        "torch",
        "nn",
        "F",
        "x",
        "super",
        "print",
        "__init__",
        "__class__",
    ),
    *(
        "__dict__",
        "_modules",
        "training",
        "train",
        "eval",
        "parameters",
        "state_dict",
        "half",
        "T",
        "module",
        "input",
        "end",
    ),
]


def program(comment: str, text: str) -> str:
    quoted = text.replace('"', "'")
    return (
        f"# {comment}\nblock unit(c, t):  # {comment}\n  conv(c, 3)\n  relu\n  conv(c, 3)  # {comment}\n\n"
        f'# {comment}\nnet A(t="{quoted}"):  # {comment}\n  input 3x8x8\n  unit(8, t)\n  unit(8, "{quoted}") * 2\n'
        f"  stage head:  # {comment}\n    gap -> linear(3)\n"
    )


def shape_of(source: str) -> str:
    """The source's syntax tree without the texts in it."""
    return re.sub(
        r"Constant\(value=('(\\.|[^'\\])*'|\"(\\.|[^\"\\])*\")", "Constant(value=''", ast.dump(ast.parse(source))
    )


@pytest.mark.parametrize("payload", PAYLOADS)
def test_generated_source(payload: str) -> None:
    """Hostile texts are texts there: the tree of the source is that of a harmless program."""
    hostile = archlang.loads(program(payload, payload)).to_torch_source()
    harmless = archlang.loads(program("why", "why")).to_torch_source()
    assert shape_of(hostile) == shape_of(harmless)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_mean_something_to_python(name: str) -> None:
    """As nets, blocks, modules, stages, inputs and outputs: valid source, or an error that says which name."""
    programs = [
        f"net {name}:\n  input 3x8x8\n  conv(8, 3)\n",
        f"block {name}(c):\n  conv(c, 3)\n  relu\n  conv(c, 3)\n\nnet A:\n  input 3x8x8\n  {name}(8)\n",
        f"net A:\n  input 3x8x8\n  conv(8, 3) as {name}\n",
        f"net A:\n  input 3x8x8\n  stage {name}:\n    conv(8, 3)\n    relu\n",
        f"net A:\n  input {name} (3, 8, 8)\n  conv(8, 3)\n  output _ as {name}\n",
        f"block b({name}):\n  conv({name}, 3)\n  relu\n  conv({name}, 3)\n\nnet A:\n  input 3x8x8\n  b(8)\n  b(4)\n",
    ]
    for text in programs:
        source = _source(text, name)
        compile(source, "generated", "exec")


def _source(text: str, name: str) -> str:
    """The PyTorch source of a program; nothing where an error says that the name is none for PyTorch."""
    try:
        return archlang.loads(text).to_torch_source()
    except ArchError as error:
        return "" if name in str(error) else f"no mention of {name}: {error}"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag + "".join(f" {name}" for name, _ in attrs))


def _tags(text: str) -> list[str]:
    parser = _Tags()
    parser.feed(text)
    return parser.tags


def _drawing(folder: Path, payload: str, suffix: str) -> str:
    (folder / "a.arch").write_text(program(payload, payload), encoding="utf-8")
    done = run("graph", folder / "a.arch", "-o", folder / f"a.{suffix}")
    assert done.status == 0, done
    return (folder / f"a.{suffix}").read_text(encoding="utf-8")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_drawings(payload: str, tmp_path: Path) -> None:
    """A hostile program's page has the elements and attributes of a harmless one's."""
    assert _tags(_drawing(tmp_path, payload, "html")) == _tags(_drawing(tmp_path, "why", "html"))
    names = [
        [part.tag for part in ElementTree.fromstring(_drawing(tmp_path, p, "svg")).iter()] for p in (payload, "why")
    ]
    assert names[0] == names[1]
    for suffix in ("dot", "mmd"):
        hostile, harmless = _drawing(tmp_path, payload, suffix), _drawing(tmp_path, "why", suffix)
        assert hostile.count("\n") == harmless.count("\n")
        outside = [re.sub(r'"(\\.|[^"\\])*"', '""', text) for text in (hostile, harmless)]
        assert outside[0] == outside[1]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_notebooks_and_model_files(payload: str) -> None:
    net = archlang.loads(program(payload, payload))
    harmless = archlang.loads(program("why", "why"))
    assert _tags(net._repr_html_()) == _tags(harmless._repr_html_())
    assert net.compile("onnx").data
    assert net.compile("tflite").data[4:8] == b"TFL3"


@pytest.mark.parametrize("name", ["a\x1b[31mb.arch", "a\nb.arch", '"><b>.arch', "'''.arch", "${x}.arch", "-x.arch"])
def test_names_of_files(name: str, tmp_path: Path) -> None:
    """The generated source names its origin; a name of two lines or with quotes is text there too."""
    path = tmp_path / name
    path.write_text("net A:\n  input 3x8x8\n  conv(8, 3)\n")
    compile(archlang.load(str(path)).to_torch_source(), "generated", "exec")
    assert len(ast.parse(archlang.load(str(path)).to_torch_source()).body) <= 5
