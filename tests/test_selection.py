"""The published choice of a direction, against the procedure written out with plain hooks on the unwrapped model."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from harness.claims.claim import claim_named
from harness.inputs.files.differences import restored
from harness.inputs.model_catalog import find
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.instruments.direction_selection import MAX_KL, MIN_INDUCED, TIE, Prompts, Selection, select
from harness.instruments.directions import vectors
from harness.measurements.evidence import Evidence
from harness.measurements.questions import Measurement
from harness.measurements.questions.searches import LAYERS
from harness.model.chat_model import ChatModel
from harness.model.refusal_score import refusal_tokens
from harness.model.wake import wake
from harness.subjects.synthetic import Synthetic, Truth

ORGANISM = "organism:reference"


@pytest.fixture(scope="module")
def model() -> Iterator[ChatModel]:
    woken = wake(ORGANISM, quant="none", device="cpu")
    yield woken
    woken.close()


@pytest.fixture(scope="module")
def pairs() -> PairSet:
    return load_pairs(find(ORGANISM).pairs).discovery


@pytest.fixture(scope="module")
def parts(pairs: PairSet) -> tuple[Prompts, Prompts]:
    few = pairs.pairs[:48]
    train, validation = few[:32], few[32:]
    return (
        Prompts(tuple(pair.harmful for pair in train), tuple(pair.harmless for pair in train)),
        Prompts(tuple(one.harmful for one in validation), tuple(one.harmless for one in validation)),
    )


@pytest.fixture(scope="module")
def tokens(model: ChatModel, pairs: PairSet) -> tuple[int, ...]:
    return refusal_tokens(model, PairSet("few", pairs.pairs[:40]))


@pytest.fixture(scope="module")
def lazy(model: ChatModel, parts: tuple[Prompts, Prompts], tokens: tuple[int, ...]) -> Selection:
    return select(model, *parts, tokens)


@pytest.fixture(scope="module")
def whole(model: ChatModel, parts: tuple[Prompts, Prompts], tokens: tuple[int, ...]) -> Selection:
    """Every score of every candidate."""
    return select(model, *parts, tokens, lazily=False)


class Published:
    """Whole forwards of an unwrapped copy, one prompt at a time, with hooks on its modules."""

    def __init__(self, model: ChatModel, tokens: tuple[int, ...]) -> None:
        assert model.known.folder is not None
        with restored(model.known.folder) as folder:
            self.hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.chat, self.tokens = model.chat, list(tokens)

    def last(self, prompts: tuple[str, ...]) -> Tensor:
        with torch.no_grad():
            ids = [torch.tensor([self.chat.encode(prompt).ids]) for prompt in prompts]
            return torch.stack([self.hf(row).logits[0, -1].double() for row in ids])

    def odds(self, prompts: tuple[str, ...]) -> float:
        p = self.last(prompts).softmax(-1)[:, self.tokens].sum(-1)
        return float((p.log() - (1 - p).log()).mean())

    def difference(self, kept: Prompts, layer: int, position: int) -> Tensor:
        means = []
        for prompts in (kept.harmful, kept.harmless):
            streams = []
            for prompt in prompts:
                ids = torch.tensor([self.chat.encode(prompt).ids])
                with torch.no_grad():
                    streams.append(self.hf(ids, output_hidden_states=True).hidden_states[layer][0, position].double())
            means.append(torch.stack(streams).mean(0))
        return (means[0] - means[1]).float()

    @contextmanager
    def without(self, direction: Tensor) -> Iterator[None]:
        unit = direction / direction.norm()

        def kept(stream: Tensor) -> Any:
            return stream - (stream @ unit)[..., None] * unit

        with ExitStack() as stack:
            for block in self.hf.model.layers:
                for handle in (
                    block.register_forward_pre_hook(lambda _, args: (kept(args[0]), *args[1:])),
                    block.self_attn.register_forward_hook(lambda _, __, out: (kept(out[0]), *out[1:])),
                    block.mlp.register_forward_hook(lambda _, __, out: kept(out)),
                ):
                    stack.callback(handle.remove)
            yield

    @contextmanager
    def added(self, direction: Tensor, layer: int) -> Iterator[None]:
        block = self.hf.model.layers[layer]
        handle = block.register_forward_pre_hook(lambda _, args: (args[0] + direction, *args[1:]))
        yield
        handle.remove()


@pytest.mark.slow
def test_every_score_is_the_one_of_the_procedure_written_out(
    model: ChatModel, parts: tuple[Prompts, Prompts], tokens: tuple[int, ...], whole: Selection
) -> None:
    _, validation = parts
    plain = Published(model, tokens)
    clean = plain.last(validation.harmless).log_softmax(-1)
    positions = len(model.chat.after_instruction)
    # What enters the first block there is the same for all prompts.
    assert len(whole.candidates) == (int(model.sizes.layers * LAYERS) - 1) * positions
    for candidate in whole.candidates[1::5]:
        direction = plain.difference(whole.train, candidate.layer, candidate.position)
        with plain.added(direction, candidate.layer):
            assert candidate.induced == pytest.approx(plain.odds(validation.harmless), abs=2e-3)
        with plain.without(direction):
            assert candidate.bypassed == pytest.approx(plain.odds(validation.harmful), abs=2e-3)
            moved = (clean.exp() * (clean - plain.last(validation.harmless).log_softmax(-1))).sum(-1).mean()
            assert candidate.kl == pytest.approx(float(moved), abs=1e-3)


def test_leaving_out_what_is_not_needed_changes_no_choice(lazy: Selection, whole: Selection) -> None:
    assert (lazy.chosen is None) == (whole.chosen is None)
    if whole.chosen is not None and lazy.chosen is not None:
        assert (lazy.chosen.layer, lazy.chosen.position) == (whole.chosen.layer, whole.chosen.position)
    measured = sum(candidate.kl is not None for candidate in lazy.candidates)
    assert measured < sum(one.kl is not None for one in whole.candidates)


def test_the_choice_keeps_the_published_filters(lazy: Selection, model: ChatModel) -> None:
    chosen = lazy.chosen
    assert chosen is not None, lazy.reason
    assert chosen.layer < model.sizes.layers * LAYERS
    assert chosen.kl is not None
    assert chosen.kl <= MAX_KL
    assert chosen.induced is not None
    assert chosen.induced >= MIN_INDUCED
    assert chosen.bypassed is not None
    for candidate in lazy.candidates:
        if candidate.bypassed is not None and candidate.bypassed < chosen.bypassed:
            assert candidate.kl is not None
            assert candidate.kl > MAX_KL
    for tie in lazy.ties:
        assert tie.bypassed is not None
        assert tie.bypassed <= chosen.bypassed + TIE


def test_the_planted_direction_is_found(lazy: Selection, model: ChatModel) -> None:
    assert model.known.folder is not None
    assert lazy.direction is not None
    planted = load_file(model.known.folder / "direction.safetensors")["direction"]
    direction = vectors(model, lazy.direction)[0]
    assert torch.cosine_similarity(direction, planted.double(), dim=0) > 0.9


ADDED = r"gives harmless prompts log-odds of refusing of -?\d+\.\d\d when added \(at least 50\)"
REMOVED = r"changes harmless prompts by 0\.\d\d nats when removed \(at most -1\)"


@pytest.mark.parametrize(
    ("limits", "said"), [({"MAX_KL": -1.0, "MIN_INDUCED": -50.0}, REMOVED), ({"MIN_INDUCED": 50.0}, ADDED)]
)
def test_no_valid_direction_is_an_answer_and_says_how_near_it_came(
    model: ChatModel,
    parts: tuple[Prompts, Prompts],
    tokens: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, float],
    said: str,
) -> None:
    for limit, value in limits.items():
        monkeypatch.setattr(f"harness.instruments.direction_selection.{limit}", value)
    selection = select(model, *parts, tokens)
    assert selection.chosen is None
    assert selection.direction is None
    left = [candidate.bypassed for candidate in selection.candidates if candidate.bypassed is not None]
    assert len(left) == len(selection.candidates)
    nearest = selection.fallback
    assert nearest is not None
    assert nearest.bypassed == min(left)
    place = f"of layer {nearest.layer} and position {nearest.position}"
    assert re.fullmatch(f"no candidate is valid: the nearest, {place}, {said}", selection.reason)


def test_a_model_that_refuses_nothing_has_no_direction(
    model: ChatModel, parts: tuple[Prompts, Prompts], awake: Callable[..., ChatModel]
) -> None:
    unlikely = int(awake("llama").next_token(["hello"])[0].argmin())
    selection = select(awake("llama"), *parts, (unlikely,))
    assert "refuses no harmful training prompt" in selection.reason


class Excluded(Synthetic):
    """A study in which no candidate passes the filters."""

    def seek(self, question: Measurement) -> Evidence:
        kept = super().seek(question)
        return (
            replace(kept, values={**kept.values, "valid": False, "reason": "so near"})
            if "valid" in kept.values
            else kept
        )


@pytest.mark.parametrize(
    "name", ["direction-necessity", "direction-sufficiency", "removal-specificity", "addition-specificity", "growth"]
)
def test_a_direction_that_the_filters_exclude_can_refute_a_claim_and_not_support_it(name: str) -> None:
    made = claim_named(name)
    for strong, expected in ((True, "SUPPORTED"), (False, "REFUTED")):
        truth = Truth((0.9, 0.0) if strong else (0.0, 0.0), noise=0.05)
        valid, excluded = (kind(truth, 120, 1, 0.01) for kind in (Synthetic, Excluded))
        assert made.judge(valid, valid.all_pairs)[0] == expected
        outcome, reason = made.judge(excluded, excluded.all_pairs)
        assert outcome == ("INCONCLUSIVE" if strong else "REFUTED")
        assert ("the published filters exclude it: so near; " in reason) == strong
