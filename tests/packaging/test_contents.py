"""What is installed: the wheel, the wheel made from the sdist, and an editable install hold the same package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import archlang

ROOT = Path(__file__).parents[2]
NEEDED = ("archlang", "backends", "grammar", "specs", "pyproject.toml", "README.md", "LICENSE")
LINKS = {"backends": "backends", "grammar": "grammar", "zoo": "specs"}


def run(*command: str | Path, cwd: Path) -> str:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected() -> set[str]:
    """Every file under archlang/, through the symlinks."""
    found = set()
    for folder, folders, files in os.walk(ROOT / "archlang", followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found |= {(Path(folder) / name).relative_to(ROOT).as_posix() for name in files}
    return found


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("archlang/")}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that `python -m build` makes from it."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, checkout / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", checkout / "dist", cwd=checkout)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", checkout / "direct", cwd=checkout)
    return checkout


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def test_the_rooms_outside_the_package_are_symlinks_in_a_checkout() -> None:
    for name, target in LINKS.items():
        link = ROOT / "archlang" / name
        assert link.is_symlink(), f"{link} is no symlink: was this checked out without them?"
        assert link.readlink() == Path("..") / target


def test_the_wheel_holds_every_file_of_the_package(dist: Path) -> None:
    names = contents(only(dist / "direct", "*.whl"))
    assert names == expected()
    for kind in ("archlang/backends/", "archlang/grammar/archlang.lark", "archlang/zoo/", "archlang/py.typed"):
        assert any(name.startswith(kind) for name in names), kind


def test_the_sdist_builds_the_same_wheel(dist: Path) -> None:
    """`python -m build` without options builds the wheel from the sdist."""
    from_sdist, direct = only(dist / "dist", "*.whl"), only(dist / "direct", "*.whl")
    with zipfile.ZipFile(from_sdist) as one, zipfile.ZipFile(direct) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        for name in one.namelist():
            assert one.read(name) == other.read(name), name


def test_the_sdist_holds_files_and_no_links(dist: Path) -> None:
    with tarfile.open(only(dist / "dist", "*.tar.gz")) as archive:
        assert all(member.isreg() or member.isdir() for member in archive)
        names = {member.name.partition("/")[2] for member in archive}
    assert expected() | {"LICENSE", "README.md", "pyproject.toml"} <= names


def test_the_wheel_names_its_licence_and_asks_for_small_packages_only(dist: Path) -> None:
    with zipfile.ZipFile(only(dist / "direct", "*.whl")) as archive:
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA"))
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert "License-Expression: Apache-2.0" in metadata
    required = [line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    always = {line.split(">=")[0] for line in required if "extra ==" not in line}
    assert always == {"click", "jinja2", "lark", "numpy", "rich", "safetensors"}


def test_the_running_package_finds_what_it_ships() -> None:
    """True of the editable install that the tests run in, and of any other."""
    package = Path(archlang.__file__).parent
    assert (package / "grammar" / "archlang.lark").is_file()
    assert list((package / "zoo").glob("*.arch"))


def test_the_constraints_pin_everything_that_the_tests_need() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    assert not any("/" in pin or "+" in pin for pin in pins.values())
    needed = closure("archlang", frozenset({"all", "dev"})) - {"archlang"}
    assert needed <= {canonicalize_name(name) for name in pins}


def closure(name: str, extras: frozenset[str]) -> set[str]:
    """The names of all packages that an installed one needs, as their metadata say."""
    found: set[str] = set()
    todo = [(canonicalize_name(name), extras)]
    seen = set()
    while todo:
        package, wanted = todo.pop()
        if (package, wanted) in seen:
            continue
        seen.add((package, wanted))
        found.add(package)
        for requirement in map(Requirement, requires(package) or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
                todo.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(dist: Path, tmp_path: Path) -> None:
    """Without extras: the commands of the core work, the others say which extra to install."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    wheel = only(dist / "direct", "*.whl")
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    program = tmp_path / "venv" / "bin" / "archlang"
    assert "3,504,872" in run(program, "cost", "zoo:mobilenet_v2", cwd=tmp_path)
    run(program, "compile", "zoo:mobilenet_v2", "--to", "tflite", "--quantize", "int8", "-o", "m.tflite", cwd=tmp_path)
    assert (tmp_path / "m.tflite").stat().st_size > 3_000_000
    bench = subprocess.run([program, "bench", "m.tflite"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert bench.returncode == 3
    assert "archlang[tflite]" in bench.stderr
