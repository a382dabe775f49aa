"""How the values in a function are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archlang.backends.source.body import INPUT, Body, Value
from archlang.backends.source.names import unique
from archlang.backends.source.variables import POOL, own_name, place_in_join


class Variables:
    """Names of the values that are alive. last: the statement that reads each value last; taken: no variable's name.
    crowded: whether more values are alive at once than have a letter."""

    def __init__(
        self, body: Body, inputs: Sequence[str], last: Mapping[Value, int], taken: set[str], crowded: bool = False
    ) -> None:
        self.body, self.last, self.taken, self.crowded = body, last, taken, crowded
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
        free = next((name for name in POOL if name not in busy), None)
        self.crowded |= free is None
        return free or unique("value", busy)

    def _name(self, k: int, value: Value, reads: Sequence[Value], wanted: str) -> str:
        own = wanted or self._own(value) or self._branch(value)
        if own:
            return unique(own, self._alive(k))
        for read in reads:
            name = self.names[read]
            dying = self.last.get(read, -1) <= k and name not in self._alive(k)
            if dying and name in POOL:
                return name
        return self.fresh(k, reads)

    def _alive(self, k: int) -> set[str]:
        return self.taken | {name for value, name in self.names.items() if self.last.get(value, -1) > k}

    def _own(self, value: Value) -> str:
        """The name that the source gives a value that several items read, or that is one of several results."""
        many = len(self.body.readers.get(value, ())) > 1
        returned = len(self.body.outputs) > 1 and value in self.body.outputs
        own = own_name(self.body, value, self.crowded and many) if many or returned else ""
        return "" if own in self.taken and not self.crowded else own

    def _branch(self, value: Value) -> str:
        """`branch2` where the value, alone and step by step, becomes operand 2 of a join of three or more."""
        while (reader := self._reader(value)) is not None:
            if len(self.body.items[reader].inputs) > 1:
                return place_in_join(self.body, value, reader)
            value = (reader, 0)
        return ""

    def _reader(self, value: Value) -> int | None:
        """The only item that reads the value, once."""
        readers = self.body.readers.get(value, [])
        alone = len(readers) == 1 and readers[0] < len(self.body.items)
        return readers[0] if alone and self.body.items[readers[0]].layer.outputs == 1 else None
