"""A Run is what one call of pytest came to, however the call ended."""

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.judges.thoughts import Markers
from harness.inputs.model_record import Check, Examination, ModelRecord, Sampling, Sizes
from harness.judging.verdict import Word
from harness.results.run_list import all_runs, latest
from harness.results.run_record import SCHEMA, Claimed, Judged, Run, Writer
from harness.subjects.published.recordings import recording
from tests.tools import malformed


def verdict(test: str, word: Word = "SUPPORTED") -> Judged:
    return Judged(
        claim=f"of {test}", model="m", test=test, word=word, reason="", estimates=[], evidence=["b", "a"], seconds=1.0
    )


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "runs", Run(["pytest", "hypotheses"], "nf4", "cpu"))


def test_after_each_verdict_it_is_on_disk(writer: Writer, tmp_path: Path) -> None:
    for number in (1, 2):
        writer.judged(verdict(f"test {number}"), None, None, peak=5 * 1024**4)
        loaded = Run.load(latest(tmp_path / "runs"))
        assert len(loaded.verdicts) == number
        assert not loaded.finished
        assert loaded.evidence == ["a", "b"]
        assert loaded.peak_bytes == 5 * 1024**4
    writer.save(finished=True)
    assert Run.load(writer.folder / "run.json").finished
    assert [path.name for path in writer.folder.iterdir()] == ["run.json"]


def test_the_last_verdict_of_a_test_counts(writer: Writer) -> None:
    writer.judged(verdict("test"), None, None, 0)
    writer.judged(verdict("test", "BROKEN"), None, None, 0)
    assert [judged["word"] for judged in Run.load(writer.folder).verdicts] == ["BROKEN"]


def test_what_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="no run yet"):
        latest(tmp_path)
    assert all_runs(tmp_path) == []
    with pytest.raises(AssayError, match=r"run\.json: cannot be read"):
        Run.load(tmp_path)
    for text in ("", "[]", "{}", '{"command": 1}', json.dumps(dict(asdict(Run([], "", "")), quant=None))[:-9]):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(AssayError, match=r"run\.json: is no run"):
            Run.load(tmp_path)


def whole() -> dict[str, Any]:
    """A run with a place for everything that a run can hold."""
    sizes = Sizes(2, 2, 1, 8, 4, 16, 3, 99, 1000, 512)
    examination = Examination((Check("bridge", 0.0, 0.05),), 2.5, 0.1, 1.5)
    live = ModelRecord(
        *("m", "r", "f", "nf4", "float32", "cpu", sizes, examination, 1.5, 10, 20, "Be brief.", 64),
        thoughts=Markers("<think>", "</think>"),
        sampling=Sampling(2, 0.7),
    )
    estimate = {"name": "fall", "value": 0.5, "low": 0.25, "high": 0.75, "n": 9, "unit": "pairs", "method": "score"}
    estimate |= {"evidence": ["ab12"]}
    verdict = {
        **verdict_of("c", "m"),
        "estimates": [estimate | {"nothing": "", "sign": ">", "bar": 0.3}],
        "beside": [estimate],
    }
    claim = {"title": "t", "prose": "", "source": "s", "bar": "fall > 0.3", "file": "f.py", "line": 3, "level": 0.01}
    claim |= {"holds_on": ["reference"], "fails_on": ["hydra"], "fingerprint": "ab"}
    return {"schema": SCHEMA} | vars(
        Run(
            command=["pytest"],
            quant="nf4",
            device="cpu",
            commit="abc",
            seconds=1.5,
            models={
                "m": {"fingerprint": "f", "kind": "live", "record": json.loads(json.dumps(asdict(live)))},
                "recorded:yi-6b-chat": {
                    "fingerprint": "g",
                    "kind": "recorded",
                    "record": recording("yi-6b-chat").as_json(),
                },
            },
            claims={"c": cast(Claimed, claim)},
            verdicts=[cast(Judged, verdict | {"imported": ["ab12"], "recording_from": "b.zip"})],
            imported={"bundle": "b.zip", "sha256": "ab", "when": "now"},
        )
    )


def verdict_of(claim: str, model: str) -> dict[str, Any]:
    return dict(verdict("test"), claim=claim, model=model, evidence=["ab12"], seconds=1.5)


# Where a value of another kind, or none, says nothing false.
EITHER = (
    r"\$\.(imported|verdicts\[0\]\.(imported|recording_from)) gone",
    r"\$\.(imported|commit|machine\.cores|models\.m\.record\.sizes\.context) null",
    # Older runs had none; the fingerprint tells the system prompt, and recipes tell how answers are drawn and how long.
    r"\$\.models\.m\.record\.((system|sampling|thoughts) (gone|null)|(answer_tokens|examination\.remarks) gone)",
    r"\$\.(schema|expected|all_claims|verdicts\[0\]\.(beside|(estimates|beside)\[0\]\.(nothing|evidence))) gone",
    r"\$\.verdicts\[0\]\.(estimates|beside)\[0\]\.(value|low|high) NaN",
    r"\$\.(models|claims|libraries)\.[^.]+ gone",
    r"\$\.models\.[^.]+\.record\.(judge|language|cross_entropy\.[^.]+) gone",
)


def test_a_run_is_whole_or_refused_at_its_place_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(whole()))
    assert Run.load(tmp_path).verdicts[0]["estimates"][0]["bar"] == 0.3

    def load(text: str) -> None:
        (tmp_path / "run.json").write_text(text)
        Run.load(tmp_path)

    said = {how: malformed.sentence(load, text) for how, text in malformed.spoilt(whole())}
    accepted = [how for how, sentence in said.items() if not sentence]
    assert [how for how in accepted if not any(re.fullmatch(pattern, how) for pattern in EITHER)] == []
    sentences = list(filter(None, said.values()))
    assert len(sentences) > 500
    form = re.compile(r".*/run\.json: is no run as pytest writes them \(.*\); give a folder of reports/runs")
    assert [one for one in sentences if not form.fullmatch(one)] == []


@pytest.mark.parametrize("how", malformed.twisted({"a": 1}))
def test_a_twisted_run_is_one_sentence(how: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(malformed.twisted(whole())[how])
    with pytest.raises(
        AssayError, match=r"run\.json: (is no run as pytest writes them \(|made by a later Assay)"
    ) as caught:
        Run.load(tmp_path)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("verdicts", 0, "model"), "", "$.verdicts[0].model: expected str of length >= 1"),
        (("verdicts", 0, "evidence"), ["../../x"], "$.verdicts[0].evidence[0]: expected str matching regex"),
        (("verdicts", 0, "word"), "PROVEN", "$.verdicts[0].word: invalid enum value 'PROVEN'"),
        (("started",), "yesterday", "$.started: expected str matching regex"),
        (("models",), {"": {}}, "$.models"),
        (("report",), "x", "$: there is no member 'report'"),
        (("models", "m", "record"), {"name": "m"}, "$.models.m.record: object missing required field revision"),
        (("verdicts", 0, "estimates", 0, "bar"), math.nan, "$.verdicts[0].estimates[0].bar"),
    ],
)
def test_the_place_within_the_run_is_named(place: tuple[Any, ...], value: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(malformed.put(whole(), place, value)))
    with pytest.raises(AssayError, match=re.escape(said)):
        Run.load(tmp_path)


def test_runs_of_before_there_was_a_schema_are_read(tmp_path: Path) -> None:
    old = whole()
    del old["schema"], old["verdicts"][0]["beside"]
    del old["verdicts"][0]["estimates"][0]["nothing"], old["verdicts"][0]["estimates"][0]["evidence"]
    (tmp_path / "run.json").write_text(json.dumps(old))
    assert Run.load(tmp_path).claims["c"]["level"] == 0.01
