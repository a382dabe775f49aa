"""Arguments as they are written on the command line."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from archlang import arguments
from archlang.errors import ArchError

KINDS: dict[str, Any] = {
    "n": int,
    "rate": float,
    "name": str,
    "keep": bool,
    "how": Literal["fast", "slow"],
    "maybe": int | None,
}


@pytest.mark.parametrize(
    ("text", "name", "given"),
    [
        ("train", "train", {}),
        (" train ( ) ", "train", {}),
        ("train(runs=50, rate=1e-3)", "train", {"runs": 50, "rate": 1e-3}),
        ("a.b:c(x=word)", "a.b:c", {"x": "word"}),
        (
            "t(file='a, b.csv', keep=true, drop=False, none=none)",
            "t",
            {"file": "a, b.csv", "keep": True, "drop": False, "none": None},
        ),
        ("t(data=npz:some/file.npz)", "t", {"data": "npz:some/file.npz"}),
        ("t(only=synflow+zico)", "t", {"only": "synflow+zico"}),
    ],
)
def test_calls(text: str, name: str, given: dict[str, Any]) -> None:
    assert arguments.call(text, "E1205") == (name, given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train(", "is no name"),
        ("", "is no name"),
        ("train(50)", "`50` is no argument"),
        ("train(a=)", "`a=` is no argument"),
        ("train(a=1, a=2)", "`a` is given twice"),
    ],
)
def test_what_is_no_call(text: str, words: str) -> None:
    with pytest.raises(ArchError, match="E1205") as caught:
        arguments.call(text, "E1205")
    assert words in caught.value.diagnostics[0].message


def test_values_of_the_right_kind_pass_and_whole_numbers_do_for_numbers() -> None:
    given = {"n": 3, "rate": 1, "name": "x", "keep": True, "how": "slow", "maybe": None}
    fitted = arguments.fitted(given, KINDS, "E1202", "it")
    assert fitted == {**given, "rate": 1.0}
    assert type(fitted["rate"]) is float


@pytest.mark.parametrize(
    ("given", "message", "help"),
    [
        ({"nn": 3}, "it takes no `nn`", "did you mean `n`?"),
        ({"n": 3.5}, "`n` of it cannot be `3.5`", "it is a whole number"),
        ({"n": True}, "`n` of it cannot be `true`", "it is a whole number"),
        ({"keep": 1}, "`keep` of it cannot be `1`", "it is true or false"),
        ({"how": "slw"}, "`how` of it cannot be `slw`", "did you mean `slow`?"),
        ({"maybe": "x"}, "`maybe` of it cannot be `x`", "it is a whole number or none"),
    ],
)
def test_values_of_another_kind(given: dict[str, Any], message: str, help: str) -> None:
    with pytest.raises(ArchError, match="E1202") as caught:
        arguments.fitted(given, KINDS, "E1202", "it")
    assert (caught.value.diagnostics[0].message, caught.value.diagnostics[0].help) == (message, help)
