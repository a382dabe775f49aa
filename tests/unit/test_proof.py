"""The proof that every combination of a space fits, beside the slow and certain way: to elaborate each."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archlang.errors import ArchError
from archlang.lower import Memo, default_net, lower
from archlang.lower.proof import Proof, prove
from archlang.lower.values import NetValue
from archlang.search.space import Space
from archlang.spec import module_of_text


def net_of(text: str) -> NetValue:
    return default_net(module_of_text(text, "test"))


def proof_of(text: str) -> Proof:
    return prove(net_of(text), {}, Memo())


def by_hand(text: str, limit: int = 20_000) -> tuple[int, int]:
    """How many candidates fit and how many do not, each elaborated."""
    net, memo = net_of(text), Memo()
    fits = broken = 0
    queue: list[dict[str, int]] = [{}]
    while queue:
        assert fits + broken < limit
        picks, opened = queue.pop(), ""

        def choose(decision: object) -> int:
            nonlocal opened
            opened = opened or decision.key  # type: ignore[attr-defined]
            return 0

        try:
            lower(net, {}, picks, memo, choose)
        except ArchError:
            broken += not opened
        else:
            fits += not opened
        if opened:
            queue += [{**picks, opened: index} for index in range(memo.decisions[opened].count)]
    return fits, broken


HEAD = """choice K = {1, 3}
choice W = {4, 8}
SHARED = {4, 8}

block plain(c):
  conv(c, 1)

block inner(c):
  conv(c * {1, 2}, 3)
  conv(c, K)

block fixed():
  conv(W, 3) -> conv(SHARED, 1)

block rest(c):
  residual:
    conv(c, 1)

cell pair(a, b; c):
  add:
    conv(a, c)
    conv(b, {c, 4})

net A:
  input 4x8x8
"""

CHANNELS = st.sampled_from(["4", "8", "{4, 8}", "W", "SHARED", "m", "_.c"])
STEPS = st.one_of(
    st.builds("conv({}, {})".format, CHANNELS, st.sampled_from(["1", "3", "K", "{1, 3, 5}"])),
    st.builds("plain({})".format, CHANNELS),
    st.builds("inner({})".format, CHANNELS),
    st.builds("plain({}) * {{1, 2}}".format, CHANNELS),
    st.builds("inner({}) * 2".format, CHANNELS),
    st.builds("plain(each {{{}, 8}}) * 2".format, CHANNELS),
    st.builds("rest({})".format, CHANNELS),
    st.builds("maxpool(2, s={})".format, st.sampled_from(["1", "2", "{1, 2}"])),
    st.just("fixed"),
    st.builds("{{skip, conv({}, 1)}}".format, CHANNELS),
)


def _table(rows: list[tuple[str, str]]) -> str:
    return "  table plain:\n    | c | n |\n" + "".join(f"    | {c} | {n} |\n" for c, n in rows)


def _group(head: str, lines: list[str]) -> str:
    return f"  {head}:\n" + "".join(f"    {line}\n" for line in lines)


LINES = st.one_of(
    st.builds("  {}\n".format, STEPS),
    st.builds("  {} -> {}\n".format, STEPS, STEPS),
    st.builds("  m = {}\n".format, st.sampled_from(["{4, 8}", "8", "W", "SHARED"])),
    st.builds("  if m == 8: {}\n".format, STEPS),
    st.builds("  y = _\n  {}\n  pair(y, _, {})\n".format, STEPS, CHANNELS),
    st.builds("  {} as z\n  add:\n    {}\n    conv(z, {{4, 8}}, 1)\n".format, STEPS, STEPS),
    st.builds(_group, st.sampled_from(["add", "concat", "mul"]), st.lists(STEPS, min_size=2, max_size=2)),
    st.builds(_group, st.sampled_from(["residual", "residual(when=fits)"]), st.lists(STEPS, min_size=1, max_size=2)),
    st.builds(_table, st.lists(st.tuples(CHANNELS, st.sampled_from(["1", "2", "{0, 2}"])), min_size=1, max_size=2)),
    st.builds("  for i in [1, {{1, 3}}]:\n    conv({}, i)\n".format, CHANNELS),
)
PROGRAMS = st.lists(LINES, min_size=1, max_size=4).map(lambda lines: HEAD + "  m = {4, 8}\n" + "".join(lines))


def agree(text: str) -> None:
    try:
        fits, broken = by_hand(text, limit=600)
    except AssertionError:  # too many to visit
        return
    proof = proof_of(text)
    assert proof.proved
    assert bool(proof.findings) == bool(broken)
    if not broken:
        assert proof.size in (fits, None)
        assert Space(net_of(text)).size == fits
    for finding in proof.findings:
        with pytest.raises(ArchError):
            lower(net_of(text), {}, finding.picks)


@settings(max_examples=60, deadline=None)
@given(PROGRAMS)
def test_the_proof_agrees_with_every_candidate(text: str) -> None:
    agree(text)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(PROGRAMS)
def test_the_proof_agrees_with_every_candidate_of_many_programs(text: str) -> None:
    agree(text)


def findings(text: str) -> list[tuple[str, str]]:
    """Code and last step of the expansion of every error of a space."""
    errors = [error.diagnostics[0] for error in Space(net_of(text)).misfits()]
    return [(error.code, error.trace[-1] if error.trace else "") for error in errors]


def test_a_combination_is_named_by_the_decisions_that_it_takes() -> None:
    text = """net A:
  input 3x32x32
  table:
    | op   | c        | k      | s      |
    | conv | {16, 32} | {3, 5} | 2      |
    | conv | {16, 32} | 3      | {1, 2} |
  residual:
    conv(32, 3)
"""
    assert findings(text) == [("E0312", "`c` in row 2 = 16")]


def test_two_decisions_may_break_only_together() -> None:
    text = """net A(a={4, 8}, b={4, 8}):
  input 3x8x8
  if a == 8 and b == 8: conv(3, 9, pad=0)
"""
    assert findings(text) == [("E0302", "`a` = 8, `b` = 8")]


def test_a_shared_decision_is_never_tried_both_ways() -> None:
    """The block stands twice and its choice is one decision: the branches agree in every candidate."""
    text = """block b():
  conv({4, 8}, 3)

net A:
  input 3x8x8
  y = b(_)
  conv(3, 3)
  z = b(_)
  add(y, z)
"""
    proof = proof_of(text)
    assert (proof.proved, proof.findings, proof.size) == (True, (), 2)


def test_a_space_too_large_to_follow_is_not_called_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archlang.lower.proof.MAX_WORK", 50)
    proof = proof_of("net A:\n  input 3x8x8\n" + "  conv({4, 8}, {1, 3})\n" * 9)
    assert (proof.proved, proof.findings, proof.size) == (False, (), None)


def test_states_are_merged() -> None:
    """10^30 candidates, one shape after each line: named values that nothing reads again keep no states apart."""
    lines = "".join(f"  k{i} = {{1, 3, 5}}\n  conv(4, k{i})\n  conv({{4, 8}}, 3)\n" for i in range(40))
    proof = proof_of("net A:\n  input 3x8x8\n" + lines)
    assert (proof.proved, proof.size) == (True, 6**40)


def test_all_independent_errors_of_a_net_without_choices() -> None:
    text = """block basic(c):
  residual:
    conv(2 * c, 3)

net A:
  input 3x32x32
  basic(16) * 2
  n = 3 // 0
  conv(16, n)
  gap -> linear(10)
  d = 1 if 3 < [1] else 2
"""
    errors = [finding.error.diagnostics[0] for finding in proof_of(text).findings]
    assert [error.code for error in errors] == ["E0312", "E0404", "E0208"]
    assert errors[0].trace == ("basic(16) at line 7", "repeat 1 of 2")
