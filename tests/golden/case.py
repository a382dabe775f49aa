"""Golden cases: one file is one case.

    # run: ir --passes fuse-norms
    the input
    # ----
    the expected output

Without `# ----` the input must print back as itself. `pytest --update-golden` rewrites the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_RULE = "# ----\n"


@dataclass(frozen=True)
class Case:
    """command: the words after `# run:`. expected: None where the input must print back as itself."""

    path: Path
    command: tuple[str, ...]
    text: str
    expected: str | None

    @property
    def name(self) -> str:
        return str(self.path.relative_to(HERE))


def read(path: Path) -> Case:
    head, _, rest = path.read_text(encoding="utf-8").partition("\n")
    assert head.startswith("# run: "), f"{path} does not begin with `# run:`"
    text, rule, expected = rest.partition(_RULE)
    return Case(path, tuple(head.removeprefix("# run: ").split()), text, expected if rule else None)


def cases(folder: str) -> list[Case]:
    return [read(path) for path in sorted((HERE / folder).glob("*.arch"))]


def check(case: Case, run: Callable[[Case], str], update: bool) -> None:
    """Compare the output with what the case says; with `update` say what it is."""
    output = run(case)
    wanted = case.text if case.expected is None else case.expected
    if update and output != wanted:
        words = " ".join(case.command)
        case.path.write_text(f"# run: {words}\n{case.text}{_RULE}{output}", encoding="utf-8")
        return
    assert output == wanted
