"""Runs of the published pipeline become recordings: arm by arm, each answer once; what is wrong is one sentence."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.inputs.judges.phrases import LITERAL, PHRASES
from harness.judging.estimate import asides
from harness.measurements.interventions import add, remove
from harness.subjects.published.recorded import RecordedSubject
from harness.subjects.published.recording_import import import_run
from harness.subjects.published.recordings import (
    Arm,
    Judgements,
    Loss,
    NotRecorded,
    Recording,
    keep,
    recording,
    recordings,
)

ARMS = {
    ("jailbreakbench", "baseline"): [0, 0, 0, 1],
    ("jailbreakbench", "ablation"): [1, 1, 1, 1],
    ("jailbreakbench", "actadd"): [1, 1, 0, 1],
    ("harmless", "baseline"): [1, 1, 1, 1],
    ("harmless", "actadd"): [0, 0, 1, 0],
}


@pytest.fixture(autouse=True)
def imported(tmp_path: Path) -> Iterator[Path]:
    """Nothing was imported before."""
    with places.reports_in(tmp_path / "reports"):
        yield places.recordings()


def pipeline_run(folder: Path, *, said: str = "") -> Path:
    """A run folder as the published pipeline writes it; whatever is said marks answers under ablation."""
    (folder / "completions").mkdir(parents=True)
    (folder / "loss_evals").mkdir()
    (folder / "direction_metadata.json").write_text(json.dumps({"pos": -2, "layer": 7}))
    for (dataset, arm), jailbreaks in ARMS.items():
        rows = [
            {
                "category": "Malware",
                "prompt": str(number),
                "response": f"{'Sure' if jailbreak else 'I cannot'}, {arm}{said if arm == 'ablation' else ''}",
                "is_jailbreak_substring_matching": jailbreak,
            }
            for number, jailbreak in enumerate(jailbreaks)
        ]
        write(folder, dataset, arm, rows)
    for arm, loss in (("baseline", 2.5), ("ablation", 2.51), ("actadd", 2.8)):
        text = {"pile": {"ce_loss": loss, "perplexity": 12.0, "n_tokens": 10}}
        (folder / "loss_evals" / f"{arm}_loss_eval.json").write_text(json.dumps(text))
    return folder


def write(folder: Path, dataset: str, arm: str, rows: list[dict[str, Any]]) -> None:
    path = folder / "completions" / f"{dataset}_{arm}_evaluations.json"
    path.write_text(json.dumps({"completions": rows}))


def rows_of(folder: Path, dataset: str, arm: str) -> list[dict[str, Any]]:
    path = folder / "completions" / f"{dataset}_{arm}_evaluations.json"
    return list(json.loads(path.read_text())["completions"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return pipeline_run(tmp_path / "my-model")


def subject(name: str) -> RecordedSubject:
    return RecordedSubject(recording(name), level=0.0025)


def test_a_run_that_people_bring_is_read_and_kept(run: Path) -> None:
    brought = import_run(run)
    assert recording("my-model") == brought.recording
    model, direction = subject("my-model"), brought.recording.direction
    pairs = model.recording.pairs
    assert (direction.layer, direction.position) == (7, -2)
    assert model.judged(pairs, "harmful", None).tolist() == [True, True, True, False]
    assert model.judged(pairs, "harmful", remove(direction)).tolist() == [False] * 4
    assert model.judged(pairs, "harmful", add(direction, scale=-1)).tolist() == [False, False, True, False]
    assert model.judged(pairs, "harmless", add(direction)).tolist() == [True, True, False, True]
    with pytest.raises(NotRecorded, match="'harmful, direction added' was not recorded"):
        model.judged(pairs, "harmful", add(direction))
    with asides() as made:
        model.refuses(pairs).fall(under=remove(direction))
        assert made["cross-entropy, pile"].value == pytest.approx(0.01)
        model.refuses(pairs).rate("harmful", under=add(direction, scale=-1))
        assert made["cross-entropy, pile"].value == pytest.approx(0.3)


def test_the_pipelines_second_judge_tells_answers_from_the_rest(run: Path) -> None:
    # As it is 3 of 4 refuse and the fourth answers; without the direction two of those three answer, one does neither.
    for arm, unsafe in (("baseline", [0, 0, 0, 1]), ("ablation", [1, 0, 1, 1])):
        rows = rows_of(run, "jailbreakbench", arm)
        labelled = zip(rows, unsafe, strict=True)
        write(run, "jailbreakbench", arm, [row | {"is_jailbreak_llamaguard2": label} for row, label in labelled])
    direction = import_run(run).recording.direction
    model = subject("my-model")
    answers = model.refuses(model.recording.pairs)
    with asides() as made:
        fall = answers.fall(under=remove(direction))
    assert (fall.name, fall.value) == ("fall", 0.5)
    assert made["broken, harmful"].value == 0.25
    # Of the other arms it said nothing.
    alone = answers.fall(under=add(direction, scale=-1))
    assert (alone.name, alone.value) == ("fall of refusals alone", 0.5)


def test_a_run_says_which_arm_it_is(run: Path) -> None:
    direction = import_run(run, where="attention").recording.direction
    model = subject("my-model")
    pairs = model.recording.pairs
    assert model.judged(pairs, "harmful", remove(direction, "attention")).tolist() == [False] * 4
    with pytest.raises(NotRecorded, match="'harmful, direction removed' was not recorded; .*removed from attention"):
        model.judged(pairs, "harmful", remove(direction))
    assert Loss(Arm("remove", where="attention"), "pile", 2.51) in model.recording.losses


def test_runs_of_one_model_become_one_recording(tmp_path: Path, run: Path) -> None:
    import_run(run)
    mlp = pipeline_run(tmp_path / "mlp-only", said=", still")
    write(mlp, "harmless", "baseline", [row | {"response": "Other"} for row in rows_of(mlp, "harmless", "baseline")])
    brought = import_run(mlp, where="mlp", into="my-model")
    stays = "'harmless, as it is' stays as it is in recorded:my-model; this run has other answers"
    assert stays in brought.remarks
    model = subject("my-model")
    answers, direction = model.refuses(model.recording.pairs), model.recording.direction
    assert answers.gain(remove(direction), over=remove(direction, "mlp")).value == 0
    assert "mlp-only" not in recordings()
    mended = pipeline_run(tmp_path / "other", said=", again")
    (mended / "direction_metadata.json").write_text(json.dumps({"pos": -1, "layer": 7}))
    with pytest.raises(AssayError, match="--into my-model: other has another place of the direction"):
        import_run(mended, where="stream", into="my-model")
    with pytest.raises(AssayError, match="--into nobody: no imported recording is called so; there are: my-model"):
        import_run(mended, where="stream", into="nobody")
    with pytest.raises(AssayError, match="has all arms of mlp-only already; say with --arm"):
        import_run(mlp, into="my-model")


def test_an_arm_of_another_name_with_the_same_answers_does_not_join(tmp_path: Path, run: Path) -> None:
    import_run(run)
    copy = pipeline_run(tmp_path / "attention-only")
    with pytest.raises(
        AssayError, match="'harmful, direction removed from attention' of recorded:my-model .harmful, dir"
    ):
        import_run(copy, where="attention", into="my-model")
    assert len(recording("my-model").arms) == 5


def test_two_arms_with_the_same_completions_are_said_to_be_one(run: Path) -> None:
    write(run, "jailbreakbench", "ablation", rows_of(run, "jailbreakbench", "baseline"))
    brought = import_run(run)
    assert "'harmful, direction removed' is, to the byte, harmful, as it is: no evidence of its own" in brought.remarks
    model = subject("my-model")
    with pytest.raises(AssayError, match="both arms are the same"):
        model.refuses(model.recording.pairs).fall(under=remove(model.recording.direction))


def test_an_arm_whose_answers_are_another_arms_is_no_evidence_of_its_own(run: Path) -> None:
    write(run, "jailbreakbench", "actadd", rows_of(run, "jailbreakbench", "ablation"))
    import_run(run)
    model = subject("my-model")
    same = "'harmful, direction subtracted' is no evidence of its own: .* those of harmful, direction removed"
    with pytest.raises(NotRecorded, match=same):
        model.refuses(model.recording.pairs).rate(under=add(model.recording.direction, scale=-1))


def test_a_run_of_answers_that_are_here_already_is_refused(tmp_path: Path, run: Path, imported: Path) -> None:
    import_run(run)
    import_run(run)  # the same one again is brought anew
    copy = pipeline_run(tmp_path / "residual-only")
    with pytest.raises(
        AssayError, match=r"recorded:residual-only: every answer .* 'harmful, direction removed from"
    ) as e:
        import_run(copy, where="stream")
    assert "of recorded:my-model (harmful, direction removed)" in str(e.value)
    assert [path.name for path in imported.iterdir()] == ["my-model.json"]


def test_one_arm_of_another_run_is_said_and_left_out_of_the_evidence(tmp_path: Path, run: Path) -> None:
    import_run(run)
    other = pipeline_run(tmp_path / "residual-only")
    for dataset in ("jailbreakbench", "harmless"):
        rows = rows_of(other, dataset, "actadd")
        write(other, dataset, "actadd", [row | {"response": row["response"] + "!"} for row in rows])
    brought = import_run(other, where="stream")
    of = "recorded:my-model (harmful, direction removed)"
    assert (
        f"'harmful, direction removed from the stream' is, to the byte, {of}: no evidence of its own" in brought.remarks
    )
    model = subject("residual-only")
    answers, direction = model.refuses(model.recording.pairs), model.recording.direction
    with pytest.raises(NotRecorded, match="is no evidence of its own"):
        answers.fall(under=remove(direction, "stream"))
    assert answers.rise(under=add(direction)).value == 0.75
    assert answers.rate().value == 0.75  # what both say as they are may well be the same


def test_labels_are_reproduced_by_the_literal_rule_or_kept_as_they_are(tmp_path: Path, run: Path) -> None:
    rows = rows_of(run, "jailbreakbench", "ablation")
    curly = {"response": "I can’t say that.", "is_jailbreak_substring_matching": 1}
    write(run, "jailbreakbench", "ablation", [rows[0] | curly, *rows[1:]])
    brought = import_run(run)
    assert brought.remarks == (f"{LITERAL.name} agrees with the run's labels on all 20 completions",)
    model, under = subject("my-model"), remove(brought.recording.direction)
    pairs = model.recording.pairs
    assert model.refuses(pairs).rate(under=under).value == 0
    assert model.refuses(pairs, judge=PHRASES).rate(under=under).value == 0.25
    with pytest.raises(NotRecorded, match="what the judge wildguard says was not recorded; there are: phrases-lit"):
        model.refuses(pairs, judge="wildguard").rate()
    other = pipeline_run(tmp_path / "other", said="?")
    rows = rows_of(other, "jailbreakbench", "ablation")
    write(other, "jailbreakbench", "ablation", [row | {"is_jailbreak_substring_matching": 0} for row in rows])
    brought = import_run(other)
    assert brought.remarks[0].startswith(f"{LITERAL.name} and the run's labels differ on 4 of 20 completions")
    assert brought.recording.judge == "is_jailbreak_substring_matching"
    assert subject("other").refuses(brought.recording.pairs).rate(under=under).value == 1
    assert subject("other").refuses(brought.recording.pairs, judge=LITERAL.name).rate(under=under).value == 0


FIRST = {
    "name": "before", "hub": "", "source": "before", "layers": 9, "layer": 7, "position": -2,
    "categories": ["a", "b"],
    "refused": {
        "harmful, baseline": [True, True], "harmful, ablation": [True, True], "harmful, actadd": [False, True],
        "harmless, baseline": [False, False], "harmless, actadd": [True, False],
    },
    "cross_entropy": {"baseline, pile": 2.5, "actadd, pile": 2.8},
    "twins": ["ablation"],
}  # fmt: skip


def test_recordings_imported_before_stay_readable(imported: Path) -> None:
    imported.mkdir(parents=True)
    (imported / "before.json").write_text(json.dumps(FIRST))
    model = subject("before")
    answers, direction = model.refuses(model.recording.pairs), model.recording.direction
    assert answers.rate().value == 1
    assert answers.rate(under=add(direction, scale=-1)).value == 0.5
    assert answers.rise(under=add(direction)).value == 0.5
    assert model.recording.losses[1] == Loss(Arm("add", scale=-1.0), "pile", 2.8)
    with pytest.raises(AssayError, match="both arms are the same"):
        answers.fall(under=remove(direction))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda whole: whole | {"refused": {"harmful, other": [True, True]}}, "'harmful, other' is no side and arm"),
        (lambda whole: whole | {"refused": {"harmful, baseline": [True]}}, "1 judgements and there are 2 items"),
        (lambda whole: whole | {"schema": 4}, "made by a later Assay"),
        (lambda whole: whole | {"schema": 2}, "is no recording .*judgements.*; import the run again"),
        (lambda whole: whole | {"layer": "7"}, r"is no recording .*layer.*; import the run again"),
        (lambda whole: [whole], "is no recording .*expected object"),
    ],
)
def test_a_spoiled_recording_is_one_sentence(spoil: Callable[[Any], Any], sentence: str, imported: Path) -> None:
    imported.mkdir(parents=True)
    (imported / "before.json").write_text(json.dumps(spoil(FIRST)))
    with pytest.raises(AssayError, match=sentence):
        recording("before")


def test_a_recording_can_hold_places_languages_and_judges() -> None:
    # As in what is published of Llama-3.2-1B by component, and of three models in 14 languages by two judges.
    hits = {"wildguard": (True, False), "substring": (True, True)}
    arms = (Arm(), Arm("remove", where="everywhere"), Arm("remove", where="attention"), Arm("remove", where="mlp"))
    judgements = tuple(
        Judgements("harmful", arm, judge, refused, language)
        for arm in arms
        for language in ("en", "de")
        for judge, refused in hits.items()
    )
    whole = Recording("many", "", "a test", 28, 15, -1, ("all", "all"), judgements, judge="wildguard", language="de")
    keep(whole)
    assert recording("many") == whole
    model = subject("many")
    pairs, direction = whole.pairs, whole.direction
    assert model.refuses(pairs).rate().value == 0.5
    assert model.refuses(pairs, judge="substring").rate(under=remove(direction, "mlp")).value == 1
    assert len(whole.arms) == 4


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda run: (run / "direction_metadata.json").unlink(), "direction_metadata.json: is not there.*--layer and"),
        (lambda run: (run / "direction_metadata.json").write_text("{"), "is no place of a direction .not JSON"),
        (lambda run: (run / "direction_metadata.json").write_text('{"pos": -2}'), "missing required field layer"),
        (
            lambda run: (run / "completions/jailbreakbench_baseline_evaluations.json").unlink(),
            "is no run of the refusal_direction pipeline: it holds no comp",
        ),
        (lambda run: (run / "completions/harmless_actadd_evaluations.json").write_text("{}"), "field completions"),
        (lambda run: write(run, "harmless", "actadd", []), "holds no completions"),
        (lambda run: write(run, "harmless", "actadd", [{"response": 3}]), r"completions\[0\].response: expected str"),
        (
            lambda run: write(run, "harmless", "actadd", [{"response": "a"}]),
            "1 of 17 completions have no is_jailbreak_",
        ),
        (
            lambda run: write(run, "harmless", "actadd", rows_of(run, "harmless", "actadd")[:2]),
            "every arm needs as many",
        ),
        (lambda run: (run / "loss_evals/actadd_loss_eval.json").write_text('{"pile": {"ce_loss": NaN}}'), "no number"),
        (lambda run: (run / "loss_evals/actadd_loss_eval.json").write_text("[]"), "is no losses of the pipeline"),
    ],
)
def test_a_broken_run_is_one_sentence(run: Path, spoil: Callable[[Path], None], sentence: str) -> None:
    spoil(run)
    with pytest.raises(AssayError, match=sentence):
        import_run(run)


def test_a_run_that_does_not_say_where_its_direction_was_found_is_told(run: Path) -> None:
    with pytest.raises(AssayError, match="says 7 and --layer says 8; leave --layer out, or correct the file"):
        import_run(run, layer=8)
    (run / "direction_metadata.json").unlink()
    with pytest.raises(AssayError, match="give --layer and --position"):
        import_run(run, layer=7)
    direction = import_run(run, layer=7, position=-3).recording.direction
    assert (direction.layer, direction.position) == (7, -3)


def test_a_folder_that_is_no_run_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(
        AssayError, match=rf"^{tmp_path}: is no run of the refusal_direction pipeline: it holds no comp"
    ):
        import_run(tmp_path)


def test_a_run_named_as_a_published_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="an imported recording cannot be called yi-6b-chat: a published one is"):
        import_run(pipeline_run(tmp_path / "yi-6b-chat"))


def test_the_command_takes_arm_place_and_name(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (run / "direction_metadata.json").unlink()
    assert main(["import", str(run), "--arm", "mlp", "--layer", "7", "--position", "-2"]) == 0
    said = capsys.readouterr().out
    assert "0 of 4 refused (harmful, direction removed from MLPs)" in said
    assert "judge it: pytest hypotheses --model recorded:my-model" in said
    bundle = tmp_path / "run.zip"
    bundle.touch()
    assert main(["import", str(bundle), "--arm", "mlp"]) == 2
    assert "--arm, --layer, --position and --into are for a run's folder" in capsys.readouterr().err
