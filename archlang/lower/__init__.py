"""Program -> Graph: parameters, repeats, cells, choices; instances of blocks are elaborated once."""

from archlang.lower.expressions import as_net
from archlang.lower.module import LIBRARY, Loader, Module, read_source
from archlang.lower.nets import Lowered, default_net, expression, lower, metrics, net_expression, net_named, settled
from archlang.lower.session import Decision, Memo, Session
from archlang.lower.values import NetValue

__all__ = [
    "LIBRARY",
    "Decision",
    "Loader",
    "Lowered",
    "Memo",
    "Module",
    "NetValue",
    "Session",
    "as_net",
    "default_net",
    "expression",
    "lower",
    "metrics",
    "net_expression",
    "net_named",
    "read_source",
    "settled",
]
