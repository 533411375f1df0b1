"""Reads a run folder of the published pipeline (Arditi et al.) into a recording."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NotRequired, TypedDict

from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.files import json_files
from harness.inputs.files.json_files import Finite
from harness.inputs.judges.phrases import LITERAL, RULES
from harness.measurements.interventions import Where
from harness.measurements.questions import PromptSide
from harness.subjects.published.recordings import (
    PIPELINE_ARMS,
    RECORDED,
    SIDES,
    Arm,
    Judgements,
    Loss,
    Recording,
    imported,
    keep,
    may_be_called,
)

# The key of the pipeline's own label, 1 for no refusal; also the name of its judge where no rule of Assay's agrees.
_LABEL: Final = "is_jailbreak_substring_matching"


class _Place(TypedDict):
    """direction_metadata.json."""

    layer: int
    pos: int


class _Answer(TypedDict):
    response: str
    category: NotRequired[str | None]
    is_jailbreak_substring_matching: NotRequired[int | bool]
    is_jailbreak_llamaguard2: NotRequired[int | bool]


class _Answers(TypedDict):
    """completions/DATASET_ARM_evaluations.json."""

    completions: list[_Answer]


class _Cost(TypedDict):
    ce_loss: Finite


class _Candidate(TypedDict):
    layer: int


# Scores for which the pipeline writes NaN if its filters discard the candidate.
_SCORES = frozenset({"refusal_score", "steering_score", "kl_div_score"})


@dataclass(frozen=True)
class ImportedRun:
    """The recording made of a run folder, and remarks for the user."""

    recording: Recording
    remarks: tuple[str, ...]


def import_run(
    folder: Path,
    *,
    where: Where = "everywhere",
    layer: int | None = None,
    position: int | None = None,
    into: str | None = None,
) -> ImportedRun:
    """Reads a run folder of the published pipeline and keeps it, as a new recording or as new arms of an imported one.

    `where` says what the pipeline's `ablation` removed the direction from; `layer` and `position` say where the
    direction was found, if the run does not.
    """
    if not folder.is_dir():
        raise AssayError(f"{folder}: is no folder; give the pipeline's run folder, the one that holds completions/")
    name = folder.resolve().name
    if not may_be_called(name):
        raise AssayError(
            f"{folder}: an imported recording cannot be called {name}: a published one is called so, or it is no plain "
            "name; rename the folder"
        )
    answers = dict(_answers(folder))
    if ("harmful", "baseline") not in answers:
        raise AssayError(
            f"{folder}: is no run of the refusal_direction pipeline: it holds no "
            "completions/jailbreakbench_baseline_evaluations.json; give the folder that the pipeline wrote"
        )
    place = _direction(folder, layer, position)
    judge, agreement = _judge(folder, answers)
    run = Recording(
        name=name,
        hub="",
        source=name,
        layers=_layers(folder),
        layer=place["layer"],
        position=place["pos"],
        categories=tuple(str(row.get("category") or "all") for row in answers["harmful", "baseline"]),
        judgements=tuple(_judgements(folder, answers, where, judge)),
        losses=tuple(_losses(folder, where)),
        judge=judge,
    )
    if into is None:
        conflicts: tuple[str, ...] = ()
        run, copies = _copies_marked(run, {key: recording for key, recording in imported().items() if key != name})
    else:
        whole = _whole(run, into)
        new, conflicts = _new_arms(run, whole)
        new, copies = _copies_marked(new, imported())
        run = replace(whole, judgements=whole.judgements + new.judgements, losses=whole.losses + new.losses)
    keep(run)
    return ImportedRun(run, (agreement, *conflicts, *copies))


def _answers(folder: Path) -> Iterator[tuple[tuple[PromptSide, str], list[_Answer]]]:
    for path in sorted((folder / "completions").glob("*_evaluations.json")):
        dataset, _, arm = path.name.removesuffix("_evaluations.json").rpartition("_")
        if dataset in SIDES and arm in PIPELINE_ARMS:
            rows = json_files.read(path, _Answers, no="completions of the pipeline", do="give the file as it wrote it")
            if not rows["completions"]:
                raise AssayError(f"{path}: holds no completions; run the pipeline's evaluation again")
            yield (SIDES[dataset], arm), rows["completions"]


def _direction(folder: Path, layer: int | None, position: int | None) -> _Place:
    """The layer and position of the run's direction, from its own file or, if there is none, from the options."""
    path = folder / "direction_metadata.json"
    if not path.exists():
        if layer is None or position is None:
            raise AssayError(
                f"{path}: is not there, so the run does not say where its direction was found; give --layer and "
                "--position (counted from the end: -1 is the last)"
            )
        return {"layer": layer, "pos": position}
    place = json_files.read(
        path, _Place, no="place of a direction", do="or move it away, and give --layer and --position"
    )
    for option, given, own in (("--layer", layer, place["layer"]), ("--position", position, place["pos"])):
        if given is not None and given != own:
            raise AssayError(f"{path}: says {own} and {option} says {given}; leave {option} out, or correct the file")
    return place


def _layers(folder: Path) -> int:
    """How many layers the run searched; 0 if it does not say."""
    path = folder / "select_direction" / "direction_evaluations.json"
    if not path.exists():
        return 0
    rows = json_files.read(path, list[_Candidate], no="list of candidates", do="or move it away", nan=_SCORES)
    return max((row["layer"] for row in rows), default=-1) + 1


def _losses(folder: Path, where: Where) -> Iterator[Loss]:
    for path in sorted((folder / "loss_evals").glob("*_loss_eval.json")):
        if (name := path.name.removesuffix("_loss_eval.json")) in PIPELINE_ARMS:
            costs = json_files.read(path, dict[str, _Cost], no="losses of the pipeline", do="or move it away")
            yield from (Loss(Arm.of_pipeline(name, None, where), text, cost["ce_loss"]) for text, cost in costs.items())


def _judge(folder: Path, answers: Mapping[tuple[PromptSide, str], list[_Answer]]) -> tuple[str, str]:
    """The name of the judge that made the run's labels, and a sentence on how many of them it agrees with."""
    rows = [row for arm in answers.values() for row in arm]
    if missing := sum(_LABEL not in row for row in rows):
        raise AssayError(
            f"{folder}/completions: {missing} of {len(rows)} completions have no {_LABEL}; run the pipeline's "
            "evaluation with substring_matching"
        )
    differ = sum(LITERAL.refuses(row["response"]) == bool(row[_LABEL]) for row in rows)
    if not differ:
        return LITERAL.name, f"{LITERAL.name} agrees with the run's labels on all {len(rows)} completions"
    return _LABEL, (
        f"{LITERAL.name} and the run's labels differ on {differ} of {len(rows)} completions: its labels are kept "
        f"under a judge of their own, {_LABEL}"
    )


def _judgements(
    folder: Path, answers: Mapping[tuple[PromptSide, str], list[_Answer]], where: Where, judge: str
) -> Iterator[Judgements]:
    """The judgements of each arm: the run's own labels, then those of each phrase rule of Assay's."""
    first_with: dict[str, str] = {}  # the first arm with these answers
    # The baseline comes first: arms with the same answers are named as copies of it.
    for (side, name), rows in sorted(answers.items(), key=lambda item: item[0][1] != "baseline"):
        if len(rows) != len(answers["harmful", "baseline"]):
            raise AssayError(
                f"{folder}/completions: {len(rows)} completions of {side} {name} and "
                f"{len(answers['harmful', 'baseline'])} of harmful baseline; every arm needs as many"
            )
        arm, texts = Arm.of_pipeline(name, side, where), [row["response"] for row in rows]
        key = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        first = first_with.setdefault(f"{side} {key}", f"{side}, {arm}")
        labels = {judge: [not row[_LABEL] for row in rows]}
        labels |= {rule.name: [rule.refuses(text) for text in texts] for rule in RULES if rule.name != judge}
        for by, hits in labels.items():
            same_as = "" if first == f"{side}, {arm}" else first
            yield Judgements(side, arm, by, tuple(hits), completions=key, same_as=same_as, unsafe=_unsafe(rows))


def _unsafe(rows: Sequence[_Answer]) -> tuple[bool, ...]:
    """Whether Llama Guard calls each answer unsafe; empty where it did not judge all of them."""
    labels = [bool(row["is_jailbreak_llamaguard2"]) for row in rows if "is_jailbreak_llamaguard2" in row]
    return tuple(labels) if len(labels) == len(rows) else ()


def _copies_marked(run: Recording, others: Mapping[str, Recording]) -> tuple[Recording, tuple[str, ...]]:
    """Marks arms whose answers equal another arm's to the byte, with a sentence for each; refuses a run of copies only.

    Baselines may be equal: runs of one model share theirs.
    """
    answers = {
        arm.completions: f"{RECORDED}{name} ({arm.label})"
        for name, other in others.items()
        for arm in other.judgements
        if arm.completions and arm.arm != Arm()
    }
    origins = {arm.label: answers.get(arm.completions, "") for arm in run.judgements if arm.arm != Arm()}
    copied = {label: origin for label, origin in origins.items() if origin}
    if origins and origins == copied:
        copies = "; ".join(f"'{label}' of {origin}" for label, origin in copied.items())
        raise AssayError(
            f"{RECORDED}{run.name}: every answer is, to the byte, one that was imported before: {copies}; one run "
            "under two names is no second piece of evidence, so nothing was kept (to import it again, first move the "
            f"other out of {places.recordings()})"
        )
    marked = (replace(arm, same_as=arm.same_as or copied.get(arm.label, "")) for arm in run.judgements)
    run = replace(run, judgements=tuple(marked))
    same_as = dict.fromkeys((arm.label, arm.same_as) for arm in run.judgements if arm.same_as)
    return run, tuple(f"'{label}' is, to the byte, {origin}: no evidence of its own" for label, origin in same_as)


def _whole(run: Recording, into: str) -> Recording:
    """The imported recording of that name; refused if the run is of another model, direction or judge."""
    known = imported()
    if (whole := known.get(into.removeprefix(RECORDED))) is None:
        names = ", ".join(known) or "none"
        raise AssayError(f"--into {into}: no imported recording is called so; there are: {names}")
    for word, own, other in (
        ("place of the direction", (run.layer, run.position), (whole.layer, whole.position)),
        ("judge", run.judge, whole.judge),
        ("baseline on harmful prompts", _baseline(run), _baseline(whole)),
    ):
        if own != other:
            raise AssayError(
                f"--into {into}: {run.name} has another {word}, so it is no run of that model and direction; import it "
                "by itself"
            )
    return whole


def _new_arms(run: Recording, whole: Recording) -> tuple[Recording, tuple[str, ...]]:
    """The run without arms that `whole` has already, and a sentence for each of those whose answers differ."""
    known = {(arm.side, arm.arm): arm.completions for arm in whole.judgements}
    if not (new := tuple(arm for arm in run.judgements if (arm.side, arm.arm) not in known)):
        raise AssayError(
            f"--into {whole.name}: has all arms of {run.name} already; say with --arm which arm its ablation is"
        )
    differ = dict.fromkeys(
        arm.label for arm in run.judgements if known.get((arm.side, arm.arm), arm.completions) != arm.completions
    )
    texts = {(loss.arm, loss.text) for loss in whole.losses}
    losses = tuple(loss for loss in run.losses if (loss.arm, loss.text) not in texts)
    remarks = (f"'{label}' stays as it is in {RECORDED}{whole.name}; this run has other answers" for label in differ)
    return replace(run, judgements=new, losses=losses), tuple(remarks)


def _baseline(recording: Recording) -> str:
    return next(arm.completions for arm in recording.judgements if (arm.side, arm.arm) == ("harmful", Arm()))
