"""Parts of a module that training leaves as they are. Imported where torch is there already."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from archlang.errors import fail, nearest


class FrozenBatchNorm1d(nn.BatchNorm1d):
    """Normalises by its running statistics in training too, and does not change them."""

    def train(self, mode: bool = True) -> FrozenBatchNorm1d:
        return super().train(False)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Normalises by its running statistics in training too, and does not change them."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        return super().train(False)


_FROZEN: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: FrozenBatchNorm1d,
    nn.BatchNorm2d: FrozenBatchNorm2d,
}


def freeze(module: nn.Module, parts: Iterable[str]) -> None:
    """Freeze the submodules called so, and all below them: no gradients, and BatchNorms stay in evaluation mode.

    Raises ArchError where there is no submodule or parameter of the name.
    """
    submodules = dict(module.named_modules())
    parameters = dict(module.named_parameters())
    for part in parts:
        if not part or (part not in submodules and part not in parameters):
            raise fail("E0613", f"there is no part `{part}` to freeze", help=nearest(part, [*submodules, *parameters]))
        for name, parameter in parameters.items():
            if _is_in(name, part):
                parameter.requires_grad_(False)
        for name, submodule in submodules.items():
            if _is_in(name, part) and type(submodule) in _FROZEN:
                submodule.__class__ = _FROZEN[type(submodule)]
                submodule.eval()


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
