"""Every way to break one file of Python in one place, in a fixed order.

What nobody relies on is left alone: annotations, docstrings, messages of errors (any text with a space in it), what
`__repr__` and `__str__` say.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["Mutant", "mutants_of", "planted"]

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitOr, ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}  # fmt: skip
_NEGATED_BY_SWAP = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
_SAID = ("__repr__", "__str__")
_NAMES = ("__all__", "__slots__")
_ERRORS = ("Error", "RoundAborted")


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        function: qualified name of the outermost function around it; empty where it takes effect on import.
        lines: of the statement, or of a compound statement's changed part.
        number: among the changes of this file.
    """

    path: Path
    function: str
    lines: tuple[int, int]
    kind: str
    change: str
    number: int

    @property
    def room(self) -> str:
        return self.path.parts[1]

    @property
    def id(self) -> str:
        return f"{self.path}#{self.number}"

    def __str__(self) -> str:
        return f"{self.path}:{self.lines[0]} {self.function or 'on import'}: {self.change}"


@dataclass(frozen=True)
class _Place:
    """Where in a tree a walk is."""

    classes: str = ""
    function: str = ""
    statement: ast.stmt | None = None


def mutants_of(path: Path) -> list[Mutant]:
    """All changes of a file."""
    return [
        Mutant(path, place.function, _lines(place, old), kind, _told(old, new, where), number)
        for number, (place, old, new, kind, where) in enumerate(_changes(ast.parse(path.read_text())))
    ]


def planted(mutant: Mutant) -> ast.Module:
    """The file with this one change."""
    tree = ast.parse(mutant.path.read_text())
    for number, (_, old, new, _, where) in enumerate(_changes(tree)):
        if number == mutant.number:
            _put(where, old, new)
            return ast.fix_missing_locations(tree)
    raise ValueError(f"no mutant {mutant.number} in {mutant.path}")


_Change = tuple[_Place, ast.AST, ast.AST, str, tuple[ast.AST, str]]


def _changes(tree: ast.Module) -> Iterator[_Change]:
    for field, child in _children(tree):
        yield from _walk(child, (tree, field), _Place())


def _walk(node: ast.AST, parent: tuple[ast.AST, str], place: _Place) -> Iterator[_Change]:
    if _left_alone(node):
        return
    if isinstance(node, ast.stmt):
        place = replace(place, statement=node)
    for kind, new in _variants(node):
        yield place, node, ast.copy_location(new, node), kind, parent
    for field, child in _children(node):
        inside = place
        if not place.function and isinstance(node, (ast.ClassDef, ast.FunctionDef)) and field == "body":
            name = place.classes + node.name
            inside = replace(
                place, **({"classes": name + "."} if isinstance(node, ast.ClassDef) else {"function": name})
            )
        yield from _walk(child, (node, field), inside)


def _children(node: ast.AST) -> list[tuple[str, ast.AST]]:
    """What is walked below a node; not annotations, not the message of an error."""
    fields = [(field, value) for field, value in ast.iter_fields(node) if field not in ("annotation", "returns")]
    found = [(f, c) for f, value in fields for c in (value if isinstance(value, list) else [value])]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(_ERRORS):
        message = node.args[1 if len(node.args) > 1 else 0 :][:1]
        found = [(field, child) for field, child in found if child not in message]
    return [(field, child) for field, child in found if isinstance(child, ast.AST)]


def _left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant()):
            return True
        case ast.FunctionDef(name=name):
            return name in _SAID
        case ast.Assign(targets=[ast.Name(name)], value=value):
            return name in _NAMES or (name.istitle() and isinstance(value, ast.Subscript))  # a name for a type
        case ast.JoinedStr(parts):
            return any(isinstance(part, ast.Constant) and " " in part.value for part in parts)
        case ast.Constant(str(text)):
            return " " in text
    return False


def _variants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Compare(left, ops, right):
            for at, op in enumerate(ops):
                yield "comparison", ast.Compare(left, [*ops[:at], _SWAPS[type(op)](), *ops[at + 1 :]], right)
        case ast.BoolOp(op, values):
            yield "boolean", ast.BoolOp(_SWAPS[type(op)](), values)
        case ast.BinOp(left, op, right) if type(op) in _SWAPS:
            yield "arithmetic", ast.BinOp(left, _SWAPS[type(op)](), right)
        case ast.UnaryOp(_, operand):
            yield "sign or not", operand
        case ast.Constant(bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield "constant", ast.Constant(value + 1)
            yield "constant", ast.Constant(value - 1)
        case ast.Constant(str(value)):
            yield "constant", ast.Constant(value + "X")
        case ast.Constant(bytes(value)):
            yield "constant", ast.Constant(value + b"X")
        case ast.AugAssign(target, op, value):
            yield "arithmetic", ast.AugAssign(target, _SWAPS[type(op)](), value)
            yield "removed", ast.Pass()
        case ast.If(test) | ast.While(test) | ast.IfExp(test) if _worth_negating(test):
            yield "condition", _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.comprehension(ifs=[_, *_] as tests):
            yield "condition", _with(node, ifs=[ast.UnaryOp(ast.Not(), test) for test in tests])
            yield "condition", _with(node, ifs=[])
        case ast.match_case(guard=ast.expr() as guard):
            yield "condition", _with(node, guard=ast.UnaryOp(ast.Not(), guard))
        case ast.Return(ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "returned", ast.Return(ast.Constant(None))
        case ast.Raise() | ast.Expr() | ast.Assert() | ast.Delete():
            yield "removed", ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield "removed", ast.Pass()
        case ast.Break() | ast.Continue():
            yield "loop", _SWAPS[type(node)]()


def _worth_negating(test: ast.expr) -> bool:
    """Not where a change of the test says the same."""
    swapped = isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], _NEGATED_BY_SWAP)
    return not swapped and not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not))


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def _lines(place: _Place, old: ast.AST) -> tuple[int, int]:
    statement = place.statement
    assert statement is not None
    if not hasattr(statement, "body") and not isinstance(statement, ast.Match):
        return statement.lineno, statement.end_lineno or statement.lineno
    at = getattr(old, "test", getattr(old, "guard", old))
    first = getattr(at, "lineno", statement.lineno)
    return first, getattr(at, "end_lineno", first)


def _put(where: tuple[ast.AST, str], old: ast.AST, new: ast.AST) -> None:
    parent, field = where
    value = getattr(parent, field)
    setattr(parent, field, [new if node is old else node for node in value] if isinstance(value, list) else new)


def _told(old: ast.AST, new: ast.AST, where: tuple[ast.AST, str]) -> str:
    """Before and after; of a constant with what it stands in."""
    if not (isinstance(old, ast.Constant) and isinstance(where[0], ast.expr | ast.Assign)):
        return f"{_shown(old)} → {_shown(new)}"
    before = _shown(where[0])
    _put(where, old, new)
    after = _shown(where[0])
    _put(where, new, old)
    return f"{before} → {after}"


def _shown(node: ast.AST) -> str:
    match node:
        case ast.If(test) | ast.While(test):
            return f"if {ast.unparse(test)}"
        case ast.match_case(guard=ast.expr() as guard):
            return f"case … if {ast.unparse(guard)}"
        case _:
            return " ".join(ast.unparse(node).split())
