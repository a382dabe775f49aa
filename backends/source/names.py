"""Names and strings of the Graph on their way into Python text."""

from __future__ import annotations

import keyword
import re
import string
from collections.abc import Container, Iterable

from archlang.errors import ArchError, fail
from archlang.ir.graph import Graph
from archlang.source import Span

_ATTRIBUTES = """
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval
    extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules
    mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer
    register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
    register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule
    share_memory state_dict to to_empty train training type xpu zero_grad
    append clear extend insert items keys pop update values
"""

MODULE_ATTRIBUTES = frozenset(_ATTRIBUTES.split())
"""Attributes of torch.nn.Module and its containers, which a submodule would hide."""

_USED = "Callable F Tensor _ bool float initialise int isinstance len module nn range self super torch tuple "
_USED += "unpadded_avg_pool2d centre_crop"

GLOBALS = frozenset(_USED.split())
"""Names that the generated text uses itself."""

RESERVED_CLASSES = frozenset({"Callable", "F", "False", "None", "Tensor", "True"})
"""What no class may be called."""


def check_names(graph: Graph) -> None:
    """Raise ArchError, with its place, for a name that cannot be an attribute of a module."""
    spans: dict[str, Span | None] = {}
    for node in graph.nodes:
        if node.op.name != "input":
            spans[node.name] = node.span
    for path, span in spans.items():
        parts = path.split(".")
        for depth, part in enumerate(parts):
            prefix = ".".join(parts[: depth + 1])
            scope = graph.scopes.get(prefix)
            if depth + 1 < len(parts) and prefix in spans:
                raise _refused(prefix, "is both an op and a group of ops", span)
            if not usable(part):
                reason = "cannot be the name of a module in PyTorch"
                raise _refused(part, reason, scope.span if scope and scope.span else span)


def usable(name: str) -> bool:
    """Whether a submodule may be called so; numbers are names in nn.Sequential, and begin those of alternatives in an
    nn.ModuleDict."""
    if re.fullmatch(r"\d+(_\w+)?", name, re.ASCII):
        return True
    return is_identifier(name) and name not in MODULE_ATTRIBUTES and not name.startswith("_")


def is_identifier(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def _refused(name: str, reason: str, span: Span | None) -> ArchError:
    return fail("E0810", f"`{name}` {reason}", span, help="write another name after `as`")


def pascal_case(name: str) -> str:
    """`inverted_residual` -> `InvertedResidual`; what is in capitals already stays."""
    parts = re.split(r"[^0-9A-Za-z]+", name)
    text = "".join(part[:1].upper() + part[1:] for part in parts)
    return text if text[:1].isalpha() else f"Net{text}"


def unique_class(name: str, taken: Iterable[str]) -> str:
    """`Name`, or `Name2`, `Name3`, ... where it is taken; behind a digit `Cell5B`, `Cell5C`."""
    used = set(taken)
    if name not in used or not name[-1:].isdigit():
        return unique(name, used)
    lettered = (f"{name}{letter}" for letter in string.ascii_uppercase[1:])
    return next((other for other in lettered if other not in used), None) or unique(name, used)


def variable(name: str, taken: Container[str] = ()) -> str:
    """`name` where it is free to be a variable, else with underscores after it."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII) or "value"
    name = f"_{name}" if name[0].isdigit() else name
    while keyword.iskeyword(name) or name in GLOBALS or name in taken:
        name += "_"
    return name


def unique(name: str, taken: Iterable[str]) -> str:
    """`name`, or `name2`, `name3`, ... where it is taken; behind a digit `name1_2`, `name1_3`."""
    used = set(taken)
    number, candidate, base = 1, name, f"{name}_" if name[-1:].isdigit() else name
    while candidate in used:
        number += 1
        candidate = f"{base}{number}"
    return candidate
