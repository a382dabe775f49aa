"""Which regions are instances of the same thing, and what that is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archlang.backends.source.names import pascal_case
from archlang.backends.source.regions import Form, Region, enclosing_block
from archlang.ir.graph import Graph


def groups(root: Region, graph: Graph) -> Iterator[list[Region]]:
    """The class regions by what they are instances of, each group after the groups that it contains."""
    regions = [region for region in root.below() if region.form is Form.CLASS]
    keys = {region.path: _key(region, graph) for region in regions}
    recursive = {keys[r.path] for r in regions if any(keys.get(b.path) == keys[r.path] for b in r.below())}
    found: dict[Any, list[Region]] = {}
    needs: dict[Any, set[Any]] = {}
    final = {r.path: (keys[r.path], _height(r) if keys[r.path] in recursive else 0) for r in regions}
    for region in regions:
        key = final[region.path]
        found.setdefault(key, []).append(region)
        needs.setdefault(key, set()).update(final[b.path] for b in region.below() if b.path in final)
    done: set[Any] = set()
    for key in found:
        for ready in _first(key, needs, done):
            yield found[ready]


def _first(key: Any, needs: Mapping[Any, set[Any]], done: set[Any]) -> Iterator[Any]:
    """What `key` needs and is not done yet, then `key`."""
    if key in done:
        return
    done.add(key)
    for need in sorted(needs[key], key=str):
        yield from _first(need, needs, done)
    yield key


def _height(region: Region) -> int:
    return 1 + max((_height(child) for child in region.children.values() if isinstance(child, Region)), default=0)


def _key(region: Region, graph: Graph) -> tuple[str, ...]:
    """The block that the region is an instance of; else its name in the block around it; else its ops."""
    if region.block:
        return ("block", region.block)
    if region.path.rpartition(".")[2][:1].isdigit():
        return ("ops", _ops_name(region, graph))
    return ("part", *enclosing_block(graph, region.path))


def class_name(region: Region, graph: Graph) -> str:
    if region.block:
        return pascal_case(region.block)
    local = region.path.rpartition(".")[2]
    return pascal_case(_ops_name(region, graph) if local[:1].isdigit() else local)


def _ops_name(region: Region, graph: Graph) -> str:
    """`conv_bn_relu` for a nameless group of a few ops."""
    ops = [graph.nodes[i].op.name for i in region.nodes]
    return "_".join(ops) if len(ops) <= 4 else f"{ops[0]}_unit"
