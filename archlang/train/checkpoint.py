"""What an epoch ended with, on disk, so that a training that was killed goes on."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

from archlang.data import Dataset
from archlang.errors import fail
from archlang.files import write_whole
from archlang.train.recipe import Recipe
from archlang.weights import Weights


class Checkpoint:
    """A file that belongs to one training. key: equal for equal trainings, such as `key_of` gives."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self._key = key

    def read(self, torch: Any) -> dict[str, Any] | None:
        """The state of the last epoch; None where there is none yet. Raises ArchError E1104 where the file belongs to
        another training, or is none."""
        if not self.path.exists():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            key, state = found["key"], found["state"]
        except Exception as error:  # whatever the unpickler says of a file that is not its own
            raise fail("E1104", f"{self.path} is not the checkpoint of a training") from error
        if key != self._key:
            help = "give the same network, data and options, or another file"
            raise fail("E1104", f"{self.path} is the checkpoint of another training", help=help)
        found_state: dict[str, Any] = state
        return found_state

    def write(self, torch: Any, state: dict[str, Any]) -> None:
        content = io.BytesIO()
        torch.save({"key": self._key, "state": state}, content)
        write_whole(self.path, content.getvalue())


def key_of(what: str, data: Dataset, recipe: Recipe, start: Weights) -> str:
    """Equal for equal trainings of `what`, such as a graph's digest, from the weights `start`."""
    found = hashlib.sha256(f"{what}\n{recipe}\n{data.name}\n{data.x_train.shape}".encode())
    found.update(data.y_train.tobytes())
    for name in sorted(start):
        found.update(name.encode() + start[name].tobytes())
    return found.hexdigest()
