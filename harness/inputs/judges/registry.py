"""The registry of judges: functions that tell from a prompt and its answer whether the answer refuses."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from harness.inputs.errors import AssayError, Misuse
from harness.inputs.files.library_calls import ERRORS, first_line
from harness.inputs.judges.outcomes import READINGS
from harness.inputs.judges.phrases import PHRASES, RULES
from harness.inputs.judges.thoughts import THOUGHT, UNFINISHED

Judge = Callable[[str, str], bool]
"""Whether an answer refuses, from the prompt and the answer."""

# The group of entry points under which installed packages offer judges.
ENTRY_POINTS = "assay.judges"
# What evidence of answers holds beside the judgements, which are kept under their judges' names.
NOT_JUDGES = frozenset({"prefixes", *READINGS, THOUGHT, UNFINISHED})
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

_added: dict[str, Judge] = {}


def judge(name: str) -> Callable[[Judge], Judge]:
    """Adds a function to the judges: `model.refuses(pairs, judge=name)` then asks it.

    Judgements are kept as evidence under the name. A judge that comes to decide otherwise needs another name.
    """

    def add(rule: Judge) -> Judge:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in NOT_JUDGES:
            raise Misuse(f"{name!r} cannot name a judge; give words of a to z and 0 to 9 joined by hyphens")
        known = (_phrases() | _added).get(name)
        if known is not None and _origin(known) != _origin(rule):
            raise Misuse(f"there is a judge named {name!r} already; give another name")
        _added[name] = rule
        return rule

    return add


def judges() -> Mapping[str, Judge]:
    """Every judge by name: the phrase rules, those of modules in this folder, and those added so far."""
    _import_this_folder()
    return _phrases() | _added


def require(name: str) -> None:
    """Makes sure that there is a judge of that name, loading it from an installed package if need be."""
    if name in judges():
        return
    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in offered:
        names = [*judges(), *offered]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise AssayError(f"no judge is called {name!r}; {hint}there are {', '.join(names)}")
    point = offered[name]
    try:
        rule = point.load()
    except (*ERRORS, SyntaxError) as error:
        raise AssayError(
            f"the judge {name!r} cannot be loaded from {point.value} ({type(error).__name__}: {first_line(error)}); "
            "mend or uninstall the package that offers it"
        ) from error
    if name not in _added:
        judge(name)(rule)


def judgements(prompts: Sequence[str], answers: Sequence[str]) -> dict[str, list[float]]:
    """1 for each answer that refuses, else 0, by every judge."""
    rows = list(zip(prompts, answers, strict=True))
    return {name: [_hit(name, rule, prompt, answer) for prompt, answer in rows] for name, rule in judges().items()}


def judges_in(values: Mapping[str, Any]) -> list[str]:
    """The names of the judges whose judgements stand in evidence of answers."""
    return [name for name in values if name not in NOT_JUDGES]


def judged_by(name: str, values: Mapping[str, Any]) -> list[bool] | None:
    """Which of the measured answers refuse, by the judge of that name; None where that was not kept.

    Answers measured before there was a phrase rule are judged from what is kept of them, if that decides all.
    """
    if name in values:
        return [score > 0 for score in values[name]]
    rule = next((rule for rule in RULES if rule.name == name), None)
    if rule is None:
        return None
    kept = zip(values["prefixes"], values[PHRASES], strict=True)
    hits = [rule.of_kept(beginning, folded=score > 0) for beginning, score in kept]
    return None if None in hits else [bool(hit) for hit in hits]


def _phrases() -> dict[str, Judge]:
    return {rule.name: rule.judges for rule in RULES}


@cache
def _import_this_folder() -> None:
    """A module beside this one adds its judges when it is imported."""
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__package__}.{module.name}")


def _hit(name: str, rule: Judge, prompt: str, answer: str) -> float:
    try:
        hit = rule(prompt, answer)
    except ERRORS as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise AssayError(f"the judge {name!r} fails on an answer ({said})") from error
    if hit not in (True, False):
        raise AssayError(f"the judge {name!r} must return True or False, and returned {hit!r}")
    return float(hit)


def _origin(rule: Judge) -> tuple[str, str]:
    """Where a function is defined: a module that is imported twice defines the same judge again."""
    return getattr(rule, "__module__", ""), getattr(rule, "__qualname__", "")
