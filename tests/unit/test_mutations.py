"""Mutations of ordinary programs: what they give checks, lowers, prints as itself, and does the same task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import archlang
from archlang.catalogue import ZooEntry, nets
from archlang.check import check
from archlang.errors import ArchError
from archlang.ir.graph import Graph
from archlang.lower.nets import METRICS, metrics
from archlang.search.mutations import MUTATIONS, Mutant, Subject, mutated, normal_text, ordinary, settled
from archlang.search.mutations.mutate import known
from archlang.search.mutations.roles import Role
from archlang.search.program_space import ProgramSpace
from archlang.search.space import load_search
from archlang.source import Source
from archlang.syntax import parse, tree
from archlang.syntax.printer import print_program
from tests.e2e.program import archlang as run

FEW: tuple[str, ...] = ("lenet:LeNet5", "resnet_cifar:r20", "mobilenet_v2:w050", "mobilenet_v3:small")
FEW += ("squeezenet:v1_1", "vgg:v11bn", "resnet:r18", "regnet:y400mf", "shufflenet_v2:x0_5", "unet:UNetPadded")
FEW += ("convnext:t", "vit:ti")


def subject_of(spec: str) -> Subject:
    net = archlang.load(spec)
    return Subject(normal_text(net.value, net.args))


def expectations(text: str) -> Iterator[tuple[str, int]]:
    """Every `expect METRIC == FIGURE` of a program."""
    for item in parse(Source("", text)).items:
        for node in item.walk():
            if isinstance(node, tree.Expect) and isinstance(node.condition, tree.Infix) and node.condition.op == "==":
                left, right = node.condition.left, node.condition.right
                assert isinstance(left, tree.Name)
                assert isinstance(right, tree.Number)
                yield left.id, int(right.text)


def assert_sound(subject: Subject, mutant: Mutant) -> None:
    """What every mutant is: formatted, a file that checks, another network of the same task, with a story."""
    assert print_program(parse(Source("mutant", mutant.text))) == mutant.text
    graph = archlang.loads(mutant.text).graph
    assert graph.digest == mutant.graph.digest != subject.graph.digest
    figures = metrics(graph)
    assert set(figures) == set(METRICS)
    assert all(figures[metric] == figure for metric, figure in expectations(mutant.text))
    before, after = subject.graph, graph
    assert [before.nodes[i].type.channels for i in before.inputs] == [
        after.nodes[i].type.channels for i in after.inputs
    ]
    assert [output.name for output in before.outputs] == [output.name for output in after.outputs]
    assert mutant.kind in MUTATIONS
    assert mutant.story.strip() == mutant.story != ""
    assert "\n" not in mutant.story


def survive(entries: list[str], count: int, seed: int) -> None:
    """`count` mutations, the kinds in turn, of programs that are mutants themselves now and then."""
    rng = Random(seed)
    for spec in entries:
        subject = first = subject_of(spec)
        for number in range(count):
            mutant = mutated(subject, rng)
            assert_sound(subject, mutant)
            subject = first if number % 4 == 3 else Subject(mutant.text, first.memo)


@pytest.mark.parametrize("spec", FEW)
def test_random_mutations(spec: str) -> None:
    survive([f"zoo:{spec}"], 25, 0)


@pytest.mark.slow
def test_ten_thousand_mutations_over_the_zoo() -> None:
    specs = [entry.spec for entry in nets()]
    survive(specs, -(-10_000 // len(specs)), 1)


@pytest.mark.slow
def test_the_normal_form_of_every_net_is_the_same_network() -> None:
    entry: ZooEntry
    for entry in nets():
        text = normal_text(entry.net.value)
        assert archlang.loads(text).graph.digest == entry.net.graph.digest
        assert Subject(text).graph.digest == entry.net.graph.digest


TINY = """\
# A file's own comment.
from std.mobile import mbconv

net Tiny(classes=10):
  default conv(norm=bn, act=relu6)
  input 3x32x32
  conv(16, 3, s=2) as stem  # the first
  table mbconv:
    | e |  c | n | s |
    | 1 | 16 | 1 | 1 |  # no expansion
    | 6 | 24 | 2 | 2 |
  concat:
    conv(8, 1)
    conv(8, 3)
    conv(16, 3, groups=2)
  residual(project=conv(32, 1)):
    conv(32, 3) -> conv(32, 1)
    if 1: conv(32, 3)
  gap -> linear(classes)

  expect params == 55850
  expect params < 100M
  expect peak_memory < 1
"""


def tiny(*kinds: str, seeds: int = 12) -> list[Mutant]:
    """Mutants of the small net, each another."""
    subject = Subject(print_program(parse(Source("", TINY))))
    found = {mutant.text: mutant for mutant in (mutated(subject, Random(seed), kinds) for seed in range(seeds))}
    return list(found.values())


@pytest.mark.parametrize(
    ("kind", "story"),
    [
        ("kernel", "kernel "),
        ("stride", "stride "),
        ("width", "width "),
        ("expansion", "expansion "),
        ("groups", "groups "),
        ("activation", "activation "),
        ("norm", "norm bn -> "),
        ("repeats", "repeats "),
        ("resolution", "image: resolution 3x32x32 -> 3x"),
        ("swap", " -> "),
        ("insert", "inserted "),
        ("delete", "deleted "),
        ("duplicate", "duplicated"),
        ("split", "split 2 -> 1 + 1, the second with "),
        ("add_skip", "a skip around "),
        ("remove_skip", "the skip removed"),
        ("add_squeeze", "squeeze"),
        ("add_branch", "a branch beside it with kernel "),
        ("remove_branch", "the branch `"),
    ],
)
def test_each_kind_says_what_it_did(kind: str, story: str) -> None:
    subject = Subject(print_program(parse(Source("", TINY))))
    for mutant in tiny(kind):
        assert story in mutant.story
        assert mutant.kind == kind
        assert_sound(subject, mutant)


def test_nothing_comes_behind_the_classifier() -> None:
    before = archlang.loads(TINY).graph
    for mutant in tiny("insert", "duplicate", seeds=20):
        graph = archlang.loads(mutant.text).graph
        assert len(graph.nodes) > len(before.nodes)
        assert _classifier(graph) == _classifier(before)


def _classifier(graph: Graph) -> tuple[str, ...]:
    """The ops from the average over the image on."""
    ops = [node.op.name for node in graph.nodes]
    return tuple(ops[ops.index("gap") :])


def test_comments_layout_and_the_library_stay() -> None:
    inside = [mutant for mutant in tiny("width", "repeats") if not mutant.story.startswith("mbconv")]
    assert len(inside) > 3
    for mutant in inside:
        assert mutant.text.startswith("# A file's own comment.\n\nfrom std.mobile import mbconv\n\nnet Tiny(")
        assert "# the first\n" in mutant.text
        assert "block mbconv" not in mutant.text
        changed = set(TINY.splitlines()) ^ set(mutant.text.splitlines())
        assert len(changed) <= 8  # the line or the table that was rewritten, and what was expected


def test_a_block_of_the_library_stands_in_the_file_once_it_is_changed() -> None:
    (mutant,) = (each for each in tiny("remove_skip", seeds=20) if each.story.startswith("mbconv"))
    assert "block mbconv(c, k=3" in mutant.text
    assert "from std.mobile import squeeze\n" in mutant.text
    assert "residual(drop=drop" not in mutant.text


def test_expectations_are_put_right_or_go() -> None:
    for mutant in tiny("repeats"):
        assert f"expect params == {archlang.loads(mutant.text).cost().total.params}\n" in mutant.text
        assert "expect params < 100M\n" in mutant.text
        assert "peak_memory" not in mutant.text


def test_a_program_whose_expectations_hold_stays_as_it_is() -> None:
    net = archlang.load("zoo:mobilenet_v2:w100")
    text = normal_text(net.value)
    program = archlang.loads(text)
    assert "expect params == 3504872" in text
    assert settled(program.module.program, program.lowered) == text


def test_roles_are_followed_to_where_values_are_written() -> None:
    uses: dict[Role, list[str]] = {}
    for use in subject_of("zoo:resnet:r50").roles.uses:
        uses.setdefault(use.role, []).append(use.node.span.text)
    assert uses[Role.REPEATS] == ["3", "4", "6", "3"]
    assert "7" in uses[Role.KERNEL]
    assert uses[Role.RESOLUTION] == ["224"]


def test_kinds_by_name_and_by_weight() -> None:
    subject = Subject(print_program(parse(Source("", TINY))))
    kinds = [mutated(subject, Random(seed), {"kernel": 9.0, "width": 1.0}).kind for seed in range(40)]
    assert set(kinds) == {"kernel", "width"}
    assert kinds.count("kernel") > 25


def codes(error: pytest.ExceptionInfo[ArchError]) -> list[str]:
    return [each.code for each in error.value.diagnostics]


def test_what_cannot_be_mutated_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArchError) as unknown:
        known(["kernal"])
    assert codes(unknown) == ["E1231"]
    assert "did you mean `kernel`" in unknown.value.diagnostics[0].help
    with pytest.raises(ArchError) as nothing:
        mutated(Subject("net N:\n  input 3x8x8\n  relu\n"), Random(0), ["kernel"])
    assert codes(nothing) == ["E1232"]
    with pytest.raises(ArchError) as space:
        ordinary(archlang.loads("net N:\n  input 3x8x8\n  conv({8, 16}, 3)\n").value)
    assert codes(space) == ["E1233"]
    (tmp_path / "a.arch").write_text("block unit(c):\n  helper(c)\n\nblock helper(c):\n  conv(c, 3)\n")
    (tmp_path / "b.arch").write_text(
        'from "./a.arch" import unit\n\nblock helper(c):\n  conv(c, 1)\n\n'
        "net N:\n  input 3x8x8\n  unit(4) -> helper(4)\n"
    )
    with pytest.raises(ArchError) as two:
        normal_text(archlang.load(str(tmp_path / "b.arch")).value)
    assert codes(two) == ["E1230"]


def test_files_beside_a_program_are_put_into_it(tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_text("# A unit.\nblock unit(c):\n  conv(c, 3)\n\nblock other():\n  relu\n")
    (tmp_path / "b.arch").write_text('from "./a.arch" import unit\n\nnet N:\n  input 3x8x8\n  unit(4) -> unit(8)\n')
    net = archlang.load(str(tmp_path / "b.arch"))
    text = normal_text(net.value)
    assert text == "# A unit.\nblock unit(c):\n  conv(c, 3)\n\nnet N:\n  input 3x8x8\n  unit(4) -> unit(8)\n"
    assert archlang.loads(text).graph.digest == net.graph.digest


# ---- the space of a program ------------------------------------------------------------------------------------------


def test_the_moves_of_a_program_space() -> None:
    space, rng = ProgramSpace(archlang.loads(TINY).value), Random(0)
    picks = space.sample(rng)
    for _ in range(10):
        child, story = space.mutate(picks, rng)
        crossed = space.crossover(picks, child, rng)
        for each in (child, crossed):
            assert space.canonical(each) == each
            assert space.sketch(each).digest == space.graph(each).digest == archlang.loads(each["program"]).graph.digest
        assert story
        picks = crossed
    again = ProgramSpace(archlang.loads(TINY).value)
    assert again.digest == space.digest
    assert again.sample(Random(4)) == ProgramSpace(archlang.loads(TINY).value).sample(Random(4))
    assert space.restricted(["kernel"]).digest != space.digest


def test_a_cross_takes_lines_of_both() -> None:
    """Two programs that differ in two lines give four."""
    space = ProgramSpace(archlang.loads(TINY).value)
    a = {"program": space.base.replace("conv(16, 3, s=2)", "conv(24, 3, s=2)")}
    b = {"program": space.base.replace("| 6 | 24 |", "| 6 | 40 |")}
    found = {space.crossover(a, b, Random(seed))["program"] for seed in range(12)}
    both = [text for text in found if "conv(24, 3, s=2)" in text and "| 6 | 40 |" in text]
    assert len(both) == 1
    assert "# the first" in both[0]


def test_a_search_over_a_net_without_choices(tmp_path: Path) -> None:
    lines = (
        "  mutations [kernel, width, add_skip]\n  maximize macs\n  minimize params\n  method evolution(population=4)\n"
    )
    (tmp_path / "s.arch").write_text(f"{TINY}\nsearch grow over Tiny:\n{lines}")
    spec = str(tmp_path / "s.arch")
    assert isinstance(load_search(spec).space, ProgramSpace)
    assert check(spec).errors == () or [error.code for error in check(spec).errors] == ["E0311", "E0311"]
    done = run("search", spec, "--evaluator", "cost", "--trials", "12", "--run", str(tmp_path / "out"), "--json")
    assert done.status == 0, done.err
    assert (done.document["trials"], done.document["failed"]) == (12, 0)
    for entry in done.document["front"]:
        assert run("check", entry["arch"]).status == 0


def test_mutations_of_a_space_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.arch").write_text(
        "net N:\n  input 3x8x8\n  conv({8, 16}, 3)\n\nsearch s over N:\n  mutations [kernel]\n  minimize params\n"
    )
    with pytest.raises(ArchError) as refused:
        load_search(str(tmp_path / "s.arch"))
    assert codes(refused) == ["E0504"]


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_shows_what_can_be_mutated() -> None:
    done = run("mutate", "zoo:mobilenet_v2:w050", "--json")
    assert done.status == 0, done.err
    kinds = {row["kind"]: row for row in done.document["mutations"]}
    assert list(kinds) == list(MUTATIONS)
    assert kinds["kernel"]["rewrites"] > kinds["kernel"]["sites"] > 5
    assert "mutation" in run("mutate", "zoo:lenet:LeNet5", "--only", "kernel,width").out


def test_the_command_writes_mutants_with_their_stories(tmp_path: Path) -> None:
    arguments = ("mutate", "zoo:lenet:LeNet5", "-n", "3", "--steps", "2", "--seed", "5", "-o", str(tmp_path))
    done = run(*arguments, "--json")
    assert done.status == 0, done.err
    assert len({row["digest"] for row in done.document["mutants"]}) == 3
    for row in done.document["mutants"]:
        file = Path(row["file"])
        assert file.read_text().startswith(f"# mutant of zoo:lenet:LeNet5: {row['story']}\n")
        assert archlang.load(str(file)).cost().total.params == row["params"]
        assert run("check", str(file)).status == 0
        assert run("fmt", "--check", str(file)).status == 0
    assert run(*arguments, "--json").document == done.document
    assert run("mutate", "zoo:lenet:LeNet5", "--only", "kernal").status == 1
