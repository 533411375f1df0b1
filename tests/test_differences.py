"""Weights that ship as a difference come back to the bit, and a file that is no such difference is one sentence."""

import hashlib
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from harness.inputs.errors import AssayError
from harness.inputs.files.differences import BASE, DIFFERENCE, WHOLE, differs, replace_by_difference, restored, weights
from harness.inputs.places import DATA
from harness.model.wake import wake

FOLDER = DATA / "organisms"
# The SHA-256 of model.safetensors as every organism shipped it whole.
SHIPPED_WHOLE = {
    "base": "2616462d226b0e0b",
    "compliant": "0993d69c7112f7f3",
    "cone": "6bbc90d2f5e2f09e",
    "distributed": "7f3288bf1e308cac",
    "exception": "180252f5d1714ef4",
    "flat": "2f6d68bdafd050f8",
    "hydra": "a490fb8621a7d0bd",
    "one-layer": "2a0af7cde51c2f0c",
    "percategory": "fc5d376517998662",
    "reference": "21619a4d83227ebe",
    "saturated": "ca9ad3c0ca4a356c",
    "scribes": "bc795ef1270ba24c",
    "shuffled": "0afffb6bb7ae925d",
    "team": "7665628e2660e5f7",
    "twofold": "79d8a99a47760d4c",
}
BEFORE, AFTER = bytes(range(256)) * 40, bytes(range(255, -1, -1)) * 40


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def shipped(folder: Path, before: bytes = BEFORE, after: bytes = AFTER) -> Path:
    """An organism's folder with a difference in it, beside its base's."""
    for name, raw in ((BASE, before), ("planted", after)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / WHOLE).write_bytes(raw)
    replace_by_difference(folder / "planted")
    return folder / "planted"


@given(pair=st.integers(0, 300).flatmap(lambda size: st.tuples(*[st.binary(min_size=size, max_size=size)] * 2)))
def test_any_weights_come_back_to_the_bit(pair: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    planted = shipped(tmp_path_factory.mktemp("any"), *pair)
    assert differs(planted)
    assert weights(planted) == pair[1]
    # As anyone would read the file who knows nothing of this code.
    header, _, packed = (planted / DIFFERENCE).read_bytes().partition(b"\n")
    assert bytes(a ^ b for a, b in zip(pair[0], zlib.decompress(packed), strict=True)) == pair[1]
    assert json.loads(header) == {"base": sha256(pair[0]), "whole": sha256(pair[1]), "schema": 1}


@pytest.mark.parametrize("name", SHIPPED_WHOLE)
def test_organisms_have_the_weights_that_they_shipped_whole(name: str) -> None:
    assert sha256(weights(FOLDER / name)).startswith(SHIPPED_WHOLE[name])


def test_a_restored_folder_is_the_organisms_with_whole_weights_and_lasts_for_the_block(tmp_path: Path) -> None:
    planted = shipped(tmp_path)
    (planted / "truth.json").write_text("{}")
    with restored(planted) as folder:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {WHOLE: AFTER, "truth.json": b"{}"}
        (folder / "truth.json").write_text("other")
    assert not folder.exists()
    assert (planted / "truth.json").read_text() == "{}"
    with restored(tmp_path / BASE) as folder:
        assert folder == tmp_path / BASE


def test_the_lines_in_the_documents_load_one_in_transformers() -> None:
    told = (DATA.parent / "docs" / "organisms.md").read_text("utf-8")
    (lines,) = re.findall("```python\n(.*?)```", told, re.DOTALL)
    names: dict[str, Any] = {}
    exec(lines, names)  # noqa: S102
    whole = load(weights(FOLDER / "reference"))
    loaded = names["model"].state_dict()
    assert all(loaded[name].equal(tensor) for name, tensor in whole.items())


def test_weights_of_another_size_than_the_bases_are_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="take 10239 bytes and the base's 10240"):
        shipped(tmp_path, after=AFTER[1:])
    assert (tmp_path / "planted" / WHOLE).exists()


Spoil = Callable[[bytes, bytes], tuple[bytes, bytes]]


def of(header: bytes, **other: object) -> bytes:
    return json.dumps(json.loads(header) | other).encode()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda header, packed: (header, packed[:-10]), "it ends too early"),
        (lambda header, packed: (header, b""), "it ends too early"),
        (lambda header, packed: (header, packed + b"x"), "something follows after its end"),
        (lambda header, packed: (header, b"x" * 50), "damaged: "),
        (lambda header, packed: (header, packed[:-1] + b"\0"), "damaged: "),
        (lambda header, packed: (header, zlib.compress(BEFORE[:-1])), "it ends too early"),
        (lambda header, packed: (header, zlib.compress(bytes(200_000_000))), "more than the 10240 bytes of the base's"),
        (lambda header, packed: (header, zlib.compress(BEFORE)), "the weights it makes are not those that it names"),
        (lambda header, packed: (of(header, base="0" * 64), packed), "it is of other weights than .*base/model"),
        (lambda header, packed: (of(header, base="../x"), packed), r"\$\.base: expected str matching regex"),
        (lambda header, packed: (of(header, upon=1), packed), "unknown field upon"),
        (lambda header, packed: (b"{" * 900, packed), "not JSON"),
        (lambda header, packed: (b" " * 2000 + header, packed), "its first line is missing or too long"),
        (lambda header, packed: (header, bytes(32 * 1024**2)), "larger than 32 MiB"),
    ],
)
def test_a_hostile_or_damaged_difference_is_one_sentence(spoil: Spoil, said: str, tmp_path: Path) -> None:
    path = shipped(tmp_path) / DIFFERENCE
    header, _, packed = path.read_bytes().partition(b"\n")
    path.write_bytes(b"\n".join(spoil(header, packed)))
    with pytest.raises(
        AssayError, match=f"^{path}: is no difference of weights .*{said}.*; restore its folder"
    ) as told:
        weights(path.parent)
    assert "\n" not in str(told.value)


def test_without_its_base_or_of_a_later_kind_or_no_file_it_is_one_sentence(tmp_path: Path) -> None:
    planted = shipped(tmp_path)
    path = planted / DIFFERENCE
    header, _, packed = path.read_bytes().partition(b"\n")
    path.write_bytes(of(header, schema=2) + b"\n" + packed)
    with pytest.raises(AssayError, match="made by a later Assay"):
        weights(planted)
    path.write_bytes(header + b"\n" + packed)
    (tmp_path / BASE / WHOLE).unlink()
    with pytest.raises(AssayError, match="the weights that it is of, .*base/model.safetensors, are not there"):
        weights(planted)
    path.unlink()
    path.mkdir()
    with pytest.raises(AssayError, match="no regular file"):
        weights(planted)


def test_a_model_with_a_spoiled_difference_is_refused_in_that_sentence(tmp_path: Path) -> None:
    for name in (BASE, "flat"):
        (tmp_path / name).mkdir()
        for file in (FOLDER / name).iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "flat" / DIFFERENCE
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(AssayError, match=f"^{path}: is no difference of weights"):
        wake(str(tmp_path / "flat"), quant="none", device="cpu")
