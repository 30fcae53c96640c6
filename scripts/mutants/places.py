"""Where a module can be broken, and how: every `Mutant` of a file, found by walking its AST.

Left alone are docstrings, annotations, log calls, `assert`, `__repr__`, `__all__`, imports, keywords of
`class X(frozen=True)`, and what is for type checkers only.
"""

import ast
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import CodeType

import msgspec

Change = Callable[[], None]  # breaks the tree in place

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
}  # fmt: skip
LOGGERS = ("_log", "log", "logging")
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
SCOPES = FUNCTIONS | ast.ClassDef


class Mutant(msgspec.Struct, frozen=True):
    """One break: where it is (`node` counts as `ast.walk` does, `way` the node's ways to break), and its text."""

    file: str
    node: int
    way: int
    operator: str
    line: int
    scope: str  # `Worker.run`; empty at the top of the module
    before: str
    after: str
    names: tuple[str, ...] = ()  # what runs while the module is imported: the names by which others use it
    lines: tuple[tuple[int, ...], ...] = ()  # lines whose tests run it; the first of these groups that has tests counts

    @property
    def id(self) -> str:
        """`core/acmehub/dns01/zones.py:812:0`."""
        return f"{self.file}:{self.node}:{self.way}"


class _Tree:
    """A parsed module with the way from each node to the top."""

    def __init__(self, source: str) -> None:
        self.module = ast.parse(source)
        self.nodes = list(ast.walk(self.module))
        self.parent = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        while node in self.parent:
            node = self.parent[node]
            yield node

    def left_alone(self, node: ast.AST) -> bool:
        child = node
        for parent in (node, *self.above(node)):
            if isinstance(parent, ast.Assert | ast.Import | ast.ImportFrom | ast.JoinedStr) or _is_log_call(parent):
                return True
            if isinstance(parent, FUNCTIONS) and (parent.name == "__repr__" or child is parent.returns):
                return True
            if isinstance(parent, ast.ClassDef) and child in parent.keywords:
                return True
            if isinstance(parent, ast.If) and isinstance(parent.test, ast.Name) and parent.test.id == "TYPE_CHECKING":
                return True
            if isinstance(parent, ast.arg | ast.AnnAssign) and child is parent.annotation:
                return True
            if isinstance(parent, ast.Assign) and getattr(parent.targets[0], "id", "") == "__all__":
                return True
            child = parent
        return False

    def statement(self, node: ast.AST) -> ast.AST:
        """What is shown of it: the statement, or the `except` clause."""
        shown = (node, *self.above(node))
        return next(it for it in shown if isinstance(it, ast.stmt | ast.ExceptHandler | ast.match_case))

    def lines_of(self, node: ast.AST) -> tuple[tuple[int, ...], ...]:
        """The lines of the node, of its statement, of its function."""
        groups = [it for it in (node, self.statement(node)) if hasattr(it, "lineno")]
        found = [_lines(it) for it in groups]
        found += [_lines(it.body[0], it) for it in self.above(node) if isinstance(it, SCOPES)]
        return tuple(found)

    def names_of(self, node: ast.AST) -> tuple[str, ...]:
        """For what runs while the module is imported: by which names others use it. Empty inside of functions."""
        child, named = node, list[str]()
        for parent in (node, *self.above(node)):
            if isinstance(parent, ast.Lambda) and child is parent.body:
                return ()
            if isinstance(parent, FUNCTIONS):
                if child in parent.body:
                    return ()
                named.append(parent.name)
            elif isinstance(parent, ast.Assign | ast.AnnAssign):
                targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
                named += [it.id for target in targets for it in ast.walk(target) if isinstance(it, ast.Name)]
            elif isinstance(parent, ast.ClassDef):
                named.append(parent.name)
            child = parent
        return tuple(named) or ("",)


def _lines(node: ast.AST, until: ast.AST | None = None) -> tuple[int, ...]:
    last = until or node
    return tuple(range(node.lineno, (last.end_lineno or node.lineno) + 1))  # type: ignore[attr-defined]


def _is_log_call(node: ast.AST) -> bool:
    call = node.value if isinstance(node, ast.Expr) else node
    function = call.func if isinstance(call, ast.Call) else None
    return isinstance(function, ast.Attribute) and getattr(function.value, "id", "") in LOGGERS


def _yields(node: ast.AST) -> bool:
    return any(isinstance(it, ast.Yield | ast.YieldFrom) for it in ast.walk(node))


def _set(node: ast.AST, field: str, value: object) -> Change:
    def change() -> None:
        setattr(node, field, value)
        ast.fix_missing_locations(node)

    return change


def _swapped(one: ast.keyword, two: ast.keyword) -> Change:
    def change() -> None:
        one.value, two.value = two.value, one.value

    return change


def _replaced(tree: _Tree, node: ast.AST, new: ast.AST) -> Change:
    """Puts the new node where the old one is."""
    parent = tree.parent[node]

    def change() -> None:
        ast.copy_location(new, node)
        for field, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, field, new)
            elif isinstance(value, list) and node in value:
                value[value.index(node)] = new
        ast.fix_missing_locations(parent)

    return change


def _ways(tree: _Tree, node: ast.AST) -> Iterator[tuple[str, Change]]:
    """The name of the operator and the change, for each way to break this node."""
    parent = tree.parent.get(node)
    match node:
        case ast.Compare():
            for at, op in enumerate(node.ops):
                for other in COMPARISONS[type(op)]:
                    yield "comparison", _set(node, "ops", [*node.ops[:at], other(), *node.ops[at + 1 :]])
        case ast.BoolOp():
            yield "and/or", _set(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not()):
            yield "not removed", _replaced(tree, node, node.operand)
        case ast.Constant(value=bool() as flag):
            yield "constant", _set(node, "value", not flag)
        case ast.Constant(value=int() as number):
            yield "constant", _set(node, "value", number + 1)
        case ast.Constant(value=float() as number):  # seconds, most often: one more is a matter of taste
            yield "constant", _set(node, "value", number * 100 + 1)
        case ast.Constant(value=str() as text) if _is_compared(tree, node):
            yield "constant", _set(node, "value", text + "X")
        case ast.Constant(value=bytes() as data) if _is_compared(tree, node):
            yield "constant", _set(node, "value", data + b"X")
        case ast.Expr() if not isinstance(node.value, ast.Constant) and not _yields(node):
            yield "statement deleted", _replaced(tree, node, ast.Pass())
        case ast.Assign() | ast.AugAssign() if not _yields(node):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if isinstance(targets[0], ast.Attribute):
                yield "statement deleted", _replaced(tree, node, ast.Pass())
        case ast.Raise():
            yield "statement deleted", _replaced(tree, node, ast.Pass())
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) not in ("None", "False"):  # as good as None
            yield "return None", _set(node, "value", ast.copy_location(ast.Constant(None), value))
        case ast.Call():
            for one, two in pairwise([it for it in node.keywords if it.arg]):
                if ast.dump(one.value) != ast.dump(two.value):
                    yield "arguments swapped", _swapped(one, two)
        case ast.ExceptHandler(type=ast.expr() as caught) if not isinstance(caught, ast.Tuple):
            yield "except narrowed", _set(node, "type", ast.copy_location(ast.Tuple([], ast.Load()), caught))
        case ast.Tuple(ctx=ast.Load()) | ast.Set() if len(node.elts) > 1 and _is_collection(node, parent):
            name = "except narrowed" if isinstance(parent, ast.ExceptHandler) else "element removed"
            for at in range(len(node.elts)):
                yield name, _set(node, "elts", [*node.elts[:at], *node.elts[at + 1 :]])


def _is_compared(tree: _Tree, node: ast.Constant) -> bool:
    """A text that is compared with something, looked for in a collection, or a default value."""
    parent = tree.parent[node]
    while isinstance(parent, ast.Tuple | ast.Set | ast.List):
        parent = tree.parent[parent]
    return isinstance(parent, ast.Compare | ast.MatchValue | ast.arguments)


def _is_collection(node: ast.Tuple | ast.Set, parent: ast.AST | None) -> bool:
    if isinstance(node, ast.Set):
        return True
    if isinstance(parent, ast.Assign):
        return not isinstance(parent.targets[0], ast.Tuple)
    return isinstance(parent, ast.Compare | ast.ExceptHandler | ast.AnnAssign | ast.arguments)


def places(source: str) -> list[tuple[int, int]]:
    """Where a module can be broken: (`node`, `way`) of each mutant, in the order of `ast.walk`."""
    tree = _Tree(source)
    kept = [(at, node) for at, node in enumerate(tree.nodes) if not tree.left_alone(node)]
    return [(at, way) for at, node in kept for way, _ in enumerate(_ways(tree, node))]


def described(file: str, source: str, at: int, way: int) -> Mutant:
    """The mutant at one of these places."""
    return _broken(file, source, at, way)[0]


def _broken(file: str, source: str, at: int, way: int) -> tuple[Mutant, ast.Module]:
    tree = _Tree(source)
    node = tree.nodes[at]
    statement = tree.statement(node)
    before, lines, names = _text(statement), tree.lines_of(node), tree.names_of(node)
    scope = ".".join([it.name for it in tree.above(node) if isinstance(it, SCOPES)][::-1])
    operator, change = list(_ways(tree, node))[way]
    change()
    after = "pass" if operator == "statement deleted" else _text(statement)
    line = getattr(node, "lineno", lines[0][0])
    return Mutant(file, at, way, operator, line, scope, before, after, names, lines), tree.module


def control(file: str) -> Mutant:
    """One that breaks nothing: tests that notice it fail by themselves."""
    return Mutant(file, 0, -1, "nothing", 1, "", "", "")


def _text(statement: ast.AST) -> str:
    """The statement in one line: of those that have a body, the head."""
    bare = ast.unparse(statement).splitlines()
    if isinstance(statement, SCOPES):
        return next(line for line in bare if line.startswith(("def ", "async def ", "class ")))
    return bare[0] if hasattr(statement, "body") else " ".join(line.strip() for line in bare)


def broken_code(source: str, path: str, mutant: Mutant) -> CodeType:
    """The broken module, compiled as if it was read from this path."""
    module = _broken(mutant.file, source, mutant.node, mutant.way)[1]
    return compile(module, path, "exec")


def replacements(source: str, path: str, mutant: Mutant) -> dict[CodeType, CodeType] | None:
    """For code objects of the module, those that take their place; None where only importing it shows the break."""
    if mutant.way < 0:
        return {}
    if mutant.names:
        return None
    old = list(_code(compile(source, path, "exec")))
    new = list(_code(broken_code(source, path, mutant)))
    found = {}
    by_place: dict[tuple[str, int], list[CodeType]] = {}
    for code in new:
        by_place.setdefault((code.co_qualname, code.co_firstlineno), []).append(code)
    for code in old:
        others = by_place.get((code.co_qualname, code.co_firstlineno))
        other = others.pop(0) if others else code
        if other.co_freevars != code.co_freevars:
            return None
        if other != code and code.co_name != "<module>":
            found[code] = other
    return found


def _code(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
