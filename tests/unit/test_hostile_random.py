"""Random programs, most of them meaningful, and real ones broken: each becomes model files or gets a located error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings

from archlang.lower import LIBRARY
from tests.fuzz.targets import syntax, whole_way
from tests.unit.programs import NETS, PROGRAMS, mutated

TEXTS = [path.read_text(encoding="utf-8") for path in sorted(LIBRARY.rglob("*.arch"))]
SMALL = [text for text in TEXTS if len(text) < 1500]

quick = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
long = settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


@given(text=NETS)
@quick
def test_random_nets(folder: Path, text: str) -> None:
    whole_way(text, folder)


@given(text=mutated(SMALL))
@quick
def test_broken_files_of_the_zoo(folder: Path, text: str) -> None:
    whole_way(text, folder)


@given(text=PROGRAMS)
@quick
def test_random_programs(text: str) -> None:
    syntax(text)


@pytest.mark.slow
@given(text=NETS)
@long
def test_many_random_nets(folder: Path, text: str) -> None:
    whole_way(text, folder)


@pytest.mark.slow
@given(text=mutated(TEXTS))
@long
def test_many_broken_files_of_the_zoo(folder: Path, text: str) -> None:
    whole_way(text, folder)


def test_enough_of_the_random_nets_are_networks(folder: Path) -> None:
    """Else the tests above would look at refusals alone."""
    found: list[str] = []

    @seed(0)
    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(text=NETS)
    def look(text: str) -> None:
        found.append(whole_way(text, folder))

    look()
    assert found.count("compiled") >= len(found) // 4
