"""Claims: what a claim file must say before it is accepted, read from its source and never by running it."""

import ast
import copy
import difflib
import hashlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, wraps
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, TypeVar, cast

from harness.claims import family, gate, mistakes, rivals
from harness.inputs.errors import AssayError
from harness.inputs.files import json_files
from harness.inputs.files.json_files import Count, Finite
from harness.inputs.model_catalog import ORGANISM, known_models, nearest
from harness.inputs.places import DATA, HOME, HYPOTHESES, PROGRAM, own_claims
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging.bars import WrittenBar, bars_of, numbers_taken, torch_lines
from harness.judging.estimate import Inconclusive, Outcome, Refuted, decisions, unsupported

LEVEL = family.EXPLORATORY

# Imports of the decorator; searched as text, since a file with a syntax error cannot be parsed.
_IMPORTS = re.compile(r"^\s*(from harness import|from harness\.claims|import harness\b)", re.MULTILINE)
# The only question a claim with needs_refusals=False may ask.
_RATE = "refuses.rate"

Test = TypeVar("Test", bound=Callable[..., None])


@dataclass(frozen=True)
class Claim:
    """A sentence about a model's mechanism, its bar, and the organisms on which it must hold and fail."""

    name: str
    source: str
    holds_on: tuple[str, ...]
    fails_on: tuple[str, ...]
    level: float
    test: Callable[..., None]
    needs_refusals: bool = True  # False: judged even where the model refuses nothing
    needs_twins: bool = True  # False: judged on lists of unpaired prompts too

    @property
    def title(self) -> str:
        """The sentence: the first line of the test's docstring."""
        return (ast.get_docstring(self._function) or "").partition("\n")[0].strip()

    @property
    def prose(self) -> str:
        """The rest of the test's docstring, then the docstring of its file."""
        rest = (ast.get_docstring(self._function) or "").partition("\n")[2].strip()
        return "\n\n".join(filter(None, [rest, ast.get_docstring(self._module) or ""]))

    @property
    def bar(self) -> str:
        """The source of the asserted expression."""
        return ast.unparse(self._assert.test)

    @property
    def place(self) -> str:
        """File and line, such as `test_heads.py, line 12`."""
        return f"{self.file}, line {self.line}"

    @property
    def file(self) -> str:
        """The name of its file."""
        return Path(inspect.getfile(self.test)).name

    @cached_property
    def line(self) -> int:
        """The line on which the claim begins in its file."""
        return inspect.getsourcelines(self.test)[1]

    @cached_property
    def as_json(self) -> dict[str, Any]:
        """The claim as a run's record keeps it."""
        path = Path(inspect.getfile(self.test))
        file = next((path.relative_to(base) for base in (HOME, Path.cwd()) if path.is_relative_to(base)), path)
        return {
            "title": self.title,
            "prose": self.prose,
            "source": self.source,
            "bar": self.bar,
            "file": str(file),
            "line": self.line,
            "level": self.level,
            "primary": family.is_primary(self.name, self.test),
            "holds_on": list(self.holds_on),
            "fails_on": list(self.fails_on),
            "fingerprint": self.fingerprint,
        }

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the claim's source: with a changed bar, or a changed word, it is a different claim.

        `needs_twins` is left out: it says where the claim may be judged, not what it says.
        """
        function = copy.deepcopy(self._function)
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call):
                decorator.keywords = [keyword for keyword in decorator.keywords if keyword.arg != "needs_twins"]
        return hashlib.sha256(ast.unparse(function).encode()).hexdigest()[:16]

    @cached_property
    def _module(self) -> ast.Module:
        return ast.parse(Path(inspect.getfile(self.test)).read_text(encoding="utf-8"))

    @cached_property
    def _function(self) -> ast.FunctionDef:
        name = self.test.__name__
        same = [node for node in ast.walk(self._module) if isinstance(node, ast.FunctionDef) and node.name == name]
        return same[-1]

    @property
    def _assert(self) -> ast.Assert:
        return next(node for node in ast.walk(self._function) if isinstance(node, ast.Assert))

    @cached_property
    def bars(self) -> tuple[WrittenBar, ...]:
        """The bars of its assert, each with the question it is about, if the source shows that."""
        return bars_of(self._function, self._module, self._assert.test)

    def run(self, **given: Any) -> None:
        """Runs the claim's test behind the gate (`claims/gate.py`): pytest, tables and simulations all call this."""
        with gate.opened(given["model"], self.bars, self.needs_refusals):
            rivals.run(self.test, given)

    def judge(self, model: Any, pairs: PromptSet) -> tuple[Outcome, str]:
        """The outcome on a subject, outside of pytest, and why it is open; AssayError if the claim's code is broken."""
        with decisions() as made:
            try:
                self.run(model=model, pairs=pairs)
            except Refuted:
                return "REFUTED", ""
            except Inconclusive as error:
                return "INCONCLUSIVE", str(error)
            except mistakes.RAISED as error:
                raise AssayError(mistakes.sentence(error, Path(inspect.getfile(self.test)))) from error
        if why := unsupported(made):
            raise AssayError(f"{self.place}: {why}")
        return "SUPPORTED", ""

    def check(self) -> None:
        """Raises AssayError, with file and line, for any mistake by which the claim could hold without being true."""
        self._check_bars()
        for line in torch_lines(self._module):
            raise AssayError(
                f"{self.file}, line {line}: imports torch; a claim asks the model, as in "
                "model.refuses(pairs.heldout), and touches no tensors"
            )
        for line, number in numbers_taken(self._module):
            raise AssayError(
                f"{self.file}, line {line}: takes a number out of an estimate ({number}), so that a choice would be "
                "made and judged on the same pairs; choose by model.circuit or model.direction on pairs.discovery, or "
                "write the number down"
            )
        parameters = tuple(inspect.signature(self.test).parameters)
        if "model" not in parameters:
            raise self._defect("asks for no model; write def test_…(model, pairs)")
        if sorted(parameters) != ["model", "pairs"]:
            raise self._defect(f"takes ({', '.join(parameters)}); a claim takes (model, pairs) and nothing else")
        if not self.name:
            raise self._defect('has no name; write @claim("some-words", source=…, holds_on=…, fails_on=…)')
        if not self.source:
            raise self._defect('names no source; say which paper or plan it is from: source="…"')
        if not self.title:
            raise self._defect("has no docstring; write one whose first line is the claim in a sentence")
        for which, organisms in (("holds_on", self.holds_on), ("fails_on", self.fails_on)):
            if not organisms:
                raise self._defect(f"names no organism in {which}; a claim that cannot be seen to fail proves nothing")
            for organism in organisms:
                if ORGANISM + organism not in known_models():
                    close = nearest(ORGANISM + organism)
                    hint = f"; did you mean {close}?" if close else ""
                    raise self._defect(f"names {organism!r} in {which}, and there is no such organism{hint}")
        if both := set(self.holds_on) & set(self.fails_on):
            raise self._defect(f"names {', '.join(sorted(both))} in both holds_on and fails_on; keep one")
        if not isinstance(self.level, float) or not 0 < self.level < 0.25:
            raise self._defect(f"has level {self.level!r}; it is an error rate, such as {LEVEL}")

    def _check_bars(self) -> None:
        asserts = [node for node in ast.walk(self._function) if isinstance(node, ast.Assert)]
        if len(asserts) != 1:
            raise self._defect(f"has {len(asserts)} asserts; a claim has one, several bars join with &")
        test = asserts[0].test
        bars = [node for node in ast.walk(test) if isinstance(node, ast.Compare)]
        if bars and not _joined(test):
            raise self._defect("joins bars with and, or, not, any or the like; several bars join with &")
        if not bars or any(not _is_bar(node) for node in bars):
            raise self._defect("asserts no estimate against a number; write assert estimate > 0.3 (or <)")
        for node in bars:
            if (number := _number_of(node.left)) is not None:
                left, bar = ast.unparse(node.left), ast.unparse(node)
                raise self._defect(
                    f"asserts a number taken out of an estimate ({left}); its interval must decide: "
                    f"write assert {ast.unparse(number)}{bar.removeprefix(left)}"
                )
        for defect in filter(None, (bar.defect for bar in self.bars)):
            raise self._defect(defect)
        if not self.needs_refusals and any(bar.question != _RATE for bar in self.bars):
            raise self._defect(
                "says needs_refusals=False, and asks for more than model.refuses(…).rate(…); leave it out: on a model "
                "that refuses nothing, only the rate can be judged"
            )

    def _defect(self, defect: str) -> AssayError:
        return AssayError(f"{self.place}: claim {self.name!r} {defect}")


def claim(
    name: str,
    *,
    source: str = "",
    holds_on: str | tuple[str, ...] = (),
    fails_on: str | tuple[str, ...] = (),
    level: float | None = None,
    needs_refusals: bool = True,
    needs_twins: bool = True,
) -> Callable[[Test], Test]:
    """Turns a test into a claim; pytest checks its source, bars and controls when it collects the file."""

    def register(test: Test) -> Test:
        at = family.level_of(name, test) if level is None else level
        made = Claim(name, source, _tuple(holds_on), _tuple(fails_on), at, test, needs_refusals, needs_twins)

        @wraps(test)
        def judged(**given: Any) -> None:
            made.run(**given)

        vars(judged)["claim"] = made
        return cast(Test, judged)

    if callable(name):  # @claim without brackets: reported at collection, with file and line
        test, name = name, ""
        return register(test)
    return register


def claim_of(item: object) -> Claim | None:
    """The claim of a collected pytest item; None where the item is no claim."""
    return vars(getattr(item, "function", object)).get("claim")


@cache
def claimed_in(path: Path) -> frozenset[str]:
    """The names of a file's functions decorated as claims, read without running the file."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # pytest reports the defect
        return frozenset()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return frozenset(function.name for function in functions if any(map(_is_claim, function.decorator_list)))


def is_claim_file(path: Path) -> bool:
    """Whether a file makes claims, judged by its imports; never true of Assay's own tests, which only quote claims."""
    if path.is_relative_to(HOME / "tests"):
        return False
    return path.parent == HYPOTHESES or bool(_IMPORTS.search(path.read_text(encoding="utf-8", errors="replace")))


def claims_in(folder: Path = HYPOTHESES) -> list[Claim]:
    """The claims of a folder's test files, checked, sorted by file; AssayError for a file that cannot be imported."""
    claims: list[Claim] = []
    for path in sorted(folder.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise AssayError(f"{path}: is no Python file")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except AssayError:
            raise
        except Exception as error:  # noqa: BLE001 - any error is reported with the file's name
            raise AssayError(mistakes.on_import(error, path)) from None
        claims += [vars(test)["claim"] for test in vars(module).values() if "claim" in getattr(test, "__dict__", {})]
    for made in claims:
        made.check()
    return claims


def claims_here() -> list[Claim]:
    """The claims that Assay ships and, outside of its checkout, those in `my_claims` of the current folder."""
    own = own_claims()
    return claims_in() + (claims_in(own) if own != HYPOTHESES else [])


def claim_named(name: str) -> Claim:
    """The claim of that name; AssayError, with the nearest name, if there is none."""
    claims = {known.name: known for known in claims_here()}
    if name not in claims:
        close = difflib.get_close_matches(name, claims, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]}?" if close else f"; `{PROGRAM} claims` lists all"
        raise AssayError(f"no claim is called {name!r}{hint}")
    return claims[name]


class Numbers(TypedDict):
    """An estimate as the truth table keeps it."""

    name: str
    value: float
    low: float
    high: float
    n: Count
    unit: str
    sign: NotRequired[Literal[">", "<"]]  # older tables lack both
    bar: NotRequired[Finite]


class VerdictSeen(TypedDict):
    """A claim's verdict on an organism, as the truth table keeps it."""

    verdict: Outcome
    truth: NotRequired[str]  # what the organism's plan says; older tables lack it
    why: NotRequired[str]  # it is inconclusive
    claim: str  # its fingerprint as it was judged
    organism: str  # the fingerprint of its weights
    estimates: list[Numbers]


class PlacebosSeen(TypedDict):
    """A claim's verdicts with random circuits or directions in place of its own."""

    claim: str  # its fingerprint as it was judged
    model: str
    verdicts: dict[Outcome, Count]  # empty where the claim has no circuit or direction to replace


class _Truth(TypedDict):
    claims: dict[str, dict[str, VerdictSeen]]


class _Placebos(TypedDict):
    claims: dict[str, PlacebosSeen]


# The version of both tables: raised when a member is added or changes its meaning.
TABLES_SCHEMA = 2


def verdicts_seen(path: Path = DATA / "truth.json") -> Mapping[str, Mapping[str, VerdictSeen]]:
    """Claim → organism → verdict, from the truth table; empty if there is no table."""
    if not path.exists():
        return {}
    nan, remedy = frozenset({"value", "low", "high"}), "`make truth` writes it anew"
    return json_files.read(path, _Truth, no="truth table", do=remedy, newest=TABLES_SCHEMA, nan=nan)["claims"]


def placebos_seen(path: Path = DATA / "placebos.json") -> Mapping[str, PlacebosSeen]:
    """Claim → its verdicts with random circuits or directions; empty if there is no table."""
    if not path.exists():
        return {}
    remedy = "`make calibrate` writes it anew"
    return json_files.read(path, _Placebos, no="table of placebos", do=remedy, newest=TABLES_SCHEMA)["claims"]


def _is_claim(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == "claim"


def _tuple(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _number_of(left: ast.expr) -> ast.expr | None:
    """The estimate inside an expression such as `estimate.value` or `float(estimate)`; None for other expressions."""
    match left:
        case ast.Attribute(value=inner, attr="value" | "low" | "high" | "n"):
            return inner
        case ast.Call(func=ast.Name("float" | "int"), args=[inner]):
            return inner
        case _:
            return None


def _joined(test: ast.expr) -> bool:
    """Whether the expression is comparisons joined by & alone, so that every bar is decided."""
    match test:
        case ast.BinOp(left, ast.BitAnd(), right):
            return _joined(left) and _joined(right)
    return isinstance(test, ast.Compare)


def _is_bar(node: ast.Compare) -> bool:
    """Whether a comparison is `estimate > number` or `<`, with the number written out."""
    right = node.comparators[0]
    if isinstance(right, ast.UnaryOp) and isinstance(right.op, ast.USub):
        right = right.operand
    number = isinstance(right, ast.Constant) and isinstance(right.value, int | float)
    return len(node.ops) == 1 and isinstance(node.ops[0], ast.Gt | ast.Lt) and number
