"""Shell completion: what is offered, and the code that the shells run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from archlang import backend, spec
from archlang.cli import main
from archlang.cli.completion import SHELLS, VARIABLE
from archlang.codes import CODES
from archlang.lower.nets import all_names
from archlang.passes import PASSES
from archlang.search.strategies import STRATEGIES
from tests.e2e.program import archlang as run

FILE = """\
net A(width=1.0, unit=conv(3, 1), layers=[1, 2]):
  input 3x8x8
  conv(8, 3)

variants A:
  # | name | not a row |
  | width | name  |
  |   0.5 | small |
  |   2.0 | large |

search quick over A:
  maximize params
"""


@pytest.fixture
def files(folder: Path) -> Path:
    (folder / "a.arch").write_text(FILE)
    (folder / "sub").mkdir()
    (folder / "sub" / "inner.arch").write_text("")
    (folder / ".hidden.arch").write_text("")
    (folder / "notes.txt").write_text("")
    (folder / "m.tflite").write_text("")
    return folder


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    shell = SHELLS["zsh"](main, {}, "archlang", VARIABLE)
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_commands_and_options() -> None:
    assert offered("expl") == ["explain"]
    assert offered("cost", "zoo:lenet", "--by", "") == ["layer", "block", "stage", "op"]
    assert "--expand" in offered("cost", "zoo:lenet", "--")


@pytest.mark.parametrize("command", ["cost", "check", "ir", "graph", "compile", "train"])
def test_a_spec_is_a_file_a_folder_or_of_the_zoo(files: Path, command: str) -> None:
    found = offered(command, "")
    assert [word for word in found if not word.startswith("zoo:")] == ["a.arch", "space.arch", "sub/", "tiny.arch"]
    assert [word[4:] for word in found if word.startswith("zoo:")] == spec.families()
    assert offered(command, "sub/") == ["sub/inner.arch"]
    assert offered(command, ".h") == [".hidden.arch"]
    assert offered(command, "zoo:mobilenet_v2") == ["zoo:mobilenet_v2"]


def test_nets_and_variants_of_a_file_even_if_it_is_wrong(files: Path) -> None:
    wanted = ["a.arch:A", "a.arch:small", "a.arch:large"]
    assert offered("cost", "a.arch:") == wanted
    assert offered("diff", "tiny.arch", "a.arch:s") == ["a.arch:small"]
    (files / "a.arch").write_text(FILE + "net B(\n")
    assert offered("cost", "a.arch:") == ["a.arch:A", "a.arch:B", "a.arch:A.small", "a.arch:A.large"]
    assert offered("cost", "none.arch:") == []


@pytest.mark.parametrize("family", spec.families())
def test_names_in_the_zoo_are_those_of_the_language(family: str) -> None:
    module = spec.module_of(spec.split(f"zoo:{family}"))
    names = [name.split(".")[-1] if len(module.nets) == 1 else name for name in all_names(module)]
    assert sorted(offered("cost", f"zoo:{family}:")) == sorted(f"zoo:{family}:{name}" for name in names)


def test_words_of_the_program(files: Path) -> None:
    assert offered("compile", "a.arch", "--to", "") == backend.names()
    assert offered("compile", "a.arch", "--quantize", "") == list(backend.QUANTIZE_MODES)
    assert offered("ir", "a.arch", "--passes", "") == [*PASSES, "all"]
    assert offered("ir", "a.arch", "--passes", "inference,fuse-n") == ["inference,fuse-norms"]
    assert "inference,inference" not in offered("ir", "a.arch", "--passes", "inference,")
    assert offered("explain", "E03") == [code for code in CODES if code.startswith("E03")]
    assert offered("search", "a.arch:") == ["a.arch:quick"]
    assert offered("search", "a.arch", "--strategy", "") == list(STRATEGIES)
    assert offered("zoo", "show", "len") == ["lenet"]
    assert offered("bench", "m") == ["m.tflite"]
    assert offered("fmt", "t") == ["tiny.arch"]


def test_parameters_of_the_net(files: Path) -> None:
    assert offered("cost", "a.arch", "--set", "") == ["width=", "unit=", "layers="]
    assert offered("cost", "a.arch:small", "--set", "w") == ["width="]


LAZY = """
import sys
from archlang.cli import complete
import archlang.cli.cost
complete.net_names("net A:"); complete.families(); complete.files_with((".arch",), "")
heavy = {"numpy", "torch", "rich", "onnx", "jinja2", "archlang.lower", "archlang.syntax"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_spec_is_completed_without_the_language() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- the shells' side ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_prints_the_code(shell: str) -> None:
    done = run("completion", shell)
    assert done.status == 0
    assert f"{shell}_complete" in done.out
    assert run("completion", shell, "--json").document == {"shell": shell, "source": done.out}
    assert run("completion", "csh").status == 2


BASH = """
eval "$(archlang completion bash)"
compopt() { echo "$*"; }
COMP_LINE="$1"; COMP_POINT=${#1}; COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'
_archlang_completion archlang
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH = """
compdef() { : }
eval "$(archlang completion zsh)"
compadd() { print -l -- ${(P)@[-1]} }
words=(${(z)1}); [[ $1 == *' ' ]] && words+=(''); CURRENT=${#words}
_archlang_completion
"""

FISH = """
archlang completion fish | source
complete -C $argv[1]
"""


def typed(shell: str, script: str, line: str, folder: Path) -> list[str]:
    """What the shell itself offers for a line."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    program = folder / "bin" / "archlang"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m archlang "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    extra = {"bash": ["--norc", "-c", script, "bash"], "zsh": ["-f", "-c", script, "zsh"], "fish": ["-N", "-c", script]}
    done = subprocess.run(
        [shell, *extra[shell], line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_bash_gets_what_comes_after_a_colon(files: Path) -> None:
    assert typed("bash", BASH, "archlang cost a.arch:s", files) == ["small"]
    assert typed("bash", BASH, "archlang cost zoo:lene", files) == ["lenet"]
    assert typed("bash", BASH, "archlang cost su", files) == ["-o nospace", "sub/"]


def test_zsh_and_fish_get_whole_words(files: Path) -> None:
    line = "archlang ir a.arch --passes inference,fuse-"
    wanted = ["inference,fuse-norms", "inference,fuse-activations"]
    assert sorted(typed("fish", FISH, line, files)) == sorted(wanted)
    assert typed("fish", FISH, "archlang cost a.arch:s", files) == ["a.arch:small"]
    assert typed("zsh", ZSH, line, files) == wanted
    assert typed("zsh", ZSH, "archlang cost a.arch:s", files) == ["a.arch:small"]
