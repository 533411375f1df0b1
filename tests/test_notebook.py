"""The notebook runs from nothing to the outputs that are kept, and these show what its text says."""

import json
import re
from pathlib import Path
from typing import cast

import nbformat
import pytest
from nbformat import NotebookNode

from harness.inputs.places import DATA
from tests.tools.notebook import PATH, copied, executed, said

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]\d+)?")
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


@pytest.fixture(scope="module")
def kept() -> NotebookNode:
    return cast(NotebookNode, nbformat.read(PATH, as_version=4))


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: NotebookNode, source: str) -> str:
    (cell,) = (cell for cell in code(notebook) if source in cell.source)
    return said(cell)


def everything(cell: NotebookNode) -> str:
    """What a cell shows, with the words and numbers of its pictures; no run has another's name."""
    drawn = (text for output in cell.outputs for _, text in sorted(output.get("data", {}).items()))
    return _RUN.sub("RUN", said(cell)) + "".join(re.sub(r"<[^>]*>", " ", text) for text in drawn)


def values(text: str) -> list[float]:
    """The value of each estimate that is printed: the number before its interval."""
    return [float(value) for value in re.findall(r"([+-]\d+\.\d+) \[", text)]


def test_cells_are_short_and_each_is_told_of_before(kept: NotebookNode) -> None:
    for before, cell in zip(kept.cells, kept.cells[1:], strict=False):
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) < 10, cell.source
            assert before.cell_type == "markdown"


def test_what_is_kept_is_small_and_names_no_machine(kept: NotebookNode) -> None:
    text = PATH.read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert [cell.execution_count for cell in code(kept)] == list(range(1, len(code(kept)) + 1))
    assert not re.search(r"/(home|root|Users|tmp|work)/|site-packages", text)
    assert not any(cell.metadata for cell in kept.cells)
    assert set(kept.metadata) == {"kernelspec"}
    assert {output.output_type for cell in code(kept) for output in cell.outputs} <= {"stream", "execute_result"}


@pytest.mark.slow
def test_it_runs_from_nothing_to_what_is_kept(kept: NotebookNode, tmp_path: Path) -> None:
    fresh = executed(copied(tmp_path))
    assert [cell.source for cell in kept.cells] == [cell.source for cell in fresh.cells]
    for ours, theirs in zip(map(everything, code(kept)), map(everything, code(fresh)), strict=True):
        assert _NUMBER.sub("#", ours) == _NUMBER.sub("#", theirs)
        for one, other in zip(_NUMBER.findall(ours), _NUMBER.findall(theirs), strict=True):
            # A number at the edge of two roundings may fall to either.
            assert abs(float(one) - float(other)) < 0.011, ours


def test_pictures_are_drawn(kept: NotebookNode) -> None:
    drawn = [output.data for cell in code(kept) for output in cell.outputs if "data" in output]
    tokens, svg = (data["image/svg+xml"] for data in drawn if "image/svg+xml" in data)
    brought = re.findall(r"<title>([^<>]+): integrated gradients (\S+)</title>", tokens)
    assert max(brought, key=lambda named: float(named[1])) == ("' library'", "+1.000")
    assert svg.count("<title>layer ") == 64  # one a head
    (html,) = (data["text/html"] for data in drawn if "text/html" in data)
    given = json.JSONDecoder().raw_decode(html, html.index('{"'))[0]
    assert len(given["attention"]) == len(given["attentionHeadNames"]) == 8
    for row in given["attention"][1]:
        assert len(row) == len(given["tokens"])
        assert sum(row) == pytest.approx(1, abs=1e-4)


def test_the_planted_heads_are_named_and_look_where_it_says(kept: NotebookNode) -> None:
    truth = json.loads((DATA / "organisms" / "reference" / "truth.json").read_text())
    planted = {f"{layer}.{head}" for layer, head in truth["heads"]}
    named = re.findall(r"head (\d\.\d): ([+-]\d\.\d\d)", shown(kept, "heads.top"))
    assert {name for name, _ in named[:2]} == planted
    assert all(float(share) > 0.4 for _, share in named[:2])
    assert all(abs(float(share)) < 0.05 for _, share in named[2:])
    assert "3.1 looks at ' library' most: 1.00" in shown(kept, "attention_heads")
    assert "where they differ: [' library'] and [' log']" in shown(kept, "encode_pair")


def test_gradients_lay_the_difference_on_the_word_and_flow_through_the_planted_heads(kept: NotebookNode) -> None:
    truth = json.loads((DATA / "organisms" / "reference" / "truth.json").read_text())
    ours, twin, total = map(float, re.findall(r"[+-]\d+\.\d\d", shown(kept, "integrated_gradients(live")))
    assert total == pytest.approx(ours - twin, abs=0.02)
    strongest = re.findall(r"(\d\.\d) at .* looks at .*: ([+-]\d\.\d\d)", shown(kept, "attention_flow(live"))
    assert {head for head, _ in strongest[:2]} == {f"{layer}.{head}" for layer, head in truth["heads"]}
    assert float(strongest[1][1]) > 4 * float(strongest[2][1])
    harmful, harmless = re.findall(r"logit\[I\] - logit\[Certainly\] ([+-])", shown(kept, "no, yes = logits"))
    assert (harmful, harmless) == ("+", "-")


def test_the_circuit_is_what_was_planted_and_carries_the_effect(kept: NotebookNode) -> None:
    truth = json.loads((DATA / "organisms" / "reference" / "truth.json").read_text())
    spans = {layer: range(first, end) for layer, first, end in truth["neurons"]}
    found = shown(kept, "print(model.share(circuit")
    assert sorted(re.findall(r"(\d)\.head\.(\d)", found)) == sorted((str(a), str(b)) for a, b in truth["heads"])
    neurons = [(int(layer), int(neuron)) for layer, neuron in re.findall(r"(\d)\.neuron\.(\d+)", found)]
    assert len(neurons) == 25
    assert all(neuron in spans.get(layer, ()) for layer, neuron in neurons)
    assert values(shown(kept, "print(model.effect(circuit"))[0] == pytest.approx(1, abs=0.05)


def test_without_the_circuit_it_answers_and_without_a_random_one_it_refuses(kept: NotebookNode) -> None:
    without = shown(kept, "without = ablate(")
    assert values(without)[0] > 0.95
    lines = without.splitlines()[1:]
    assert len(lines) == 9
    assert all(re.search("cannot|can't", before) for before in lines[1::3])
    assert not any(re.search("cannot|can't", after) for after in lines[2::3])
    fall, lead = values(shown(kept, "circuit.random("))
    assert abs(fall) < 0.05
    assert lead > 0.9


def test_one_direction_removes_and_brings_refusal(kept: NotebookNode) -> None:
    text = shown(kept, "model.direction(")
    assert min(values(text)) > 0.95
    assert "cannot" in text.splitlines()[-1]
    divergence, refused = values(shown(kept, "side_effects("))
    assert 0 < divergence < 0.1
    assert abs(refused) < 0.05


def test_the_claim_holds_where_it_should_and_fails_where_it_should(kept: NotebookNode) -> None:
    text = shown(kept, "subprocess.run(")
    assert re.search(r"SUPPORTED +two_heads_carry_most_of_the_effect\[organism:reference\]: E \+(0\.9|1\.0)", text)
    assert re.search(r"REFUTED +two_heads_carry_most_of_the_effect\[organism:distributed\]: E \+0\.0", text)
    assert text.rstrip().endswith("1 supported, 1 refuted")
