"""Pairs that share a prompt: one cluster, one side; sets in which none do are what they always were."""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load, load_pairs
from harness.inputs.prompts.pairs import Pair, PairSet, grouped, side_of
from harness.inputs.prompts.prompt_lists import twins
from harness.inputs.prompts.prompt_text import normalised
from harness.measurements import pairs_evidence
from harness.measurements.evidence import Evidence, Store
from harness.measurements.recipe import Recipe
from harness.report.page import write
from tests.tools import golden, stories

SETS = ("pairs", "objects", "context", "organisms/pairs")
# Of twelve pairs as they were when the first evidence was measured: of all, of discovery and of held-out pairs.
FIRST = ("a2d79dd5b3c22c1c", "c44723d63bbb73e6", "0afc6cc29a05cb00")


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def shared(path: Path, n: int = 40) -> Path:
    """Pairs of which every four have one harmless twin, spelt in four ways."""
    ways = ("Oil lock {}", "oil lock {}", "Oil  lock {}", "Oil\u200b lock {}")
    return written(
        path,
        [
            {"id": f"x-{i}", "category": "x", "harmful": f"Break lock {i}", "harmless": ways[i % 4].format(i // 4)}
            for i in range(n)
        ],
    )


@pytest.mark.parametrize("name", SETS)
def test_no_shipped_set_has_shared_prompts(name: str) -> None:
    pairs = load_pairs(DATA / f"{name}.jsonl")
    assert pairs.clusters == tuple(pair.frame or pair.id for pair in pairs)
    assert all(pairs.side(pair) == side_of(pair.frame or pair.id) for pair in pairs)
    assert pairs.sharing == 0
    assert "share" not in pairs.described


def test_pairs_that_share_a_prompt_are_one_cluster_on_one_side(tmp_path: Path) -> None:
    pairs = load_pairs(shared(tmp_path / "mine.jsonl"))
    assert len(pairs) == 40
    for group in range(10):
        ours = [pair for pair in pairs if int(pair.id[2:]) // 4 == group]
        least = min(pair.id for pair in ours)
        assert {pairs.side(pair) for pair in ours} == {side_of(least)}
        assert len({dict(zip((p.id for p in pairs), pairs.clusters, strict=True))[pair.id] for pair in ours}) == 1
    assert len(set(pairs.clusters)) == 10
    assert len(set(pairs.heldout.clusters)) + len(set(pairs.discovery.clusters)) == 10
    assert not {normalised(prompt) for prompt in pairs.discovery.harmless} & {
        normalised(o) for o in pairs.heldout.harmless
    }
    assert pairs.sharing == 40
    assert "40 hang together by shared prompts: 10 groups" in pairs.described


@pytest.mark.parametrize("sign", ["\x01", "\u034f", "\u180b", "\u2800", "\u3164", "\ufe0f", "\U000e0101"])
def test_signs_that_show_nothing_make_no_other_prompt(tmp_path: Path, sign: str) -> None:
    rows = [{"id": f"x-{i}", "harmful": f"Break lock {i}", "harmless": f"Oil lock {i}"} for i in range(40)]
    again = {"id": "again", "harmful": f"Break{sign} lock 3", "harmless": "Oil lock 3"}
    with pytest.raises(AssayError, match="line 41: the same pair is on line 4 already"):
        load_pairs(written(tmp_path / "mine.jsonl", [*rows, again]))


def test_a_chain_of_shared_prompts_is_one_group_and_takes_frames_along() -> None:
    chain = [
        Pair("b", "x", "harm 1", "help 1", "one"),
        Pair("a", "x", "HARM 1", "help 2", "two"),
        Pair("c", "x", "harm 3", "help  2"),
        Pair("d", "x", "harm 4", "help 4", "two"),
        Pair("e", "x", "harm 5", "help 5", "three"),
    ]
    pairs = PairSet("chain", grouped(chain))
    assert [pair.group for pair in pairs] == ["c", "c", "c", "c", None]
    assert len(set(pairs.clusters[:4])) == 1
    assert pairs.clusters[4] == "three"
    # A part of the set is split as the whole is.
    for pair in pairs.pairs[:4]:
        assert PairSet("part", (pair,)).side(pair) == side_of("c")
    assert pairs.side(pairs.pairs[4]) == side_of("three")


def test_a_split_group_stays_one_cluster_in_a_part_of_the_set() -> None:
    pairs = PairSet(
        "p", grouped([Pair("a", "x", "h 1", "s 1"), Pair("b", "y", "h 2", "s 1"), Pair("c", "x", "h 2", "s 3")])
    )
    assert len(set(pairs.category("x").clusters)) == 1


def test_a_set_that_hangs_together_whole_cannot_be_split(tmp_path: Path) -> None:
    rows = [{"harmful": f"Break lock {i}", "harmless": "Oil it"} for i in range(30)]
    with pytest.raises(AssayError, match="has 0 of its pairs in .*pairs that share a prompt stay together"):
        load(written(tmp_path / "mine.jsonl", rows))


def test_the_evidence_of_pairs_keeps_groups_and_the_rule_of_the_split(tmp_path: Path) -> None:
    store, pairs = Store(tmp_path / "evidence"), load_pairs(shared(tmp_path / "mine.jsonl"))
    pairs_evidence.keep(pairs, store)
    (kept,) = list(store)
    read = twins(pairs_evidence.kept(kept))
    assert read == pairs
    assert read.heldout.fingerprint == pairs.heldout.fingerprint
    assert read.clusters == pairs.clusters


def test_the_page_says_how_many_share_a_prompt(tmp_path: Path) -> None:
    framed = (replace(pair, frame=f"frame {int(pair.id[2:]) // 2}") for pair in stories.pairs(40))
    sets = (load_pairs(shared(tmp_path / "mine.jsonl")), True), (PairSet("framed", tuple(framed)), False)
    for pairs, said in sets:
        folder = stories.told(tmp_path / str(said), ["a-claim"], ["organism:reference"], pairs)
        page = write(folder, Store(tmp_path / str(said) / "evidence"), tmp_path / str(said) / "index.html").page
        html = page.read_text(encoding="utf-8")
        assert f"{len(pairs.discovery)} pairs for discovery, {len(pairs.heldout)} others for judging" in html
        assert ("40 hang together with others by shared prompts" in html) == said
        assert ("no frames (ways of asking) are named" in html) == said
        in_frames = f", in {pairs.discovery.frames} and {pairs.heldout.frames} ways of asking"
        assert (in_frames in html) != said


def test_evidence_of_an_older_split_is_read_with_its_own_sides(tmp_path: Path) -> None:
    old = [
        {"id": key, "category": "x", "harmful": f"h {key}", "harmless": "s", "template": None, "novel": None}
        for key in "abcdefgh"
    ]
    recipe = Recipe("pairs", 1, "old", {"pairs": {"pairs": "0" * 16, "n": len(old)}})
    pairs = twins(pairs_evidence.kept(Evidence(recipe, {"pairs": old})))
    assert pairs.split == 1
    assert [pairs.side(pair) for pair in pairs] == [side_of(key) for key in "abcdefgh"]
    with pytest.raises(AssayError, match="split by a later version of Assay"):
        pairs_evidence.kept(Evidence(recipe, {"pairs": old, "split": 99}))


def test_evidence_from_before_frames_is_read_as_it_was() -> None:
    """Split by ids, clustered by what was called templates, with the fingerprints that its other evidence names."""
    rows = [json.loads(line) for line in (Path(golden.__file__).parent / "golden_pairs.jsonl").read_text().splitlines()]
    old = [{"template" if name == "frame" else name: row[name] for name in row if name != "words"} for row in rows]
    recipe = Recipe("pairs", 1, "old", {"pairs": {"pairs": FIRST[0], "n": len(old)}})
    pairs = twins(pairs_evidence.kept(Evidence(recipe, {"pairs": old, "split": 2})))
    assert (pairs.fingerprint, pairs.discovery.fingerprint, pairs.heldout.fingerprint) == FIRST
    assert pairs.clusters == tuple(row["template"] for row in old)
    # The same pairs split by their frames are another set: nothing measured before answers for it.
    new = PairSet("new", pairs.pairs)
    assert new.fingerprint != pairs.fingerprint
    assert not set(new.clusters) - {pair.frame for pair in pairs}


def test_no_prompt_comes_twice_among_harmless_prompts_that_are_alike() -> None:
    pairs = PairSet(
        "p",
        grouped(
            [
                Pair("a", "x", "break one", "how do I oil it", "t"),
                Pair("b", "x", "break two", "how do I oil it", "t"),
                Pair("c", "x", "break three", "how do I hold it", "t"),
                Pair("d", "x", "break four", "how do I keep it", "t"),
            ]
        ),
    )
    prompts = [prompt for pair in pairs.harmless_alike for prompt in (pair.harmful, pair.harmless)]
    assert len(prompts) == len(set(prompts)) == 2


def test_all_defects_are_named_twenty_at_most_and_then_how_many_more(tmp_path: Path) -> None:
    rows = [{"id": f"x-{i}", "harmful": f"Break lock {i}", "harmless": f"Oil lock {i}"} for i in range(60)]
    for number in range(37):
        rows[number]["harmless"] = rows[number]["harmful"].upper()
    rows[3]["harmles"] = "a"
    with pytest.raises(AssayError) as caught:
        load(written(tmp_path / "mine.jsonl", rows))
    lines = str(caught.value).split("\n")
    assert len(lines) == 21
    assert all(line.startswith(f"{tmp_path / 'mine.jsonl'}, line ") for line in lines[:20])
    assert [int(line.partition(", line ")[2].partition(":")[0]) for line in lines[:20]] == list(range(1, 21))
    assert lines[-1] == "and 17 more"


def test_a_bad_line_hides_none_after_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"harmful": 1, "harmless": "b", "x": 2}\nnot JSON\n[]\n{"harmful": "a", "harmless": "A"}\n')
    with pytest.raises(AssayError) as caught:
        load(path)
    said = str(caught.value).split("\n")
    assert [line.partition(", ")[2].partition(":")[0] for line in said] == [f"line {at}" for at in (1, 1, 2, 3, 4)]


def test_what_is_no_regular_file_is_one_sentence_and_never_waited_for(tmp_path: Path) -> None:
    pipe, plug = tmp_path / "pipe.jsonl", tmp_path / "plug.jsonl"
    os.mkfifo(pipe)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(plug))
    device = tmp_path / "zero.csv"
    device.symlink_to("/dev/zero")
    for path in (pipe, plug, device):
        with pytest.raises(AssayError, match=r"cannot be read \(no regular file\)"):
            load(path)
    listening.close()
    with pytest.raises(AssayError, match="cannot be read .File name too long"):
        load(tmp_path / f"{'a' * 300}.jsonl")


def test_a_huge_file_is_one_sentence(tmp_path: Path) -> None:
    huge = tmp_path / "huge.jsonl"
    with huge.open("wb") as file:
        file.truncate(5 * 1024**3)
    with pytest.raises(AssayError, match=r"cannot be read \(larger than \d+ MiB\)"):
        load(huge)
