"""Reads the bars of a claim (`fall > 0.30`) from its source, without running it."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.judging.ranges import RANGES, absolute, beyond

# Methods of `model` whose result is asked in turn: `refuses` in `model.refuses(pairs).fall(…)`.
_OWNERS = frozenset(question.partition(".")[0] for question in RANGES) - {"model"}


@dataclass(frozen=True)
class WrittenBar:
    """A comparison of an estimate with a number, as it stands in the source."""

    estimate: str  # its expression in the source
    question: str | None  # a key of RANGES; None where the source does not show which question it is
    absolute: bool
    sign: str
    number: float

    @property
    def defect(self) -> str:
        """Why this bar could never be met, or never be missed; empty where both are possible."""
        if self.question is None:
            return ""
        reach = absolute(RANGES[self.question]) if self.absolute else RANGES[self.question]
        name = self.question.removeprefix("refuses.").removeprefix("model.")
        reason = beyond(f"|{name}|" if self.absolute else name, reach, self.number)
        return reason and f"has a bar out of reach: {reason}"


def bars_of(function: ast.FunctionDef, module: ast.Module, test: ast.expr) -> tuple[WrittenBar, ...]:
    """All bars of a claim's assert; `test` is the asserted expression."""
    return tuple(
        _bar(node, _Source(function, module))
        for node in ast.walk(test)
        if isinstance(node, ast.Compare) and len(node.ops) == 1
    )


def torch_lines(module: ast.Module) -> Iterator[int]:
    """Line numbers of every import of torch, whatever name it is given."""
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                imported = [alias.name for alias in names]
            case ast.ImportFrom(module=source, names=names):
                imported = [source or "", *(alias.name for alias in names)]
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]
            ):
                imported = [name] if called in ("__import__", "import_module") else []
            case _:
                continue
        if any(name.partition(".")[0] == "torch" for name in imported):
            yield node.lineno


def numbers_taken(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and source text of every `.value`, `.low` and `.high` that is read in a claim file."""
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and node.attr in ("value", "low", "high") and isinstance(node.ctx, ast.Load):
            yield node.lineno, ast.unparse(node)


def _bar(node: ast.Compare, source: "_Source") -> WrittenBar:
    left, taken = source.behind(node.left), False
    while (inner := _within_abs(left)) is not None:
        left, taken = source.behind(inner), True
    question = source.question(left)
    number = float(ast.literal_eval(node.comparators[0]))
    return WrittenBar(ast.unparse(node.left), question, taken, ">" if isinstance(node.ops[0], ast.Gt) else "<", number)


@dataclass(frozen=True)
class _Source:
    """A function and its file, in which the value of a name can be looked up."""

    function: ast.FunctionDef
    module: ast.Module

    def question(self, node: ast.expr) -> str | None:
        """The question that an expression asks of the model, as a key of RANGES; None where that cannot be seen."""
        match self.behind(node):
            case ast.Call(func=ast.Attribute(value=asked, attr=name)):
                question = f"{self._owner(asked)}.{name}"
                return question if question in RANGES else None
            case ast.Call(func=ast.Name(id=name)):
                return self._by_helper(name)
        return None

    def behind(self, node: ast.expr) -> ast.expr:
        """The expression assigned to a name; the node itself if it is no name, or is assigned more than once."""
        seen: set[str] = set()
        while isinstance(node, ast.Name) and node.id in self._given and node.id not in seen:
            seen.add(node.id)
            node = self._given[node.id]
        return node

    @property
    def _given(self) -> Mapping[str, ast.expr]:
        given: dict[str, list[ast.expr]] = {}
        for node in ast.walk(self.function):
            pairs: list[tuple[ast.expr, ast.expr]] = []
            if isinstance(node, ast.Assign):
                pairs = [pair for target in node.targets for pair in _unpacked(target, node.value)]
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                pairs = [(node.target, node.value)]
            for target, value in pairs:
                if isinstance(target, ast.Name):
                    given.setdefault(target.id, []).append(value)
        return {name: values[0] for name, values in given.items() if len(values) == 1}

    def _owner(self, node: ast.expr) -> str:
        match self.behind(node):
            case ast.Name(id="model"):
                return "model"
            case ast.Call(func=ast.Attribute(value=asked, attr=name)) if name in _OWNERS:
                return name if self._owner(asked) == "model" else ""
        return ""

    def _by_helper(self, name: str) -> str | None:
        """The question asked by a helper function of the same file, if it has a single return."""
        for helper in self.module.body:
            if isinstance(helper, ast.FunctionDef) and helper.name == name and helper is not self.function:
                returned = [node.value for node in ast.walk(helper) if isinstance(node, ast.Return)]
                if len(returned) == 1 and returned[0] is not None:
                    return _Source(helper, self.module).question(returned[0])
        return None


def _within_abs(node: ast.expr) -> ast.expr | None:
    match node:
        case ast.Call(func=ast.Name(id="abs"), args=[inner]):
            return inner
    return None


def _unpacked(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]
