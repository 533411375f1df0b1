"""What sets two answers apart: the same interchanges on a behaviour that has nothing to do with refusing."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch

from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.inputs.sites import At, Site
from harness.instruments.answer_contrast import TOKENS, contrast
from harness.judging.estimate import asides
from harness.measurements.effects_evidence import unpacked
from harness.measurements.evidence import Store
from harness.measurements.interventions import Circuit
from harness.measurements.questions import Contrasted
from harness.measurements.sweep_plan import Joint
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import Contrast, Scorer
from harness.subjects.live import Bare, Subject
from harness.subjects.sleeper import Sleeper
from tests.tools.material import HARMFUL, PAIRS, UNALIGNED

ORGANISMS = load_pairs(DATA / "organisms" / "pairs.jsonl")


def test_harmless_prompts_are_paired_within_frames_each_once_and_the_likest_first() -> None:
    harmless_alike = ORGANISMS.heldout.harmless_alike
    prompts = Counter(prompt for pair in harmless_alike for prompt in (pair.harmful, pair.harmless))
    assert set(prompts.values()) == {1}
    assert set(prompts) <= set(ORGANISMS.heldout.harmless)
    frame = {pair.harmless: pair.frame for pair in ORGANISMS.heldout}
    assert all(frame[pair.harmful] == frame[pair.harmless] == pair.frame for pair in harmless_alike)
    size = {pair.id: len(pair.words["harmful"].split()) for pair in harmless_alike}
    assert all(size[pair.id] == len(pair.words["harmless"].split()) for pair in harmless_alike)
    for name in set(frame.values()):
        ours = [pair for pair in harmless_alike if pair.frame == name]
        some = [pair for pair in ORGANISMS.heldout if pair.frame == name]
        words = [Pair("", "", a.harmless, b.harmless).words for a, b in combinations(some, 2)]
        counts = [{len(one.split()) for one in both.values()} for both in words]
        assert min((size[pair.id] for pair in ours), default=0) == min(
            (max(count) for count in counts if len(count) == 1 and 0 not in count), default=0
        )
    assert len(harmless_alike) > 50


def test_without_frames_there_are_none() -> None:
    assert len(ORGANISMS.harmless_alike) > 0
    assert len(PairSet("bare", tuple(replace(pair, frame=None) for pair in ORGANISMS)).harmless_alike) == 0


def test_each_row_has_its_own_two_tokens_and_the_divergence_is_the_same(awake: Callable[..., ChatModel]) -> None:
    model = awake()
    logits = model.next_token(HARMFUL)
    ours, refusing = Contrast(model, [(1, 2), (3, 4), (5, 6)]), Scorer(model, [7])
    for scorer in (ours, refusing):
        scorer.clean(logits)
    moved = torch.stack([logits.roll(1, 0), logits * 0.5], 1)
    odds, kl = ours(moved.clone(), [0, 1, 2])
    torch.testing.assert_close(odds[2], moved[2, :, 5] - moved[2, :, 6])
    torch.testing.assert_close(kl, refusing(moved.clone(), [0, 1, 2])[1])
    some, _ = ours(moved[[2, 0]].clone(), [2, 0])
    torch.testing.assert_close(some, odds[[2, 0]])
    torch.testing.assert_close(ours.odds(logits)[1], logits[1, 3] - logits[1, 4])


@pytest.mark.parametrize(
    ("shape", "at"),
    [
        *[(shape, "later") for shape in ("llama", "gpt2")],
        *[pytest.param(shape, at, marks=pytest.mark.slow) for shape in ("llama", "gpt2") for at in ("slot", (-1,))],
        *[pytest.param("qwen3", at, marks=pytest.mark.slow) for at in ("slot", "later", (-1,))],
    ],
)
def test_effects_are_those_of_plain_forwards(shape: str, at: At, awake: Callable[..., ChatModel]) -> None:
    model = awake(shape)
    block = Circuit((Site(1, "attn_out"), Site(1, "mlp_out")))
    effects = contrast(model, (*PAIRS, UNALIGNED), Joint((block,), at))
    assert UNALIGNED.id in effects.set_aside
    assert set(effects.pairs) | set(effects.set_aside) == {pair.id for pair in (*PAIRS, UNALIGNED)}
    assert effects.pairs
    for one in PAIRS:
        ours, theirs = (model.generate([prompt], tokens=TOKENS)[0].ids for prompt in (one.harmful, one.harmless))
        assert (one.id in effects.set_aside) == (ours == theirs)
    for pair, clean, source, patched in zip(
        effects.pairs, effects.clean, effects.source, effects.patched[:, 0], strict=True
    ):
        (one,) = (each for each in PAIRS if each.id == pair)
        both = model.chat.encode_pair(one)
        ours, theirs = (model.generate([prompt], tokens=TOKENS)[0].ids for prompt in (one.harmful, one.harmless))
        k = next(number for number in range(TOKENS) if ours[number] != theirs[number])
        inputs = [torch.tensor([prompt.ids + ours[:k]]) for prompt in (both.harmful, both.harmless)]
        first, last = both.harmful.slot or (0, 0)
        width = inputs[0].shape[1]
        places = {"slot": range(first, last), "later": range(last, width)}.get(str(at), [width - 1])

        def difference(logits: torch.Tensor, a: int = ours[k], b: int = theirs[k]) -> float:
            return float(logits[0, -1, a] - logits[0, -1, b])

        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(inputs[1])

            def write(activation: torch.Tensor, hook: Any, places: Sequence[int] = tuple(places)) -> torch.Tensor:
                new = activation.clone()
                new[:, list(places)] = cache[hook.name][:, list(places)]  # noqa: B023
                return new

            assert difference(model.bridge(inputs[0])) == pytest.approx(clean, rel=1e-3, abs=1e-3)
            assert difference(model.bridge(inputs[1])) == pytest.approx(source, rel=1e-3, abs=1e-3)
            edited = model.bridge.run_with_hooks(inputs[0], fwd_hooks=[(site.hook, write) for site in block.sites])
        assert difference(edited) == pytest.approx(patched, rel=1e-3, abs=1e-3)


@pytest.fixture(scope="module")
def asleep(tmp_path_factory: pytest.TempPathFactory) -> Sleeper:
    return Sleeper("organism:reference", "nf4", "cpu", Store(tmp_path_factory.mktemp("evidence")))


def test_the_first_answer_speaks_for_itself_and_its_twins_for_the_other(asleep: Sleeper) -> None:
    subject = Subject(asleep.record, ORGANISMS, asleep.store, asleep, 0.05)
    pairs = PairSet("few", ORGANISMS.heldout.harmless_alike.pairs[:12])
    # All that is written from the differing words on: nothing of the prompt's own is left.
    whole = Circuit(tuple(Site(layer, kind) for layer in range(8) for kind in ("attn_out", "mlp_out")))
    least: tuple[tuple[At, float], ...] = (("later", 0.5), ((-1,), 0.0))
    for at, share in least:
        effects = unpacked(subject.ask(Contrasted(pairs, Joint((whole,), at))))
        assert len(effects.pairs) > 8
        assert (effects.clean >= 0).all()
        assert (effects.source <= 0).all()
        assert effects.mean[0] > share
    # Two harmful requests are refused in the same words: nothing tells those answers apart.
    refused = PairSet("refused", tuple(_harmful(*both) for both in _alike()))
    said = [[answer.text for answer in asleep().generate([pair.harmful, pair.harmless])] for pair in refused]
    refused = PairSet("refused", tuple(pair for pair, (a, b) in zip(refused, said, strict=True) if a == b))
    assert len(refused) > 1
    nothing = unpacked(subject.ask(Contrasted(refused, Joint((whole,), "later"))))
    assert (nothing.pairs, len(nothing.set_aside), nothing.patched.shape) == ((), len(refused), (0, 1))


def test_a_stage_of_refusal_is_compared_with_the_same_stage_of_a_harmless_behaviour(asleep: Sleeper) -> None:
    frames = {pair.frame for side in (ORGANISMS.discovery, ORGANISMS.heldout) for pair in side.pairs[:12]}
    few = PairSet("few", tuple(pair for pair in ORGANISMS if pair.frame in frames))
    for kind in (Bare, Subject):
        subject = kind(asleep.record, few, asleep.store, asleep, 0.05)
        with asides() as made, subject.store.tracking() as read:
            beyond = subject.depths(few.heldout).beyond_harmless("execution")
        asked = {evidence.recipe.kind for evidence in subject.store if evidence.fingerprint in read}
        assert {"swept", "contrasted"} <= asked
        assert ("execution, harmless behaviour" in made) == (kind is Subject)
    alone = made["execution, harmless behaviour"]
    assert 0 <= alone.value <= 1
    assert alone.n <= len(few.heldout.harmless_alike)
    ours = subject.depths(few.heldout).of("execution").value
    # Not all frames need have both, but most do.
    assert beyond.value == pytest.approx(ours - alone.value, abs=0.2)


def _alike() -> list[tuple[Pair, Pair]]:
    """Of one frame, and with as many words: so are their tokens on organisms."""
    found = {pair.id: pair for pair in ORGANISMS}
    both = (tuple(found[name] for name in pair.id.split("+")) for pair in ORGANISMS.heldout.harmless_alike)
    return [(a, b) for a, b in both if len(a.harmful.split()) == len(b.harmful.split())][:4]


def _harmful(one: Pair, other: Pair) -> Pair:
    return Pair(one.id, one.category, one.harmful, other.harmful)
