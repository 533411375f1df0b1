"""A measurement of any kind holds what its readers rely on, or it is set aside; no copy with one wrong place passes."""

import hashlib
import json
import re
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from harness.inputs.errors import AssayError
from harness.inputs.files.json_files import fitting
from harness.inputs.judges.thoughts import Markers
from harness.inputs.model_record import Check, Examination, ModelRecord, Sampling, Sizes
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.prompts.prompt_lists import PromptLists
from harness.inputs.sites import Site
from harness.measurements import interventions, questions
from harness.measurements.evidence import Damaged, DamagedEvidence, Store, check, read
from harness.measurements.evidence_kinds import known
from harness.measurements.interventions import Circuit, Direction, ablate, add, patch, remove
from harness.measurements.questions import KINDS, described
from harness.measurements.questions.contents import Done, Patched
from harness.measurements.recipe import Recipe, digest
from harness.measurements.sweep_plan import Chosen, Joint, Sweep
from harness.results.evidence.tables import entries, export
from tests.tools import malformed
from tests.tools.given import fluent

PAIRS = PairSet("p", tuple(Pair(str(number), "c", f"harm {number}", f"no harm {number}", "t") for number in range(3)))
LISTS = PromptLists("l", ("a", "b"), ("c",), (("x", "y"), ()), "a file")
CIRCUIT, DIRECTION = Circuit.of([(0, 1)], [(1, 2)], [0]), Direction("published", 1, -1)
INTERVENTIONS = (
    remove(DIRECTION),
    remove(DIRECTION, "stream", to_mean_of=PAIRS.harmless, layers=(0, 1)),
    add(DIRECTION),
    patch(CIRCUIT),
    patch(at="post", keep=DIRECTION),
    patch([Site(1, "head", 0, -1)], "slot"),
    ablate(CIRCUIT, "zero"),
    ablate(CIRCUIT, "mean", over=PAIRS.harmless),
    remove(DIRECTION) + add(DIRECTION),
)
SWEPT = (Joint((CIRCUIT,)), Sweep("head", ((-1,), "post"), layers=(1,)), Chosen(Sweep("neuron"), (0, 3)))

_RECORD = ModelRecord(
    *("m", "r", "f", "nf4", "float32", "cpu"),
    Sizes(2, 2, 1, 8, 4, 16, 3, 99, 1000, 512),
    Examination((Check("bridge", 0.0, 0.05),), 2.5, 0.1, 1.5),
    *(1.5, 10, 20, "Be brief.", 64),
    thoughts=Markers("<think>", "</think>"),
    sampling=Sampling(2, 0.7),
)
_EFFECTS = {"pairs": ["0", "1"], "set_aside": ["2"], "axes": {"layer": ["0", "1"], "head": ["0", "1", "2"]}}
_SHAPES = {"patched": (2, 2, 3), "kl": (2, 2, 3), "clean": (2,), "source": (2,)}
_FLAGS = {"phrases-anywhere": [1.0, 0.0, 1.0], "phrases-opening-40": [1.0, 0.0, 0.0]}
_LATER = {"pairs": described(PAIRS)}

# Kind → what is asked, what answers it, and the shapes of its arrays.
EXAMPLES: dict[str, tuple[Any, Any, dict[str, tuple[int, ...]]]] = {
    "answers": (
        described(questions.Answers(PAIRS, "harmful", remove(DIRECTION))),
        {"prefixes": ["I cannot", "x", "y" * 80]} | fluent(3) | _FLAGS,
        {},
    ),
    "attended": (described(questions.Attended(PAIRS)), {}, {"words": (3, 2, 2)}),
    "circuit": (
        described(questions.FoundCircuit(PAIRS, 1, 1)),
        {"heads": [[0, 1]], "neurons": [[1, 2]], "effects": {"heads": [0.5], "neurons": [0.25]}},
        {},
    ),
    "contrasted": (described(questions.Contrasted(PAIRS, SWEPT[0])), _EFFECTS, _SHAPES),
    "dealt-answers": (
        described(questions.DealtAnswers(PAIRS, "harmful", (remove(DIRECTION), add(DIRECTION)))),
        {"refused": [1.0, 0.0, 1.0]},
        {},
    ),
    "direction": (
        described(questions.FoundDirection(PAIRS)),
        {"layer": 1, "position": -1, "valid": True, "reason": "", "harmful": ["a"], "harmless": ["b"]},
        {},
    ),
    "encoding": (
        described(questions.Encoding(PAIRS)),
        {"aligned": [True] * 3, "harmful": [4] * 3, "harmless": [4] * 3, "post": 2},
        {},
    ),
    "estimated": (described(questions.Estimated(PAIRS, SWEPT[1])), _EFFECTS, _SHAPES),
    "grown-circuit": (
        described(questions.GrownCircuit(PAIRS, 0.05)),
        {
            "blocks": [{"heads": [[0, 1]], "neurons": [[1, 2], [1, 3]]}],
            "curve": [[0.04, 0.9]],
            "effect": 0.9,
            "adds": [0.1, 0.8],
            "patched": 9,
        },
        {},
    ),
    "lens": (described(questions.Lens(PAIRS, "harmful")), {}, {"odds": (3, 3)}),
    "model-record": (
        {"quant": "nf4", "device": "cpu", "files": {}, "settings": {}},
        json.loads(json.dumps(asdict(_RECORD))),
        {},
    ),
    "norms": (described(questions.Norms(PAIRS)), {}, {"head": (2, 2), "neuron": (2, 16)}),
    "pairs": ({"pairs": described(PAIRS)}, {"pairs": [asdict(pair) for pair in PAIRS], "split": 2}, {}),
    "opening-scores": (
        described(questions.OpeningScores(PAIRS, "harmful", questions.Openings(((1, 2),), ((3,),)), add(DIRECTION))),
        {"odds": [0.5] * 3},
        {},
    ),
    "openings": (described(questions.FoundOpenings(PAIRS)), {"refusing": [[1, 2]], "answering": [[3]]}, {}),
    "part": ({"whole": "ab", "what": described(SWEPT[0]), "pairs": ["0", "1"]}, _EFFECTS, _SHAPES),
    "plain-text": (
        described(questions.PlainText(PAIRS, ("some text",), add(DIRECTION))),
        {"nats": [9.5, 8.5]},
        {},
    ),
    "products": (described(questions.Products(PAIRS, 1, -1)), {}, {"products": (6, 6)}),
    "projected": (
        described(questions.Projected(PAIRS, "harmful", (DIRECTION,))),
        {},
        {"along": (1, 3, 3), "length": (3, 3)},
    ),
    "prompt-lists": (
        {"pairs": LISTS.in_recipes},
        {"harmful": ["a", "b"], "harmless": ["c"], "kinds": [["x", "y"], []], "taken": "a file", "split": 2},
        {},
    ),
    "refusal-tokens": (described(questions.RefusalTokens(PAIRS)), {"tokens": [45]}, {}),
    "scores": (
        described(questions.Scores(PAIRS, "harmful", ablate(CIRCUIT, "zero"))),
        {"odds": [0.5] * 3, "kl": [0.5] * 3, "same_as_clean": False},
        {},
    ),
    "swept": (described(questions.Swept(PAIRS, SWEPT[0])), _EFFECTS, _SHAPES),
}


def body(kind: str) -> dict[str, Any]:
    of, values, shapes = EXAMPLES[kind]
    raw = tensors(shapes)
    return {
        "recipe": {"kind": kind, "revision": KINDS[kind].REVISION if kind in KINDS else 1, "subject": "m", "of": of},
        "values": values,
        "environment": {"libraries": {"torch": "2"}, "machine": {}, "device": "cpu", "when": "now", "seconds": 1.5},
        "computed_from": ["ab"],
        "tensors": hashlib.sha256(raw).hexdigest() if raw else None,
    }


def tensors(shapes: dict[str, tuple[int, ...]], dtype: type = np.float32) -> bytes:
    return save({name: np.zeros(shape, dtype) for name, shape in shapes.items()}) if shapes else b""


def laid(store: Store, text: str, raw: bytes) -> Path:
    """A file of evidence as a forger would write it: every hash is right, whatever it says."""
    whole = json.loads(text)
    inner = whole.get("body") if isinstance(whole, dict) else None
    recipe = inner.get("recipe") if isinstance(inner, dict) else None
    if isinstance(whole, dict) and whole.get("sha256") == "right":
        whole["sha256"] = digest(inner)
    path = store.path(digest(recipe))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole))
    path.with_suffix(".safetensors").write_bytes(raw)
    return path


# Where a value of another kind, or none, says nothing false.
EITHER = (
    r"\$\.(schema|imported) gone",
    r"\$\.imported null",
    r"\$\.body\.environment(\.\w+|\.libraries\.torch) gone",
    r"\$\.body\.environment(\.libraries)? {}",
    r"\$\.body\.environment\.seconds null",
    r"\$\.body\.tensors null",  # then its arrays are missing, where it needs any
    r"\$\.body\.values\.[\w.]+\[0\] NaN",
    r"\$\.body\.values\.cross_entropy\[0\] null",
    r"\$\.body\.values\.phrases-opening-40 gone",
    r"\$\.body\.values\.effects (gone|null)",
    r"\$\.body\.values\.split gone",
    r"\$\.body\.values\.(layer|position|sizes\.context) null",
    r"\$\.body\.values\.pairs\[0\]\.(frame|novel|group) (gone|null|\"x\")",
    r"\$\.body\.values\.examination\.\S+ NaN",
    r"\$\.body\.values\.(seconds|sampling\.temperature) NaN",
    r"\$\.body\.values\.((system|sampling|thoughts) (gone|null)|(answer_tokens|examination\.remarks) gone)",
    # No code rests on these: they are shown, and compared with those of other runs.
    r"\$\.body\.recipe\.of\.(a|tokens|heads|neurons|at|whole|files|settings|passages|position)\b.*",
    r"\$\.body\.recipe\.of\.(under|what|arms\[\d\])\.(over|at|layers)\b.*",
    r"\$\.body\.recipe\.of\.under null",
)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_copy_with_one_wrong_place_is_set_aside_with_a_warning_that_names_it(kind: str, tmp_path: Path) -> None:
    right = {"schema": 1, "sha256": "right", "body": body(kind)}
    right["imported"] = {"bundle": "b.zip", "sha256": "ab", "when": "now"}
    store, raw = Store(tmp_path), tensors(EXAMPLES[kind][2])
    assert read(laid(store, json.dumps(right), raw)).recipe.kind == kind
    assert check(store.files()[0]).imported is not None
    store.files()[0].unlink()
    accepted = []
    for how, text in malformed.spoilt(right):
        path = laid(store, text, raw)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            evidence = [kept_evidence for kept_evidence in store if kept_evidence.fingerprint == path.stem]
        if evidence:
            accepted.append(how)
            path.unlink()
            continue
        (warning,) = caught
        assert issubclass(warning.category, DamagedEvidence), how
        assert re.fullmatch(rf"{path}: (is|was|holds|has) .*; set aside, and measured again", str(warning.message)), how
    assert [how for how in accepted if not any(re.fullmatch(pattern, how) for pattern in EITHER)] == []
    assert len(accepted) < 100


@pytest.mark.parametrize("how", malformed.twisted({"a": 1}))
def test_twisted_evidence_is_set_aside_or_said_to_be_later(how: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = laid(store, json.dumps({"sha256": "right", "body": body("scores")}), b"")
    recipe = read(path).recipe
    path.write_bytes(malformed.twisted(json.loads(path.read_text()))[how])
    if how == "later":
        with pytest.raises(AssayError, match=r"\.json: made by a later Assay \(schema 99; this one reads up to \d\)"):
            store.get(recipe)
        assert path.exists()  # it is somebody's
        return
    with pytest.warns(DamagedEvidence, match=r"is no evidence \(.*\); set aside, and measured again"):
        assert store.get(recipe) is None


@pytest.mark.parametrize("kind", [kind for kind, (_, _, shapes) in EXAMPLES.items() if shapes])
def test_arrays_of_another_shape_or_kind_are_set_aside(kind: str, tmp_path: Path) -> None:
    store, shapes = Store(tmp_path), EXAMPLES[kind][2]
    for name in shapes:
        for other in (
            {**shapes, name: (*shapes[name], 2)},
            {**shapes, name: ()},
            {key: value for key, value in shapes.items() if key != name},
        ):
            inner = body(kind) | {"tensors": hashlib.sha256(tensors(other)).hexdigest()}
            path = laid(store, json.dumps({"sha256": "right", "body": inner}), tensors(other))
            for way in (read, check):
                with pytest.raises(Damaged, match=r"is no evidence of its kind|cannot be read"):
                    way(path)
        raw = tensors(shapes, np.int32)
        inner = body(kind) | {"tensors": hashlib.sha256(raw).hexdigest()}
        path = laid(store, json.dumps({"sha256": "right", "body": inner}), raw)
        for way in (read, check):
            with pytest.raises(Damaged, match=r"is no evidence of its kind|cannot be read"):
                way(path)


def test_labels_without_end_are_set_aside_though_no_number_stands_behind_them(tmp_path: Path) -> None:
    labels = [str(number) for number in range(500)]
    inner = body("swept")
    axes = {"layer": labels, "head": labels, "position": labels}
    inner["values"] = {"pairs": [], "set_aside": [], "axes": axes}
    raw = tensors({"patched": (0, 500, 500, 500), "kl": (0, 500, 500, 500), "clean": (0,), "source": (0,)})
    inner["tensors"] = hashlib.sha256(raw).hexdigest()
    with pytest.raises(Damaged, match="more than 10,000,000 variants"):
        read(laid(Store(tmp_path), json.dumps({"sha256": "right", "body": inner}), raw))


def test_a_kind_that_is_not_known_here_is_listed_and_exported(tmp_path: Path) -> None:
    inner = body("scores")
    inner["recipe"] = {"kind": "of-a-plugin", "revision": 1, "subject": "m", "of": {"pairs": {"n": "x"}, "under": 3}}
    inner["values"] = {"axes": 3, "pairs": 4}
    store = Store(tmp_path / "evidence")
    laid(store, json.dumps({"sha256": "right", "body": inner}), b"")
    assert [(entry.kind, entry.n) for entry in entries(store)] == [("of-a-plugin", None)]
    assert export(store, tmp_path / "e.csv") == 0


def test_tensors_that_are_none_are_said_by_both_readers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for raw in (b"", b"\xff" * 40, b"\x08\x00\x00\x00\x00\x00\x00\x00{"):
        inner = body("lens") | {"tensors": hashlib.sha256(raw).hexdigest()}
        path = laid(store, json.dumps({"sha256": "right", "body": inner}), raw)
        for way in (read, check):
            with pytest.raises(Damaged):
                way(path)
    path.with_suffix(".safetensors").unlink()
    for way in (read, check):
        with pytest.raises(Damaged, match="has lost its tensors"):
            way(path)


def made_of(kind: type) -> set[type]:
    """The classes of which there are values: those that no other is made from."""
    return set[type]().union(*map(made_of, kind.__subclasses__())) or {kind}


def test_every_measurement_has_its_kind_and_every_intervention_and_sweep_is_known() -> None:
    asked = {kind for kind, question in KINDS.items() if question.__module__.startswith("harness.")}
    assert asked | {"part", "pairs", "prompt-lists", "model-record"} == known() & set(EXAMPLES) == set(EXAMPLES)
    assert {type(one) for one in INTERVENTIONS} == made_of(interventions.Intervention)
    fitting(json.loads(json.dumps([described(intervention) for intervention in INTERVENTIONS])), list[Done])
    fitting(json.loads(json.dumps([described(sweep) for sweep in SWEPT])), list[Patched])


def test_evidence_of_a_kind_that_is_not_known_here_is_read(tmp_path: Path) -> None:
    inner = body("scores")
    inner["recipe"]["kind"] = "of-a-plugin"
    assert read(laid(Store(tmp_path), json.dumps({"sha256": "right", "body": inner}), b"")).recipe.kind == "of-a-plugin"
    assert Recipe("of-a-plugin", 1, "m", inner["recipe"]["of"]).fingerprint == Store(tmp_path).files()[0].stem
