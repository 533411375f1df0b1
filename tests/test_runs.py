"""A Run is what one call of pytest came to, however the call ended."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.errors import AssayError
from harness.runs import Judged, Run, Writer, all_runs, latest


def verdict(test: str, word: str = "SUPPORTED") -> Judged:
    return Judged(
        claim=f"of {test}", model="m", test=test, word=word, reason="", estimates=[], evidence=["b", "a"], seconds=1.0
    )


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "runs", Run(["pytest", "hypotheses"], "nf4", "cpu"))


def test_after_each_verdict_it_is_on_disk(writer: Writer, tmp_path: Path) -> None:
    for number in (1, 2):
        writer.judged(verdict(f"test {number}"), None, None, peak=5 * 1024**4)
        found = Run.load(latest(tmp_path / "runs"))
        assert len(found.verdicts) == number
        assert not found.finished
        assert found.evidence == ["a", "b"]
        assert found.peak_bytes == 5 * 1024**4
    writer.save(finished=True)
    assert Run.load(writer.folder / "run.json").finished
    assert [path.name for path in writer.folder.iterdir()] == ["run.json"]


def test_the_last_verdict_of_a_test_counts(writer: Writer) -> None:
    writer.judged(verdict("test"), None, None, 0)
    writer.judged(verdict("test", "BROKEN"), None, None, 0)
    assert [one["word"] for one in Run.load(writer.folder).verdicts] == ["BROKEN"]


def test_what_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="holds no run yet"):
        latest(tmp_path)
    assert all_runs(tmp_path) == []
    with pytest.raises(AssayError, match=r"run\.json: cannot be read"):
        Run.load(tmp_path)
    for text in ("", "[]", "{}", '{"command": 1}', json.dumps(dict(asdict(Run([], "", "")), quant=None))[:-9]):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(AssayError, match=r"run\.json: is no run"):
            Run.load(tmp_path)
