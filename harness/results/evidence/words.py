"""Describes one measurement: its question, model, prompts, date, and first numbers."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.claims.claim import LEVEL
from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.judges.registry import judges_in
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet
from harness.measurements import pairs_evidence
from harness.measurements.evidence import Damaged, Evidence, Store, check, read
from harness.measurements.evidence_kinds import LISTS, MODEL_RECORD, PAIRS, PART, holds_effects
from harness.measurements.questions import KINDS, Answers
from harness.results.verdict_evidence import Material, intervention_in_words, prompts_fingerprint

# How many prompts and numbers are shown; `evidence --export` writes all.
FIRST = 6
# How many characters of a text are shown.
_TEXT = 40
# Longer settings, such as lists of hundreds of sites, are cut to so many characters.
_LONGEST = 300
# Descriptions of evidence that is no measurement.
_KEPT = {
    MODEL_RECORD: "A model's record: its revision, sizes, and examination of itself.",
    PAIRS: "The pairs of prompts that a run was judged on.",
    LISTS: "The lists of prompts that a run was judged on.",
    PART: "A part of a long sweep, kept until the whole is measured.",
}


def lines(store: Store, beginning: str) -> Iterator[str]:
    """Lines that describe the measurement whose fingerprint begins so; raises AssayError unless there is just one."""
    path = chosen(store, beginning)
    try:
        evidence = read(path)
    except Damaged as damage:
        raise AssayError(f"{path} {damage}; the next run sets it aside and measures it again") from None
    others = list(without_arrays(store))
    recipe = evidence.recipe
    yield f"{evidence.fingerprint}"
    yield f"{recipe.kind}: {question(recipe.kind)}"
    yield f"model      {_model(evidence, others)}"
    prompts = prompts_of(evidence, others)
    if prompts is not None:
        yield f"prompts    {_prompts_in_words(evidence, *prompts)}"
    elif fingerprint := prompts_fingerprint(evidence):
        yield f"prompts    {recipe.of['pairs'].get('n')}, of a set that is not kept here (fingerprint {fingerprint})"
    if "under" in recipe.of:
        yield f"arm        {arm_in_words(evidence, others)}"
    for name, setting in recipe.of.items():
        if name not in ("a", "pairs", "side", "under", "sample"):
            text = json.dumps(setting, ensure_ascii=False)
            yield f"{name:<10} {text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'}"
    if evidence.recipe.kind == Answers.KIND and (judges := judges_in(evidence.values)):
        yield f"judged by  {', '.join(judges)}"
    yield f"measured   {_measured(evidence)}"
    if evidence.computed_from:
        yield f"rests on   {', '.join(evidence.computed_from)}"
    if evidence.imported is not None:
        yield f"imported   from {evidence.imported['bundle']}; hashes reveal damage, but not forgery"
    yield f"file       {path}"
    yield from _numbers(evidence, None if prompts is None else prompts[1])


def chosen(store: Store, beginning: str) -> Path:
    """The file of the evidence whose fingerprint begins so; raises AssayError unless there is exactly one."""
    if not re.fullmatch(r"[0-9a-f]{1,64}", beginning):
        raise AssayError(
            f"{beginning!r} is no fingerprint; give up to 64 digits and letters from a to f, as reports print them"
        )
    paths = [path for path in store.files() if path.stem.startswith(beginning)]
    if not paths:
        raise AssayError(
            f"{store.folder}: holds no evidence whose fingerprint begins with {beginning}; if it was measured "
            "elsewhere, name that folder by --evidence, or import the bundle that holds it"
        )
    if len(paths) > 1:
        names = ", ".join(path.stem[: len(beginning) + 4] for path in paths[:3])
        raise AssayError(f"{len(paths)} measurements begin with {beginning} ({names}, …); give more of the fingerprint")
    return paths[0]


def question(kind: str) -> str:
    """What evidence of a kind holds: the first line of the docstring of its measurement."""
    return (KINDS[kind].__doc__ or "").partition("\n")[0] if kind in KINDS else _KEPT.get(kind, "")


def without_arrays(store: Store) -> Iterator[Evidence]:
    """Evidence that has no arrays, such as model records, prompts and directions, without reading the large files."""
    for path in store.files():
        if not path.with_suffix(".safetensors").exists():
            try:
                yield check(path)
            except AssayError:  # damage is reported where that evidence itself is read
                continue


def _model(evidence: Evidence, others: Sequence[Evidence]) -> str:
    subject = evidence.recipe.subject
    records = (other.values for other in others if other.recipe.kind == MODEL_RECORD)
    model = next((record for record in records if record["fingerprint"] == subject), None)
    if model is None:
        return subject
    revision = f"revision {model['revision'] or 'none'}"
    system = model.get("system")
    told = "" if system is None else f", with the system prompt {json.dumps(system, ensure_ascii=False)[:_LONGEST]}"
    return f"{model['name']}, {revision}, {model['quant']}, {model['dtype']} on {model['device']}{told}"


def prompts_of(evidence: Evidence, others: Sequence[Evidence]) -> tuple[str, PromptSet] | None:
    """The name of the prompts that evidence was measured on, and the prompts; None if they are not in the store."""
    wanted = prompts_fingerprint(evidence)
    for whole in _prompt_sets(others):
        halves = ((f"held-out {whole.unit}", whole.heldout), (f"discovery {whole.unit}", whole.discovery))
        for name, half in (*halves, (whole.unit, whole)):
            if half.fingerprint == wanted:
                return f"{name} of {whole.name}", half
            for category in half.categories:
                if (part := half.category(category)).fingerprint == wanted:
                    return f"{name} of {whole.name} in the category “{category}”", part
    return None


def _prompt_sets(others: Sequence[Evidence]) -> list[PromptSet]:
    return [pairs_evidence.kept(other) for other in others if other.recipe.kind in pairs_evidence.KINDS]


def _prompts_in_words(evidence: Evidence, name: str, prompts: PromptSet) -> str:
    side = evidence.recipe.of.get("side")
    names = row_names(evidence, prompts)
    first = ", ".join(names[:FIRST]) + (", …" if len(names) > FIRST else "")
    return f"{f'the {side} side of ' if side else ''}{len(names)} {name}: {first}"


def row_names(evidence: Evidence, prompts: PromptSet | None) -> Sequence[str]:
    """A name for each row of the evidence's numbers: ids of pairs, or side and number of prompts; empty if unknown."""
    if "pairs" in evidence.values and holds_effects(evidence.recipe.kind):
        return [str(name) for name in evidence.values["pairs"]]
    if prompts is None:
        return []
    if isinstance(prompts, PromptLists):
        return prompts.named(evidence.recipe.of.get("side") or "harmful")
    return [pair.id for pair in prompts]


def arm_in_words(evidence: Evidence, others: Sequence[Evidence]) -> str:
    """The intervention in words, with its direction if its search is in the store; and which of several answers."""
    drawn = evidence.recipe.of.get("sample")
    which = "" if drawn is None else f"; answer {drawn['number'] + 1} drawn at temperature {drawn['temperature']:g}"
    return _intervention(evidence, others) + which


def _intervention(evidence: Evidence, others: Sequence[Evidence]) -> str:
    under = evidence.recipe.of["under"]
    if under is None:
        return "none: the model as it is"
    own = [other for other in others if other.recipe.subject == evidence.recipe.subject]
    for whole in _prompt_sets(others):
        material = Material(own, whole, LEVEL)
        if material.direction(under) is not None:
            return material.intervention_in_words(under)
    return intervention_in_words(under)


def _measured(evidence: Evidence) -> str:
    environment = evidence.environment
    device = environment.get("device", "")
    seconds = environment.get("seconds")
    took = "" if seconds is None else f", in {seconds:.1f} s"
    on = f" on {device}" if device else ""
    when = environment.get("when") or "at an unknown time"
    kind, revision = evidence.recipe.kind, evidence.recipe.revision
    newest = KINDS[kind].REVISION if kind in KINDS else revision
    stale = f", which is measured anew: revision {newest} is the newest" if revision < newest else ""
    return f"{when}{on}{took}; revision {revision} of its kind{stale}"


def _numbers(evidence: Evidence, prompts: PromptSet | None) -> Iterator[str]:
    """Lines with the values of the first prompts, then other values and the first numbers of other arrays."""
    names = row_names(evidence, prompts)
    columns: dict[str, Sequence[Any] | np.ndarray] = {
        name: column
        for name, column in evidence.values.items()
        if isinstance(column, list) and names and len(column) == len(names) and name != "pairs"
    }
    columns |= {name: array for name, array in sorted(evidence.arrays.items()) if names and len(array) == len(names)}
    if columns:
        yield f"its first numbers (`{places.PROGRAM} evidence --export PATH` writes all):"
        for row, name in enumerate(names[:FIRST]):
            yield f"  {name}: " + "; ".join(f"{title} {_short(column[row])}" for title, column in columns.items())
    for name, single in evidence.values.items():
        if name not in columns and not isinstance(single, list | dict):
            yield f"  {name}: {_short(single)}"
    for name, array in sorted(evidence.arrays.items()):
        if name not in columns:
            yield f"  {name}, {' × '.join(map(str, array.shape))} numbers: {_short(array)}"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        numbers = np.ravel(value)
        return ", ".join(f"{number:.4g}" for number in numbers[:FIRST]) + (", …" if numbers.size > FIRST else "")
    if isinstance(value, float):
        return f"{value:.4g}"
    return repr(value[:_TEXT]) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:_TEXT]
