"""Spaces: how many candidates, moves that stay inside, candidates that print as source."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

import archlang
from archlang.check import check
from archlang.errors import ArchError
from archlang.lower import default_net
from archlang.search.space import Space, load_search
from archlang.source import Source
from archlang.spec import module_of_text, net_of
from archlang.syntax import format_text

SPACES = ["zoo:mnas_space", "zoo:digits"]


def space(text: str) -> Space:
    return Space(default_net(module_of_text(text, "test")))


def net(*lines: str) -> str:
    return "net A:\n  input 3x8x8\n" + "".join(f"  {line}\n" for line in lines)


def enumerate_all(found: Space) -> set[str]:
    """Every candidate, by walking the decisions one by one: the slow and certain way."""
    done: set[str] = set()
    queue: list[dict[str, int]] = [{}]
    while queue:
        picks = queue.pop()
        active = found.lowered(picks).trace
        opened = [key for key in active if key not in picks]
        if not opened:
            done.add(repr(sorted(picks.items())))
            continue
        for index in range(found.memo.decisions[opened[0]].count):
            queue.append({**picks, opened[0]: index})
    return done


MB = "from std.mobile import mbconv, sepconv\n"

COUNTED = [
    (net("conv({4, 8}, {1, 3, 5})"), 2, 6),
    ("choice K = {1, 3}\n" + net("conv(4, K) -> conv(4, K)"), 2, 4),
    (net("k = {1, 3}", "conv(4, k) -> conv(4, k)"), 1, 2),
    ("block b(k):\n  conv(3, k)\n" + net("b({1, 3}) * 3"), 1, 2),
    ("block b(k):\n  conv(3, k)\n" + net("b(each {1, 3}) * 3"), 3, 8),
    (
        "block b(c, k):\n  conv(c, k)\n"
        + net("table b:", "  | c | k            | n      |", "  | 3 | each {1, 3} | {1, 2} |"),
        3,
        6,
    ),
    (net("{skip, conv({4, 8}, 3), conv(8, {1, 3, 5})}"), 3, 6),
    (
        MB
        + net(
            "table:", "  | op                | c | k      | e      |", "  | {mbconv, sepconv} | 8 | {3, 5} | {2, 3} |"
        ),
        3,
        6,
    ),
    (net("a = {0, 1}", "b = {0, 1}", "if a and b: conv({4, 8, 16}, 1)"), 3, 6),
    (net("r = {1..9 step 2}", "conv(4, r)"), 1, 5),
    ("SMALLEST = 1\n" + net("conv(4, {SMALLEST..SMALLEST + 4 step 2})"), 1, 3),
    (
        "choice EDGE(c) = {zero, skip, avgpool(3), relu -> conv(c, 1)}\n\n"
        "cell nb(x; c):\n  a = EDGE(x, c)\n  b = EDGE(x, c) + EDGE(a, c)\n  relu(b)\n\n" + net("nb(3) * 2"),
        3,
        64,
    ),
    ("choice EDGE = {skip, relu -> conv(3, 1), zero}\n" + net("x = _", "EDGE", "add:", "  EDGE", "  skip"), 2, 9),
]


@pytest.mark.parametrize(("text", "decisions", "size"), COUNTED)
def test_counting(text: str, decisions: int, size: int) -> None:
    found = space(text)
    assert (found.decisions, found.size) == (decisions, size)
    assert found.misfits() == []
    assert len(enumerate_all(found)) == size
    assert len({repr(picks) for picks in found.candidates()}) == size


def test_every_candidate_is_equally_likely() -> None:
    """`skip` wakes nothing and is one of seven; sampled by decision it is one of two."""
    found, rng = space(net("{skip, conv({4, 8}, {1, 3, 5})}")), Random(5)
    drawn = Counter(repr(found.uniform(rng)) for _ in range(1400))
    assert len(drawn) == found.size == 7
    assert all(150 < count < 250 for count in drawn.values())
    assert sum(len(found.sample(rng)) == 1 for _ in range(400)) > 150


def test_the_mnas_space() -> None:
    found = load_search("zoo:mnas_space")
    space = load_or_default("zoo:mnas_space")
    assert space.decisions == 37
    assert space.size == (12 * 3 * 3) ** 5 * (12 * 3) * 2 * 2
    assert found.require == (("latency", "<=", 80.0), ("params", "<=", 6e6))
    assert (found.maximize, found.minimize, found.device) == (("accuracy",), ("latency",), "pixel6-cpu")
    assert found.method == ("evolution", {"population": 64, "trials": 500, "seed": 0})


@pytest.mark.parametrize("spec", SPACES)
def test_a_candidate_prints_as_source_with_the_same_network(spec: str, tmp_path: Path) -> None:
    found, rng = load_search(spec).space, Random(1)
    for _ in range(25):
        picks = found.sample(rng)
        text = found.source(picks, "Found", ["found by a test"])
        assert text.startswith("# found by a test\n")
        assert "{" not in text.split("net Found")[1]
        assert archlang.loads(text).graph.digest == found.graph(picks).digest
        (tmp_path / "found.arch").write_text(text)
        assert check(str(tmp_path / "found.arch")).errors == ()


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*SPACES, "zoo:nasbench201", "zoo:ofa_mbv3"])
def test_a_thousand_candidates_print_as_source(spec: str) -> None:
    found, rng = load_or_default(spec), Random(7)
    for _ in range(1000):
        picks = found.sample(rng)
        assert archlang.loads(found.source(picks, "Found")).graph.digest == found.graph(picks).digest


@pytest.mark.parametrize(
    "net", ["A with conv(norm=bn)", "A(w=24) with conv(norm=bn, act=swish)", "A.l with linear(bias=0)"]
)
def test_a_candidate_of_a_net_with_other_settings(net: str, tmp_path: Path) -> None:
    text = "net A(w=8, classes=10):\n  input 3x16x16\n  conv(w, {3, 5})\n  gap -> linear(classes)\n"
    text += f"\nvariants A:\n  | name | w |\n  | l    | 16 |\n\nnet B = {net}\n"
    (tmp_path / "a.arch").write_text(text)
    loaded = archlang.load(f"{tmp_path}/a.arch:B")
    found = Space(loaded.value, loaded.args)
    for picks in found.candidates():
        source = found.source(picks, "Found")
        assert archlang.loads(source).graph.digest == found.graph(picks).digest
        assert format_text(Source("found.arch", source)) == source


CHOSEN_OUTSIDE = """\
choice K = {3, 5}

net A(w=8, k=3, deep=1):
  default conv(norm=bn, act=relu)
  input 3x16x16
  conv(w, k) * deep
  gap -> linear(10)

net B = A(w={8, 16}, k=K)
net C = A with conv(act={relu, swish})
fn times(p) = A(w={8, 16} * p)
net D = times(2)
net E = B with conv(act={relu, swish})

variants A:
  | name | w       | deep      |
  | s    | {8, 16} | 1         |
  | l    | 32      | {1, 2, 3} |
"""


@pytest.mark.parametrize(
    ("name", "size", "labels"),
    [
        ("B", 4, ["an argument of `B`"] * 2),
        ("C", 2, ["a setting of `C`"]),
        ("D", 2, ["an argument of `D`"]),
        ("E", 8, ["an argument of `B`", "an argument of `B`", "a setting of `E`"]),
        ("A.s", 2, ["`w` of `A.s`"]),
        ("l", 3, ["`deep` of `A.l`"]),
        ("A", 1, []),
    ],
)
def test_choices_in_the_arguments_of_a_net(name: str, size: int, labels: list[str]) -> None:
    module = module_of_text(CHOSEN_OUTSIDE, "test")
    found = Space(net_of(module, name, None))
    assert (found.size, found.decisions, found.proved) == (size, len(labels), True)
    assert [found.memo.decisions[key].label for key in found.lowered({}).trace] == labels
    digests = {found.graph(picks).digest for picks in found.candidates()}
    assert len(digests) == size
    for picks in found.candidates():
        text = found.source(picks, "Found")
        assert archlang.loads(text).graph.digest == found.graph(picks).digest
        assert net_of(module_of_text(text, "again"), "", None).name in ("Found", "FoundPlain")
        assert found.sketch(picks).amounts["params"] == archlang.loads(text).cost().total.params


def test_an_expression_that_means_a_space() -> None:
    module = module_of_text(CHOSEN_OUTSIDE, "test")
    assert Space(net_of(module, "", "times({1, 3})")).size == 4


def test_no_choice_between_nets() -> None:
    module = module_of_text(CHOSEN_OUTSIDE + "\nnet Other(w=8):\n  input 3x8x8\n  conv(w, 1)\n", "test")
    found = Space(net_of(module, "", "{A, Other}"))
    (error,) = found.misfits()
    assert error.diagnostics[0].code == "E0507"
    assert found.size == 1


def test_nets_that_are_steps_of_a_candidate_stay_in_its_file() -> None:
    text = """\
net Late:
  input 3x16x16
  Outer(12)
  Other.s

net Inner(w=8):
  input 3x16x16
  conv(w, {3, 5})

fn big(p) = Inner(w=8 * p)

net Outer(n=10):
  input 3x16x16
  big({1, 2})
  gap -> linear(n)

net Other(w=2):
  input (12,)
  linear(w)

net Unused = Other(3)

variants Other:
  | name | w      |
  | s    | {3, 4} |
"""
    found = Space(net_of(module_of_text(text, "test"), "Late", None))
    assert found.size == 8
    for picks in found.candidates():
        source = found.source(picks, "Found")
        assert archlang.loads(source).graph.digest == found.graph(picks).digest
        assert "Unused" not in source
        assert "{" not in source


def load_or_default(spec: str) -> Space:
    """The space of the file's search, or of its net."""
    found = load_search(spec).space
    assert isinstance(found, Space)
    return found


def test_the_nas_bench_201_space() -> None:
    found = Space(archlang.load("zoo:nasbench201").value)
    assert (found.decisions, found.size) == (6, 15_625)
    assert found.misfits() == []


@pytest.mark.slow
def test_the_once_for_all_space() -> None:
    """25 resolutions; in each of five stages two to four blocks, each with one of nine kinds (arXiv:1908.09791)."""
    found = load_or_default("zoo:ofa_mbv3")
    assert found.decisions == 1 + 5 * (1 + 2 * 4)
    assert found.size == 25 * (9**2 + 9**3 + 9**4) ** 5


def test_candidates_of_once_for_all_print_as_source() -> None:
    found, rng = load_search("zoo:ofa_mbv3").space, Random(5)
    for _ in range(5):
        picks = found.sample(rng)
        assert archlang.loads(found.source(picks, "Found")).graph.digest == found.graph(picks).digest


@pytest.mark.parametrize("text", [text for text, _, _ in COUNTED])
def test_small_candidates_print_as_source(text: str) -> None:
    found, rng = space(text), Random(2)
    for _ in range(10):
        picks = found.sample(rng)
        assert archlang.loads(found.source(picks, "B")).graph.digest == found.graph(picks).digest


def test_inactive_parameters_print_as_a_dash() -> None:
    found = space(COUNTED[7][0])
    rng = Random(0)
    texts = {found.source(found.sample(rng), "B") for _ in range(40)}
    rows = [line for text in texts for line in text.splitlines() if "sepconv " in line and "|" in line]
    assert rows
    assert all(row.rstrip(" |").endswith("-") for row in rows)


@pytest.mark.parametrize("spec", SPACES)
def test_a_mutation_changes_one_decision(spec: str) -> None:
    found, rng = load_search(spec).space, Random(3)
    picks = found.sample(rng)
    for _ in range(40):
        child, story = found.mutate(picks, rng)
        assert " -> " in story
        assert found.canonical(child) == child
        changed = [key for key in picks if key in child and picks[key] != child[key]]
        assert len(changed) == 1
        picks = child


def test_crossover_takes_from_the_parents() -> None:
    found, rng = load_search("zoo:digits").space, Random(4)
    for _ in range(10):
        a, b = found.sample(rng), found.sample(rng)
        child = found.crossover(a, b, rng)
        assert found.canonical(child) == child
        assert all(child[key] in (a.get(key), b.get(key)) for key in child if key in a or key in b)


def test_arguments_of_the_net_are_printed() -> None:
    found = load_search("zoo:digits", {"classes": 4}).space
    text = found.source(found.sample(Random(0)), "Four")
    assert "net Four(classes=4):" in text
    assert archlang.loads(text).graph.nodes[-1].type.shape == (4,)


def test_a_choice_that_does_not_fit_is_named() -> None:
    found = space(net("conv({8, 16}, 3)", "residual:", "  conv(8, 3)"))
    (error,) = found.misfits()
    (diagnostic,) = error.diagnostics
    assert diagnostic.code == "E0312"
    assert diagnostic.trace[-1] == "the choice at line 3 = 16"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("maximise accuracy", "E0504"),
        ("require latency", "E0504"),
        ("require 3 <= latency", "E0504"),
        ("method 3", "E0504"),
        ("device 3", "E0504"),
    ],
)
def test_bad_search_lines(tmp_path: Path, line: str, code: str) -> None:
    path = tmp_path / "a.arch"
    path.write_text(f"{net('conv({4, 8}, 3)')}\nsearch s over A:\n  {line}\n")
    with pytest.raises(ArchError) as caught:
        load_search(str(path))
    assert caught.value.diagnostics[0].code == code
