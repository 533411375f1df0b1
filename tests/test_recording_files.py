"""Files of recordings are strangers': each is whole or refused by itself, and none takes another's place."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.inputs import places
from harness.inputs.errors import AssayError
from harness.subjects.published import recordings as kept
from harness.subjects.published.recordings import (
    PUBLISHED,
    SCHEMA,
    Arm,
    Judgements,
    Loss,
    Recording,
    keep,
    recording,
    recordings,
)
from tests.tools import malformed

WHOLE = Recording(
    *("mine", "org/model", "a test", 16, 7, -2),
    ("Malware", "Fraud"),
    (
        Judgements("harmful", Arm(), "phrases-literal-anywhere", (True, False)),
        Judgements("harmful", Arm("remove", where="everywhere"), "phrases-literal-anywhere", (False, False)),
    ),
    (Loss(Arm(), "pile", 2.5),),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "recorded").mkdir()
    with places.reports_in(tmp_path):
        yield tmp_path / "recorded"


def document() -> dict[str, Any]:
    keep(WHOLE)
    return dict(json.loads((places.recordings() / "mine.json").read_text()))


# Where a value of another kind, or none, says nothing false.
EITHER = (
    r"\$\.(losses|judge|language|imported) gone",
    r"\$\.(judgements|losses)\[0\]\.arm\.(done|where|scale) gone",
    r"\$\.judgements\[0\]\.arm\.where null",
    r"\$\.(judgements|losses)\[0\]\.arm\.scale (3|0\.5)",
    r"\$\.(judgements|losses)\[0\]\.arm {}",
    r"\$\.judgements\[0\]\.(language|completions|same_as|unsafe) gone",
)


def test_a_recording_is_whole_or_refused_with_one_sentence(folder: Path) -> None:
    right = document()
    assert recording("mine") == WHOLE

    def load(text: str) -> None:
        (folder / "mine.json").write_text(text)
        kept.read_recording(folder / "mine.json")

    said = {how: malformed.sentence(load, text) for how, text in malformed.spoilt(right)}
    accepted = [how for how, sentence in said.items() if not sentence]
    assert [how for how in accepted if not any(re.fullmatch(pattern, how) for pattern in EITHER)] == []
    assert len([one for one in said.values() if one]) > 150
    assert [
        one for one in said.values() if "\n" in one or not re.match(r"$|\S+mine\.json: is no recording|recorded:", one)
    ] == []
    for how, raw in malformed.twisted(right).items():
        (folder / "mine.json").write_bytes(raw)
        with pytest.raises(AssayError, match=r"mine\.json: (is no recording|made by a later Assay)") as caught:
            kept.read_recording(folder / "mine.json")
        assert "\n" not in str(caught.value), how


def test_a_damaged_recording_stands_in_no_others_way(folder: Path) -> None:
    document()
    (folder / "zzz.json").write_text("[]")
    assert recording("mine") == WHOLE
    assert recording("recorded:yi-6b-chat").layer == 20
    with pytest.raises(AssayError, match=r"zzz\.json: is no recording .*; import the run again, or move the file away"):
        recording("zzz")


@pytest.mark.parametrize("name", ["yi-6b-chat", "Yi-6B-Chat", "..", ".hidden", "-k", "a\x1b[2J", " ", ""])
def test_no_file_takes_a_published_place_or_hides(name: str, folder: Path) -> None:
    before = recording("yi-6b-chat")
    text = json.dumps(document())
    (folder / "mine.json").unlink()
    (folder / f"{name}.json").write_text(text)
    assert recording("yi-6b-chat") == before
    assert set(recordings()) == set(kept.published())


def test_published_files_that_are_not_as_published_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = json.loads((PUBLISHED / "meta.json").read_text())
    monkeypatch.setattr(kept, "PUBLISHED", tmp_path)
    for name in ("judgements.csv", "losses.csv"):
        (tmp_path / name).write_bytes((PUBLISHED / name).read_bytes())

    def load(text: str) -> None:
        (tmp_path / "meta.json").write_text(text)
        kept.published()

    said = {how: malformed.sentence(load, text) for how, text in malformed.spoilt(right)}
    either = r"\$\.(schema gone|models {}|models\.[\w.-]+(\.n_candidates.*| gone))"
    assert [how for how, sentence in said.items() if not sentence and not re.fullmatch(either, how)] == []
    assert all(re.match(r"$|\S+meta\.json: is no list of published recordings \(", one) for one in said.values())
    for name in ("judgements.csv", "losses.csv"):
        kept._published_recordings.cache_clear()
        (tmp_path / "meta.json").write_text(json.dumps(right))
        (tmp_path / name).write_text("a,b\n1,2\n")
        with pytest.raises(AssayError, match=r"the published recordings cannot be read .*; restore data/recorded"):
            recording("yi-6b-chat")
    kept._published_recordings.cache_clear()


def test_a_recording_is_of_the_schema_that_is_written() -> None:
    assert document()["schema"] == SCHEMA
