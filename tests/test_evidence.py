"""Evidence is whole or it is measured again; nothing that was measured is lost."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from harness.inputs.errors import AssayError
from harness.measurements.evidence import DamagedEvidence, Evidence, Store
from harness.measurements.recipe import Recipe

RECIPE = Recipe("a-kind", 1, "abc", {"prompts": ["how"], "tokens": 24})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "evidence")


def evidence(recipe: Recipe = RECIPE) -> Evidence:
    arrays = {"effects": np.arange(6, dtype=np.float32).reshape(2, 3)}
    return Evidence(recipe, {"refused": [1.0, 0.0], "nan": float("nan")}, arrays, {"seconds": 1.5}, ("other",))


def test_what_was_put_comes_back(store: Store) -> None:
    store.put(evidence())
    kept = Store(store.folder).get(RECIPE)
    assert kept is not None
    assert kept.values["refused"] == [1.0, 0.0]
    assert np.isnan(kept.values["nan"])
    assert np.array_equal(kept.arrays["effects"], evidence().arrays["effects"])
    assert kept.computed_from == ("other",)
    assert [kept_evidence.fingerprint for kept_evidence in store] == [RECIPE.fingerprint]


@pytest.mark.parametrize(
    "other",
    [
        Recipe("scores", 1, "abc", RECIPE.of),
        Recipe("a-kind", 2, "abc", RECIPE.of),
        Recipe("a-kind", 1, "abd", RECIPE.of),
        Recipe("a-kind", 1, "abc", {"prompts": ["how"], "tokens": 25}),
    ],
)
def test_another_recipe_is_other_evidence(store: Store, other: Recipe) -> None:
    store.put(evidence())
    assert store.get(other) is None


def test_every_damaged_byte_is_noticed_said_and_set_aside(store: Store) -> None:
    store.put(evidence())
    json, tensors = store.path(RECIPE.fingerprint), store.path(RECIPE.fingerprint).with_suffix(".safetensors")
    whole = {path: path.read_bytes() for path in (json, tensors)}
    for path, raw in whole.items():
        for at in range(0, len(raw), 7):
            for other, content in whole.items():
                other.write_bytes(content)
            path.write_bytes(raw[:at] + bytes([raw[at] ^ 0x20]) + raw[at + 1 :])
            with pytest.warns(DamagedEvidence, match="set aside, and measured again"):
                assert store.get(RECIPE) is None
            assert not json.exists()
            assert json.with_name(json.name + ".damaged").exists()
    for length in (0, 1, len(whole[json]) // 2, len(whole[json]) - 1):
        tensors.write_bytes(whole[tensors])
        json.write_bytes(whole[json][:length])
        with pytest.warns(DamagedEvidence):
            assert store.get(RECIPE) is None
    store.put(evidence())
    assert store.get(RECIPE) is not None


def test_where_nothing_is_measured_no_measuring_is_promised(tmp_path: Path) -> None:
    store = Store(tmp_path, judge_only=True)
    store.put(evidence())
    store.path(RECIPE.fingerprint).write_text("{")
    with pytest.warns(DamagedEvidence, match="set aside, --judge-only measures nothing in its place"):
        assert store.get(RECIPE) is None


def test_tensors_without_their_commit_are_nothing(store: Store) -> None:
    store.put(evidence())
    store.path(RECIPE.fingerprint).unlink()
    assert store.get(RECIPE) is None


def test_evidence_under_another_name_is_not_believed(store: Store) -> None:
    store.put(evidence())
    other = Recipe("a-kind", 7, "abc", {})
    store.path(other.fingerprint).parent.mkdir(parents=True, exist_ok=True)
    store.path(RECIPE.fingerprint).rename(store.path(other.fingerprint))
    with pytest.warns(DamagedEvidence, match="another measurement"):
        assert store.get(other) is None


def test_fresh_knows_only_what_is_measured_from_now_on(store: Store) -> None:
    store.put(evidence())
    fresh = Store(store.folder, fresh=True)
    assert fresh.get(RECIPE) is None
    fresh.put(evidence())
    assert fresh.get(RECIPE) is not None


def test_an_account_holds_what_was_read_or_written_while_it_was_open(store: Store) -> None:
    others = [Recipe("a-kind", number, "abc", {}) for number in (2, 3, 4)]
    store.put(evidence(others[0]))
    with store.tracking() as outer:
        store.put(evidence(others[1]))
        with store.tracking() as inner:
            store.get(others[0])
            store.get(RECIPE)
        store.put(evidence(others[2]))
        store.remove(others[2].fingerprint)
    store.put(evidence())
    assert inner == {others[0].fingerprint}
    assert outer == {others[0].fingerprint, others[1].fingerprint}
    assert store.get(others[2]) is None


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("")
    with pytest.raises(AssayError, match=r"nothing can be written here \(.*\); free some space, or mend"):
        Store(tmp_path / "evidence").put(evidence())


def test_a_full_disk_is_one_sentence_and_leaves_no_trace(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AssayError, match=r"No space left on device.*what was measured before is safe"):
        store.put(evidence())
    assert not [path for path in store.folder.rglob("*") if path.is_file()]


def test_writers_and_readers_at_once_see_all_or_nothing(store: Store) -> None:
    wrong = []

    def write() -> None:
        for _ in range(40):
            store.put(evidence())

    def read() -> None:
        for _ in range(200):
            found = Store(store.folder).get(RECIPE)
            if found is not None and found.values["refused"] != [1.0, 0.0]:
                wrong.append(found)

    threads = [threading.Thread(target=work) for work in (write, write, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not list(store.folder.rglob(".writing-*"))
