"""Names in the generated Keras text."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

from archlang.backends.source.names import unique
from archlang.errors import fail
from archlang.ir.graph import Graph

COUNTERS = ("i", "j")
"""Variables of loops, and of loops within them."""

_MODULES = "Any KerasTensor Mapping initializers keras layers math np ops"

RESERVED = frozenset((*_MODULES.split(), *COUNTERS, "name", *dir(builtins)))
"""What the text uses itself, so that no parameter, variable or function may be called so."""

AUTOMATIC = re.compile(
    r"(activation|add|average_pooling2d|concatenate|cropping2d|divide|drop_path_mean|dropout|flatten|get_item|"
    r"global_average_pooling[12]d|leaky_re_lu|max_pooling2d|multiply|normalize|pad|permute|power|rescaling|reshape|square|sum|"
    r"true_divide|up_sampling2d|zero_padding2d|zeros_like)(_\d+)?"
)
"""Names that Keras gives to what the text leaves nameless. Two layers of one name make no model."""


def check_layer_names(graph: Graph) -> None:
    """Raise ArchError, with its place, for a name that no layer can have beside those that Keras makes up itself."""
    for node, types in graph.modules():
        if "." not in node.name and AUTOMATIC.fullmatch(node.name) and (node.op.params(*types) or not types):
            what = f"`{node.name}` cannot be the name of a layer in Keras, which gives such names itself"
            raise fail("E0810", what, node.span, help="write another name after `as`")


def safe(name: str) -> str:
    """A parameter's name with an underscore more where the text uses it for something else. One to one."""
    return f"{name}_" if name.rstrip("_") in RESERVED else name


def function_names(blocks: Iterable[tuple[str, str]], taken: Iterable[str]) -> dict[str, str]:
    """(class name, block name) -> the function of each class: the block's name, where nothing else has it."""
    reserved, found = {*RESERVED, *keyword.kwlist, *taken}, dict[str, str]()
    used = set(reserved)
    for class_name, block in blocks:
        wanted = snake_case(block or class_name)
        found[class_name] = unique(f"{wanted}_block" if wanted in reserved else wanted, used)
        used.add(found[class_name])
    return found


def snake_case(name: str) -> str:
    """`InvertedResidual` -> `inverted_residual`; a name in small letters stays."""
    text = re.sub(r"\W+", "_", name, flags=re.ASCII)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", text).lower().strip("_")
    return text if text[:1].isalpha() else f"net_{text}"


def local(access: str) -> str:
    """The module at `stage["conv1"]` or `stage[0].conv` as part of a layer's name: `stage-conv1`."""
    return access.replace('["', "-").replace('"]', "").replace("[", "-").replace("]", "").replace(".", "-")


def quoted(content: str) -> str:
    """A layer's name as a string, an f-string where it holds a variable."""
    return f'f"{content}"' if "{" in content else f'"{content}"'
