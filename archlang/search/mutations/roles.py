"""What the numbers and names of a program are for: kernels, strides, widths, wherever they are written.

`dwconv(k, s=s)` says that the block's parameter `k` is a kernel; so the cells of a table's column `k` are kernels, and
the items of a list that a loop takes its `k` from. Roles are followed from the built-in steps backwards: through
parameters, assignments, loops, functions and arithmetic, to the literals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from archlang.lower import Module
from archlang.lower.builtins import FUNCTIONS, STEPS
from archlang.lower.module import Imported
from archlang.lower.values import Block, FnValue, NetValue
from archlang.syntax import tree


class Role(StrEnum):
    """What a value is for. FACTOR: it multiplies a width, SCALE: a width or a count of repeats as a multiplier of the
    whole net does. RATIO: of squeeze-and-excitation, 0 where there is none."""

    KERNEL = "kernel"
    STRIDE = "stride"
    WIDTH = "width"
    FACTOR = "expansion"
    GROUPS = "groups"
    ACTIVATION = "activation"
    NORM = "norm"
    REPEATS = "repeats"
    SCALE = "scale"
    RATIO = "squeeze"
    RESOLUTION = "resolution"


BUILTIN_ROLES: Mapping[str, Mapping[str, Role]] = {
    "conv": {
        "c": Role.WIDTH,
        "k": Role.KERNEL,
        "s": Role.STRIDE,
        "groups": Role.GROUPS,
        "act": Role.ACTIVATION,
        "norm": Role.NORM,
    },
    "dwconv": {"k": Role.KERNEL, "s": Role.STRIDE, "act": Role.ACTIVATION, "norm": Role.NORM},
    "conv_transpose": {"c": Role.WIDTH, "act": Role.ACTIVATION, "norm": Role.NORM},
    "linear": {"features": Role.WIDTH, "act": Role.ACTIVATION},
    "maxpool": {"k": Role.KERNEL, "s": Role.STRIDE},
    "avgpool": {"k": Role.KERNEL, "s": Role.STRIDE},
}

CUSTOMARY = {"se": Role.RATIO}
"""Parameters that are called so are for this, whatever they are computed into."""

CHOSEN = (Role.ACTIVATION, Role.NORM)
"""Roles of steps, not of numbers."""

ACTIVATIONS = ("relu", "relu6", "hswish", "swish", "gelu", "leaky_relu", "tanh", "sigmoid", "hsigmoid")
NORMS = ("bn", "layernorm", "lrn")

MANY = 16
"""A whole number from here on, where channels are counted, counts them itself."""

Definition = tree.BlockDef | tree.NetDef | tree.FnDef | tree.ConstDef


@dataclass(frozen=True)
class Use:
    """A literal with its role. where: the definition that it stands in."""

    node: tree.Expr
    role: Role
    where: Definition


@dataclass
class Roles:
    """The roles of a program. params: (definition, parameter) -> role. found: the literals by their identity, in the
    order in which they were met."""

    module: Module
    params: dict[tuple[str, str], Role] = field(default_factory=dict)
    found: dict[int, Use] = field(default_factory=dict)

    @property
    def uses(self) -> list[Use]:
        """The literals that have a role."""
        return list(self.found.values())


MAX_ROUNDS = 6
"""Roles go one call up a round; blocks that call blocks are seldom nested deeper."""


def roles_of(module: Module) -> Roles:
    """The roles of everything in a program."""
    roles = Roles(module)
    definitions = [item for item in module.program.items if isinstance(item, Definition)]
    scans = [_Scan(roles, item) for item in definitions]
    for _ in range(MAX_ROUNDS):
        before = dict(roles.params)
        roles.found = {}
        for scan in scans:
            scan.run()
        if roles.params == before:
            break
    return roles


@dataclass(frozen=True)
class Given:
    """What a step is given for a parameter, as it is written. params: all of the step's, in order; of what is no
    argument, of repeats, none."""

    node: tree.Expr
    role: Role | None
    param: str = ""
    params: Mapping[str, Role | None] = field(default_factory=dict, compare=False)


def given(roles: Roles, item: tree.BlockDef | tree.NetDef) -> list[Given]:
    """What the body of a definition gives to its steps: arguments, cells of tables, repeats."""
    scan = _Scan(roles, item)
    return [found for node in item.suite.walk() for found in scan.given(node)]


def parameters(module: Module, name: str, roles: Roles) -> Mapping[str, Role | None] | None:
    """The parameters of what a name means, in order, each with its role; None where it means no step."""
    if name in STEPS:
        known = BUILTIN_ROLES.get(name, {})
        return {param.name: known.get(param.name) for param in STEPS[name].params}
    value = definition_of(module, name)
    if isinstance(value, tree.BlockDef | tree.NetDef):
        return {param.name.id: roles.params.get((name, param.name.id)) for param in value.params or ()}
    return None


def definition_of(module: Module, name: str) -> tree.Node | None:
    """The definition of a block, net, function or constant of the program, or of what it imports."""
    value = module.names.get(name)
    while isinstance(value, Imported):
        value = value.module.names.get(value.name)
    if isinstance(value, Block | FnValue | NetValue):
        return value.decl
    return module.constants.get(name)


class _Scan:
    """One definition: its assignments and loops by name, and the roles of what stands in it."""

    def __init__(self, roles: Roles, item: Definition) -> None:
        self.roles, self.module, self.item = roles, roles.module, item
        self.assigned: dict[str, list[tree.Expr]] = {}
        self.nodes = list(item.walk())
        self.functions = {node.name.id: node for node in self.nodes if isinstance(node, tree.FnDef)}
        self.tensors = {"x", *(name for node in self.nodes for name in _tensor_names(node))}
        for node in self.nodes:
            self._bind(node)
        self.seen: set[tuple[int, Role]] = set()

    @property
    def name(self) -> str:
        return self.item.name.id

    def run(self) -> None:
        self.seen.clear()
        for node in self.nodes:
            visit = _VISIT.get(type(node))
            if visit is not None:
                visit(self, node)
        for param in getattr(self.item, "params", None) or ():
            role = self.roles.params.get((self.name, param.name.id))
            if role is not None and param.default is not None:
                self.follow(param.default, role)

    def _bind(self, node: tree.Node) -> None:
        if isinstance(node, tree.Assign) and len(node.targets) == len(node.values):
            for target, value in zip(node.targets, node.values, strict=True):
                if isinstance(target, tree.Name):
                    self.assigned.setdefault(target.id, []).append(value)
        elif isinstance(node, tree.For | tree.Comprehension):
            for name, values in zip(node.names, _columns(node.iterable, len(node.names)), strict=False):
                if values is not None:
                    self.assigned.setdefault(name.id, []).append(values)

    # where roles begin

    def call(self, node: tree.Call) -> None:
        for each in self.arguments(node):
            if each.role is not None:
                self.follow(each.node, each.role)

    def arguments(self, node: tree.Call) -> Iterator[Given]:
        """What a call gives to a step for its parameters."""
        params = parameters(self.module, node.function.id, self.roles) if isinstance(node.function, tree.Name) else None
        if params is None:
            return
        positional = [arg.value for arg in node.args if arg.name is None]
        values = dict(zip(params, positional[self.tensors_in(node, positional) :], strict=False))
        values |= {arg.name.id: arg.value for arg in node.args if arg.name is not None}
        for name, value in values.items():
            yield Given(value, params.get(name), name, params)

    def tensors_in(self, node: tree.Call, positional: Sequence[tree.Expr]) -> int:
        """How many arguments are tensors: those of a cell's inputs, if the first is one, else as the text tells."""
        called = definition_of(self.module, node.function.id) if isinstance(node.function, tree.Name) else None
        inputs = len(called.inputs) if isinstance(called, tree.BlockDef) and called.kind == "cell" else 0
        if 0 < inputs <= len(positional) and self.is_tensor(positional[0]):
            return inputs
        return sum(self.is_tensor(value) for value in positional)

    def given(self, node: tree.Node) -> Iterator[Given]:
        """What a node of the body gives to steps."""
        if isinstance(node, tree.Call):
            yield from self.arguments(node)
        elif isinstance(node, tree.Infix) and node.op == "*" and self.is_step(node.left):
            yield Given(node.right, Role.REPEATS)
        elif isinstance(node, tree.Table):
            for row in node.body.rows:
                params = self.row_parameters(node, row)
                for column, cell in zip(node.body.columns, row.cells, strict=False):
                    name = column.name.id
                    yield Given(cell, Role.REPEATS if name == "n" else params.get(name), name, params)

    def is_tensor(self, value: tree.Expr) -> bool:
        """Whether an argument is a tensor and no value of a parameter, as far as its text tells."""
        if isinstance(value, tree.Name):
            return value.id in self.tensors
        if isinstance(value, tree.Call) and isinstance(value.function, tree.Name):
            return value.function.id not in FUNCTIONS and bool(value.args) and self.is_tensor(value.args[0].value)
        return isinstance(value, tree.FlowValue)

    def table(self, node: tree.Table) -> None:
        columns = node.body.columns
        for row in node.body.rows:
            params = self.row_parameters(node, row)
            for column, cell in zip(columns, row.cells, strict=False):
                role = Role.REPEATS if column.name.id == "n" else params.get(column.name.id)
                if role is not None:
                    self.follow(cell, role)
                    self._through_column(column, role)

    def row_parameters(self, node: tree.Table, row: tree.Row) -> Mapping[str, Role | None]:
        return row_parameters(self.module, self.roles, self.item, node, row)

    def _through_column(self, column: tree.Column, role: Role) -> None:
        if isinstance(column.function, tree.Name):
            self._function_body(column.function.id, role)

    def infix(self, node: tree.Infix) -> None:
        if node.op == "*" and self.is_step(node.left):
            self.follow(node.right, Role.REPEATS)

    def is_step(self, node: tree.Expr) -> bool:
        """Whether the text is a step, which `*` repeats."""
        if isinstance(node, tree.Paren):
            return self.is_step(node.inner)
        if isinstance(node, tree.Pipe):
            return True
        name = node.function if isinstance(node, tree.Call) else node
        if not isinstance(name, tree.Name) or name.id in self.tensors:
            return False
        return parameters(self.module, name.id, self.roles) is not None

    def input(self, node: tree.Input) -> None:
        sizes = node.shape
        if isinstance(sizes, tree.Dims):
            self._found(sizes, Role.RESOLUTION)
        elif isinstance(sizes, tree.Tuple | tree.List) and len(sizes.items) == 3:
            for size in sizes.items[1:]:
                self.follow(size, Role.RESOLUTION)

    # following a role to the literals

    def follow(self, node: tree.Expr, role: Role) -> None:
        if (id(node), role) in self.seen:
            return
        self.seen.add((id(node), role))
        step = _FOLLOW.get(type(node))
        if step is not None:
            step(self, node, role)

    def _found(self, node: tree.Expr, role: Role) -> None:
        self.roles.found.setdefault(id(node), Use(node, role, self.item))

    def number(self, node: tree.Number, role: Role) -> None:
        if role not in CHOSEN:
            self._found(node, role)

    def dims(self, node: tree.Dims, role: Role) -> None:
        if role is Role.KERNEL:
            self._found(node, role)

    def named(self, node: tree.Name, role: Role) -> None:
        if role in CHOSEN and node.id in (*ACTIVATIONS, *NORMS, "none"):
            self._found(node, role)
            return
        for value in self.assigned.get(node.id, ()):
            self.follow(value, role)
        if any(param.name.id == node.id for param in getattr(self.item, "params", None) or ()):
            self._parameter(node.id, CUSTOMARY.get(node.id, role))
        constant = self.module.constants.get(node.id)
        if constant is not None:
            self.follow(constant.value, role)

    def _parameter(self, name: str, role: Role) -> None:
        """What is a width somewhere is one, though it is multiplied with elsewhere."""
        key = (self.name, name)
        if self.roles.params.get(key, Role.FACTOR) in (Role.FACTOR, Role.SCALE):
            self.roles.params[key] = role

    def inner(self, node: tree.Paren, role: Role) -> None:
        self.follow(node.inner, role)

    def each(self, node: tree.List | tree.Tuple, role: Role) -> None:
        for item in node.items:
            self.follow(item, role)

    def indexed(self, node: tree.Index, role: Role) -> None:
        self.follow(node.value, role)

    def prefixed(self, node: tree.Prefix, role: Role) -> None:
        if node.op == "each":
            self.follow(node.value, role)

    def either(self, node: tree.Ternary, role: Role) -> None:
        self.follow(node.yes, role)
        self.follow(node.no, role)

    def computed(self, node: tree.Infix, role: Role) -> None:
        if node.op in ("+", "-"):
            self.follow(node.left, role)
            self.follow(node.right, role)
        elif node.op == "*":
            part = role if isinstance(node.left, tree.Number) and isinstance(node.right, tree.Number) else _FACTOR[role]
            self.follow(node.left, part)
            self.follow(node.right, part)
        elif node.op in ("/", "//"):
            self.follow(node.left, role)

    def applied(self, node: tree.Call, role: Role) -> None:
        if not isinstance(node.function, tree.Name):
            return
        name = node.function.id
        if role in CHOSEN:
            if name in (*ACTIVATIONS, *NORMS):
                self._found(node, role)
            return
        values = [arg.value for arg in node.args]
        for value in values if name in ("max", "min") else values[:1]:
            if name not in ("max", "min") or not _is_bound(value):
                self.follow(value, role)
        self._function_body(name, role)

    def _function_body(self, name: str, role: Role) -> None:
        """A function's result has the role: what its body multiplies with has one too."""
        own = self.functions.get(name) or definition_of(self.module, name)
        if isinstance(own, tree.FnDef):
            self.follow(own.body, role)


def row_parameters(
    module: Module, roles: Roles, item: tree.Node, node: tree.Table, row: tree.Row
) -> Mapping[str, Role | None]:
    """The parameters of a row's step with their roles."""
    unit = unit_name(node, row)
    if unit is None:
        return {}
    found = parameters(module, unit, roles)
    if found is not None:
        return found
    defaults = {param.name.id: param.default for param in getattr(item, "params", None) or ()}
    value = defaults.get(unit)  # a block that the net takes
    name = value.function if isinstance(value, tree.Call) else value
    return (parameters(module, name.id, roles) or {}) if isinstance(name, tree.Name) else {}


def unit_name(node: tree.Table, row: tree.Row) -> str | None:
    """The name of a row's step."""
    unit = node.unit
    if unit is None:
        names = [column.name.id for column in node.body.columns]
        unit = row.cells[names.index("op")] if "op" in names and len(row.cells) == len(names) else None
    name = unit.function if isinstance(unit, tree.Call) else unit
    return name.id if isinstance(name, tree.Name) else None


_FACTOR = {**{role: role for role in Role}, Role.WIDTH: Role.FACTOR, Role.REPEATS: Role.SCALE}
"""The role of what is multiplied to a value of this role."""

_VISIT: dict[type[tree.Node], Callable[..., None]] = {
    tree.Call: _Scan.call,
    tree.Table: _Scan.table,
    tree.Infix: _Scan.infix,
    tree.Input: _Scan.input,
}

_FOLLOW: dict[type[tree.Node], Callable[..., None]] = {
    tree.Number: _Scan.number,
    tree.Dims: _Scan.dims,
    tree.Name: _Scan.named,
    tree.Paren: _Scan.inner,
    tree.List: _Scan.each,
    tree.Tuple: _Scan.each,
    tree.Index: _Scan.indexed,
    tree.Prefix: _Scan.prefixed,
    tree.Ternary: _Scan.either,
    tree.Infix: _Scan.computed,
    tree.Call: _Scan.applied,
}


def _is_bound(value: tree.Expr) -> bool:
    """Whether an argument of `max` or `min` is the least that makes sense, as in `max(1, c // 4)`."""
    return isinstance(value, tree.Number) and value.text.isdigit() and int(value.text) < MANY


def _columns(iterable: tree.Expr, count: int) -> list[tree.Expr | None]:
    """The lists that a loop's names run through; None where it is none that is written."""
    if isinstance(iterable, tree.Call) and isinstance(iterable.function, tree.Name):
        values: list[tree.Expr | None] = [arg.value for arg in iterable.args]
        if iterable.function.id == "zip":
            return values
        if iterable.function.id == "enumerate" and values and values[0] is not None:
            return [None, *_columns(values[0], count - 1)]
        return _columns(values[0], count) if iterable.function.id == "reversed" and values[0] is not None else []
    return [iterable] if count == 1 else []


def _tensor_names(node: tree.Node) -> Iterator[str]:
    """Names that stand for tensors, as far as the text tells: inputs, and what flow lines gave names to."""
    if isinstance(node, tree.Flow | tree.Input) and node.name is not None:
        yield node.name.id
    elif isinstance(node, tree.BlockDef):
        yield from (param.name.id for param in node.inputs)
    elif isinstance(node, tree.Assign):
        if len(node.values) == len(node.targets):
            pairs = zip(node.targets, node.values, strict=True)
            yield from (t.id for t, v in pairs if isinstance(t, tree.Name) and _makes_tensor(v))
        else:  # `large, small = halves(_, 8)`
            yield from (target.id for target in node.targets if isinstance(target, tree.Name))


def _makes_tensor(value: tree.Expr) -> bool:
    """Whether the text of a value is that of a tensor: a flow, or a step that is applied."""
    if isinstance(value, tree.Pipe | tree.FlowValue):
        return True
    if isinstance(value, tree.Infix):
        return _makes_tensor(value.left)
    return isinstance(value, tree.Call) and isinstance(value.function, tree.Name) and value.function.id not in FUNCTIONS
