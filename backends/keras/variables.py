"""How the values in a function are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from archlang.backends.source.body import INPUT, Body, Value
from archlang.backends.source.names import unique

_POOL = ("x", "y", "z", "u", "v", "w")
"""Variables that say nothing but `the value so far`; such a name may pass from value to value."""

_BRANCH = re.compile(r"branch\d+")


class Variables:
    """Names of the values that are alive. last: the statement that reads each value last; taken: no variable's name."""

    def __init__(self, body: Body, inputs: Sequence[str], last: Mapping[Value, int], taken: set[str]) -> None:
        self.body, self.last, self.taken = body, last, taken
        self.names: dict[Value, str] = {(INPUT, i): name for i, name in enumerate(inputs)}
        self.inputs = set(inputs)

    def __getitem__(self, value: Value) -> str:
        return self.names[value]

    def assign(self, k: int, value: Value, reads: Sequence[Value], wanted: str = "") -> str:
        """The name of a value that statement k makes out of `reads`."""
        self.names[value] = self._name(k, value, reads, wanted)
        return self.names[value]

    def fresh(self, k: int, reads: Sequence[Value]) -> str:
        """A name that nothing alive has, what statement k reads among it."""
        busy = self._alive(k) | {self.names[read] for read in reads}
        return next((name for name in _POOL if name not in busy), None) or unique("value", busy)

    def _name(self, k: int, value: Value, reads: Sequence[Value], wanted: str) -> str:
        own = wanted or self._branch(value)
        if own:
            return unique(own, self._alive(k))
        for read in reads:
            name = self.names[read]
            dying = self.last.get(read, -1) <= k and name not in self._alive(k)
            if dying and (name in _POOL or _BRANCH.fullmatch(name)):
                return name
        return self.fresh(k, reads)

    def _alive(self, k: int) -> set[str]:
        return self.taken | {name for value, name in self.names.items() if self.last.get(value, -1) > k}

    def _branch(self, value: Value) -> str:
        """`branch2` where the value, alone and step by step, becomes operand 2 of a join of three or more."""
        while (reader := self._reader(value)) is not None:
            inputs = self.body.items[reader].inputs
            if len(inputs) > 1:
                joins = len(inputs) > 2 and self.body.items[reader].layer.weight == "join"
                return f"branch{inputs.index(value) + 1}" if joins else ""
            value = (reader, 0)
        return ""

    def _reader(self, value: Value) -> int | None:
        """The only item that reads the value, once."""
        readers = self.body.readers.get(value, [])
        alone = len(readers) == 1 and readers[0] < len(self.body.items)
        return readers[0] if alone and self.body.items[readers[0]].layer.outputs == 1 else None
