"""Reads a run folder of the published pipeline (Arditi et al.) into a recording."""

import hashlib
import json
from collections.abc import Iterator, Mapping
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

# Under this name the pipeline keeps its own label, 1 for no refusal; and so is its judge called where no rule of ours
# says the same.
_LABEL: Final = "is_jailbreak_substring_matching"


class _Found(TypedDict):
    """direction_metadata.json."""

    layer: int
    pos: int


class _Answer(TypedDict):
    response: str
    category: NotRequired[str | None]
    is_jailbreak_substring_matching: NotRequired[int | bool]


class _Answers(TypedDict):
    """completions/DATASET_ARM_evaluations.json."""

    completions: list[_Answer]


class _Cost(TypedDict):
    ce_loss: Finite


class _Candidate(TypedDict):
    layer: int


# Of candidates that its filters set aside the pipeline writes NaN.
_SCORES = frozenset({"refusal_score", "steering_score", "kl_div_score"})


@dataclass(frozen=True)
class Imported:
    """What came of a run."""

    recording: Recording
    said: tuple[str, ...]  # what the one who brings it should know


def import_run(
    folder: Path,
    *,
    where: Where = "everywhere",
    layer: int | None = None,
    position: int | None = None,
    into: str | None = None,
) -> Imported:
    """Reads a run folder of the published pipeline and keeps it, by itself or as arms of a recording brought before.

    `where` says of what the direction was removed in its `ablation`; `layer` and `position` say where it was found, if
    the run does not.
    """
    if not folder.is_dir():
        raise AssayError(f"{folder}: is no folder; give the pipeline's run folder, the one that holds completions/")
    name = folder.resolve().name
    if not may_be_called(name):
        raise AssayError(
            f"{folder}: no recording of yours can be called {name}: a published one is, or it is no plain name; "
            "give the folder another"
        )
    answers = dict(_answers(folder))
    if ("harmful", "baseline") not in answers:
        raise AssayError(
            f"{folder}: is no run of the refusal_direction pipeline: it holds no "
            "completions/jailbreakbench_baseline_evaluations.json; give the folder that the pipeline wrote"
        )
    found = _direction(folder, layer, position)
    judge, agreement = _judge(folder, answers)
    run = Recording(
        name=name,
        hub="",
        source=name,
        layers=_layers(folder),
        layer=found["layer"],
        position=found["pos"],
        categories=tuple(str(row.get("category") or "all") for row in answers["harmful", "baseline"]),
        judgements=tuple(_judgements(folder, answers, where, judge)),
        losses=tuple(_losses(folder, where)),
        judge=judge,
    )
    if into is None:
        said: tuple[str, ...] = ()
        run, same = _told_apart(run, {key: one for key, one in imported().items() if key != name})
    else:
        whole = _whole(run, into)
        new, said = _new(run, whole)
        new, same = _told_apart(new, imported())
        run = replace(whole, judgements=whole.judgements + new.judgements, losses=whole.losses + new.losses)
    keep(run)
    return Imported(run, (agreement, *said, *same))


def _answers(folder: Path) -> Iterator[tuple[tuple[PromptSide, str], list[_Answer]]]:
    for path in sorted((folder / "completions").glob("*_evaluations.json")):
        dataset, _, arm = path.name.removesuffix("_evaluations.json").rpartition("_")
        if dataset in SIDES and arm in PIPELINE_ARMS:
            rows = json_files.read(path, _Answers, no="completions of the pipeline", do="bring its file as it wrote it")
            if not rows["completions"]:
                raise AssayError(f"{path}: holds no completions; run the pipeline's evaluation again")
            yield (SIDES[dataset], arm), rows["completions"]


def _direction(folder: Path, layer: int | None, position: int | None) -> _Found:
    """Where the run's direction was found: as it says itself, or as it is told."""
    path = folder / "direction_metadata.json"
    if not path.exists():
        if layer is None or position is None:
            raise AssayError(
                f"{path}: is not there, so the run does not say where its direction was found; give --layer and "
                "--position (counted from the end: -1 is the last)"
            )
        return {"layer": layer, "pos": position}
    found = json_files.read(
        path, _Found, no="place of a direction", do="or move it away, and give --layer and --position"
    )
    for option, told, own in (("--layer", layer, found["layer"]), ("--position", position, found["pos"])):
        if told is not None and told != own:
            raise AssayError(f"{path}: says {own} and {option} says {told}; leave {option} out, or correct the file")
    return found


def _layers(folder: Path) -> int:
    """How many layers were searched; 0 where that was not kept."""
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
    """The name of the judge whose labels the run has, and how that is known, in words."""
    rows = [row for some in answers.values() for row in some]
    if missing := sum(_LABEL not in row for row in rows):
        raise AssayError(
            f"{folder}/completions: {missing} of {len(rows)} completions have no {_LABEL}; run the pipeline's "
            "evaluation with substring_matching"
        )
    differ = sum(LITERAL.refuses(row["response"]) == bool(row[_LABEL]) for row in rows)
    if not differ:
        return LITERAL.name, f"{LITERAL.name} says what the run's labels say of all {len(rows)} completions"
    return _LABEL, (
        f"{LITERAL.name} and the run's labels differ on {differ} of {len(rows)} completions: its labels are kept as "
        f"they are, as the judge {_LABEL}"
    )


def _judgements(
    folder: Path, answers: Mapping[tuple[PromptSide, str], list[_Answer]], where: Where, judge: str
) -> Iterator[Judgements]:
    """The run's own labels first; what our rules say of its completions after them."""
    seen: dict[str, str] = {}
    # The model as it is comes first: an arm that says the same is named after it.
    for (side, name), rows in sorted(answers.items(), key=lambda one: one[0][1] != "baseline"):
        if len(rows) != len(answers["harmful", "baseline"]):
            raise AssayError(
                f"{folder}/completions: {len(rows)} completions of {side} {name} and "
                f"{len(answers['harmful', 'baseline'])} of harmful baseline; every arm needs as many"
            )
        arm, texts = Arm.of_pipeline(name, side, where), [row["response"] for row in rows]
        key = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        same = seen.setdefault(f"{side} {key}", f"{side}, {arm}")
        labels = {judge: [not row[_LABEL] for row in rows]}
        labels |= {rule.name: [rule.refuses(text) for text in texts] for rule in RULES if rule.name != judge}
        for by, hits in labels.items():
            of = "" if same == f"{side}, {arm}" else same
            yield Judgements(side, arm, by, tuple(hits), completions=key, same_as=of)


def _told_apart(run: Recording, others: Mapping[str, Recording]) -> tuple[Recording, tuple[str, ...]]:
    """Arms whose answers are those of another arm kept, to the byte, are marked; a run of nothing else is refused.

    What the model says as it is may well be the same: runs of one model compare with it.
    """
    answers = {
        one.completions: f"{RECORDED}{name} ({one.label})"
        for name, other in others.items()
        for one in other.judgements
        if one.completions and one.arm != Arm()
    }
    own = {one.label: answers.get(one.completions, "") for one in run.judgements if one.arm != Arm()}
    known = {label: of for label, of in own.items() if of}
    if own and own == known:
        same = "; ".join(f"'{label}' of {of}" for label, of in known.items())
        raise AssayError(
            f"{RECORDED}{run.name}: every answer is, to the byte, one that is here already: {same}; one run under two "
            "names is no second piece of evidence, so nothing was kept (to bring it anew, first move the other out of "
            f"{places.recordings()})"
        )
    marked = (replace(one, same_as=one.same_as or known.get(one.label, "")) for one in run.judgements)
    run = replace(run, judgements=tuple(marked))
    same_as = dict.fromkeys((one.label, one.same_as) for one in run.judgements if one.same_as)
    return run, tuple(f"'{label}' is, to the byte, {of}: no evidence of its own" for label, of in same_as)


def _whole(run: Recording, into: str) -> Recording:
    """The recording of that name, of which this can be a run."""
    there = imported()
    if (whole := there.get(into.removeprefix(RECORDED))) is None:
        raise AssayError(f"--into {into}: no imported recording is called so; there are: {', '.join(there) or 'none'}")
    for word, own, others in (
        ("place of the direction", (run.layer, run.position), (whole.layer, whole.position)),
        ("judge", run.judge, whole.judge),
        ("baseline on harmful prompts", _baseline(run), _baseline(whole)),
    ):
        if own != others:
            raise AssayError(
                f"--into {into}: {run.name} has another {word}, so it is no run of that model and direction; import it "
                "by itself"
            )
    return whole


def _new(run: Recording, whole: Recording) -> tuple[Recording, tuple[str, ...]]:
    """The arms that the whole has not yet; and which it keeps although the run says otherwise, in words."""
    known = {(one.side, one.arm): one.completions for one in whole.judgements}
    if not (new := tuple(one for one in run.judgements if (one.side, one.arm) not in known)):
        raise AssayError(
            f"--into {whole.name}: has all arms of {run.name} already; say with --arm which arm its ablation is"
        )
    differ = dict.fromkeys(
        one.label for one in run.judgements if known.get((one.side, one.arm), one.completions) != one.completions
    )
    costs = {(one.arm, one.text) for one in whole.losses}
    losses = tuple(one for one in run.losses if (one.arm, one.text) not in costs)
    said = (f"'{label}' stays as {RECORDED}{whole.name} has it; this run says otherwise" for label in differ)
    return replace(run, judgements=new, losses=losses), tuple(said)


def _baseline(recording: Recording) -> str:
    return next(one.completions for one in recording.judgements if (one.side, one.arm) == ("harmful", Arm()))
