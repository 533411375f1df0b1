"""Claims: what a claim file must say before it is accepted, read from its source and never by running it."""

import ast
import hashlib
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from harness.catalog import known_models, nearest
from harness.errors import AssayError
from harness.pairs import DATA

# Twenty claims at this level make 0.05.
LEVEL = 0.0025

Test = TypeVar("Test", bound=Callable[..., None])


@dataclass(frozen=True)
class Claim:
    """A sentence on a model's mechanism, its bar, and the organisms on which it was seen to hold and to fail."""

    name: str
    source: str
    holds_on: tuple[str, ...]
    fails_on: tuple[str, ...]
    level: float
    test: Callable[..., None]
    needs_refusals: bool = True  # where the model refuses nothing there is nothing to explain

    @property
    def title(self) -> str:
        """The sentence: the first line of the test's docstring."""
        return (ast.get_docstring(self._function) or "").partition("\n")[0].strip()

    @property
    def prose(self) -> str:
        """What the test's docstring says beside the sentence, and what its file says of all its claims."""
        rest = (ast.get_docstring(self._function) or "").partition("\n")[2].strip()
        return "\n\n".join(filter(None, [rest, ast.get_docstring(self._module) or ""]))

    @property
    def bar(self) -> str:
        """What is asserted, as it is written."""
        return ast.unparse(self._assert.test)

    @property
    def place(self) -> str:
        """File and line."""
        return f"{Path(inspect.getfile(self.test)).name}, line {self._line}"

    @cached_property
    def as_json(self) -> dict[str, Any]:
        """For the record of a run."""
        path = Path(inspect.getfile(self.test))
        within = path.is_relative_to(DATA.parent)
        return {
            "title": self.title,
            "prose": self.prose,
            "source": self.source,
            "bar": self.bar,
            "file": str(path.relative_to(DATA.parent) if within else path),
            "line": self._line,
            "level": self.level,
            "holds_on": list(self.holds_on),
            "fails_on": list(self.fails_on),
            "fingerprint": self.fingerprint,
        }

    @cached_property
    def fingerprint(self) -> str:
        """Of the claim's own source: a changed bar, or a changed word, is another claim."""
        return hashlib.sha256(ast.unparse(self._function).encode()).hexdigest()[:16]

    @cached_property
    def _line(self) -> int:
        return inspect.getsourcelines(self.test)[1]

    @cached_property
    def _module(self) -> ast.Module:
        return ast.parse(Path(inspect.getfile(self.test)).read_text(encoding="utf-8"))

    @cached_property
    def _function(self) -> ast.FunctionDef:
        name = self.test.__name__
        found = [node for node in ast.walk(self._module) if isinstance(node, ast.FunctionDef) and node.name == name]
        return found[-1]

    @property
    def _assert(self) -> ast.Assert:
        return next(node for node in ast.walk(self._function) if isinstance(node, ast.Assert))

    def check(self) -> None:
        """Raises one sentence with file and line for whatever would let the claim hold without being true."""
        asserts = [node for node in ast.walk(self._function) if isinstance(node, ast.Assert)]
        if len(asserts) != 1:
            raise self._defect(f"has {len(asserts)} asserts; a claim has one, several bars join with &")
        test = asserts[0].test
        if isinstance(test, ast.BoolOp) or (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
            raise self._defect("joins bars with and, or, not; several bars join with &")
        bars = [node for node in ast.walk(test) if isinstance(node, ast.Compare)]
        if not bars or any(not _is_bar(node) for node in bars):
            raise self._defect("asserts no estimate against a number; write assert estimate > 0.3 (or <)")
        if not self.title:
            raise self._defect("says nothing; the first line of its docstring is the claim in a sentence")
        for which, organisms in (("holds_on", self.holds_on), ("fails_on", self.fails_on)):
            if not organisms:
                raise self._defect(f"names no organism in {which}; a claim that cannot be seen to fail proves nothing")
            for organism in organisms:
                if f"organism:{organism}" not in known_models():
                    close = nearest(f"organism:{organism}")
                    hint = f"; did you mean {close}?" if close else ""
                    raise self._defect(f"names {organism!r} in {which}, and there is no such organism{hint}")
        if both := set(self.holds_on) & set(self.fails_on):
            raise self._defect(f"is to hold and to fail on {', '.join(sorted(both))}")
        if not 0 < self.level < 0.5:
            raise self._defect(f"has level {self.level}; it is an error rate, such as {LEVEL}")

    def _defect(self, what: str) -> AssayError:
        return AssayError(f"{self.place}: claim {self.name!r} {what}")


def claim(
    name: str,
    *,
    source: str,
    holds_on: str | tuple[str, ...],
    fails_on: str | tuple[str, ...],
    level: float = LEVEL,
    needs_refusals: bool = True,
) -> Callable[[Test], Test]:
    """Makes a test a claim; what it must say is checked when it is collected."""

    def register(test: Test) -> Test:
        found = Claim(name, source, _tuple(holds_on), _tuple(fails_on), level, test, needs_refusals)
        vars(test)["claim"] = found
        return test

    return register


def claim_of(item: object) -> Claim | None:
    """The claim that pytest's item makes, if it makes one."""
    return vars(getattr(item, "function", object)).get("claim")


def claims_in(path: Path) -> dict[str, Claim]:
    """The claims of a file, by the names of their tests."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        return {}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        name: vars(test)["claim"] for name, test in vars(module).items() if "claim" in getattr(test, "__dict__", ())
    }


def _tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _is_bar(node: ast.Compare) -> bool:
    """One estimate, > or <, one number that stands there in figures."""
    right = node.comparators[0]
    if isinstance(right, ast.UnaryOp) and isinstance(right.op, ast.USub):
        right = right.operand
    number = isinstance(right, ast.Constant) and isinstance(right.value, int | float)
    return len(node.ops) == 1 and isinstance(node.ops[0], ast.Gt | ast.Lt) and number
