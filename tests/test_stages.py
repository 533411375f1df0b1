"""Stages of refusal against the same stages of a harmless behaviour: by law, by draws, and in plain forwards."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.claims.claim import claim_named
from harness.inputs.files.differences import restored
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import Pair, PairSet
from harness.judging.estimate import Inconclusive, Outcome, Refuted
from harness.measurements.effects import Effects
from harness.measurements.effects_evidence import packed
from harness.measurements.evidence import Evidence, Store
from harness.measurements.questions import Contrasted
from harness.measurements.sweep_plan import Sweep
from harness.subjects.live import Bare
from harness.subjects.quantities.depths import Stage
from harness.subjects.sleeper import Sleeper
from harness.subjects.synthetic import Synthetic, Truth
from tests.tools.given import RECIPE, Given, pairs_of
from tests.tools.studies import STAGES

PAIRS = pairs_of(*"a" * 24, template=4)
share = st.floats(0.0, 0.5, width=32)


class Compared(Given):
    """A subject whose patches close these shares of refusal's gap, and those of a harmless behaviour's."""

    def __init__(self, pairs: PairSet, refusal: list[float], harmless: list[float]) -> None:
        super().__init__(pairs, change=lambda what: self._closed(what, refusal, len(pairs)))
        self._harmless = harmless

    def ask(self, question: Any) -> Evidence:
        if not isinstance(question, Contrasted):
            return super().ask(question)
        shares, n = self._closed(question.what, self._harmless, len(question.pairs)), len(question.pairs)
        axes = {f"axis {number}": tuple(map(str, range(size))) for number, size in enumerate(shares.shape[1:])}
        ids, sides = tuple(pair.id for pair in question.pairs), np.full(n, 5.0)
        return Evidence(RECIPE, *packed(Effects(ids, (), axes, 5 - 10 * shares, 0 * shares, sides, -sides)))

    @staticmethod
    def _closed(what: Any, shares: list[float], n: int) -> np.ndarray:
        """The first share at the words; the next four by sets of MLPs, all and directly; the last by late blocks."""
        if isinstance(what, Sweep):
            return np.full((n, 1, 1), shares[0])
        return np.tile(shares[5:] if len(what.circuits) == 1 else shares[3:5] if what.direct else shares[1:3], (n, 1))


@given(st.lists(share, min_size=6, max_size=6))
def test_a_behaviour_is_nothing_beyond_itself(shares: list[float]) -> None:
    depths = Compared(PAIRS, shares, shares).depths(PAIRS)
    for stage in STAGES:
        assert depths.beyond_harmless(stage).value == pytest.approx(0, abs=1e-6)


@given(st.lists(share, min_size=6, max_size=6), st.lists(share, min_size=6, max_size=6))
def test_what_one_behaviour_has_beyond_another_is_what_the_other_lacks(ours: list[float], theirs: list[float]) -> None:
    one, other = Compared(PAIRS, ours, theirs).depths(PAIRS), Compared(PAIRS, theirs, ours).depths(PAIRS)
    for stage in STAGES:
        beyond = one.beyond_harmless(stage).value
        assert beyond == pytest.approx(-other.beyond_harmless(stage).value, abs=1e-6)
        assert beyond == pytest.approx(one.of(stage).value - other.of(stage).value, abs=1e-6)


def test_only_frames_with_both_behaviours_are_compared() -> None:
    # The pairs of the last frame have no two harmless prompts alike: one pair alone.
    pairs = PairSet("uneven", PAIRS.pairs[:9])
    depths = Compared(pairs, [0.5] * 6, [0.2] * 6).depths(pairs)
    assert (depths.of("execution").n, depths.beyond_harmless("execution").n) == (9, 8)
    assert depths.beyond_harmless("execution").value == pytest.approx(0.3)


def test_without_frames_there_is_nothing_to_compare_with_and_no_verdict() -> None:
    pairs = pairs_of(*"a" * 8)
    beyond = Compared(pairs, [0.5] * 6, [0.2] * 6).depths(pairs).beyond_harmless("reading")
    assert beyond.absent == "not measurable: no two harmless prompts are of one frame"
    assert (beyond > 0.05).outcome == "INCONCLUSIVE"


def outcome(name: str, refusal: float, harmless: float) -> Outcome:
    """How the claim comes out where a stage has these true values."""
    model = Synthetic(Truth((refusal, harmless), noise=0.03, template=4), 384, 0, 0.0025)
    try:
        claim_named(name).run(model=model, pairs=model.all_pairs)
    except Refuted:
        return "REFUTED"
    except Inconclusive:
        return "INCONCLUSIVE"
    return "SUPPORTED"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_a_harmless_behaviour_has_too_is_not_one_of_refusal(stage: Stage) -> None:
    assert outcome(stage, 0.9, 0.9) != "SUPPORTED"
    assert outcome(stage, 0.9, 0.3) == "SUPPORTED"
    assert outcome(stage, 0.0, 0.0) == "REFUTED"
    assert outcome(stage, 0.0, 0.9) == "REFUTED"


def test_on_an_organism_stages_are_those_of_plain_forwards(tmp_path: Path) -> None:
    asleep = Sleeper("organism:reference", "none", "cpu", Store(tmp_path))
    organisms = load_pairs(DATA / "organisms" / "pairs.jsonl")
    # One pair of each frame, so that the mean over frames is the mean over pairs.
    frames = {pair.frame: pair for pair in organisms.heldout.pairs}
    some = PairSet("some", (*organisms.discovery.pairs[::12], *list(frames.values())[::18]))
    subject = Bare(asleep.record, some, asleep.store, asleep, 0.05)
    judged = some.heldout
    assert len(set(judged.clusters)) == len(judged) == 6
    model, plain = asleep(), Plain(asleep(), judged, subject.tokens)
    layers = model.sizes.layers
    middle = [layer for layer in range(layers) if layers / 3 <= layer + 0.5 < 2 * layers / 3]
    outer = [layer for layer in range(layers) if layer not in middle]
    late = [layer for layer in outer if layer > middle[0]]
    # Nothing but the words differs at the first layer, so their stream there is all of their effect.
    reading = 1 - plain.stream_at_words(min(middle))
    through = [plain.mlps_later(which) - plain.direct(which, ("mlp",)) for which in (middle, outer)]
    written = plain.direct(late, ("self_attn", "mlp"))
    for stage, values, bounds in (
        ("reading", reading, (0, 1)),
        ("accumulation", through[0] - through[1], (-1, 1)),
        ("execution", written, (0, 1)),
    ):
        wanted = np.clip(values, *bounds).mean()
        assert subject.depths(judged).of(stage).value == pytest.approx(wanted, abs=2e-3), stage  # type: ignore[arg-type]


class Plain:
    """The same patches, pair by pair, in a forward of the Hugging Face model with hooks of its own."""

    def __init__(self, model: Any, pairs: Iterable[Pair], tokens: tuple[int, ...]) -> None:
        from transformers import AutoModelForCausalLM

        with restored(DATA / "organisms" / "reference") as folder:
            self.hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.both = [model.chat.encode_pair(pair) for pair in pairs]
        self.tokens = list(tokens)

    def stream_at_words(self, layer: int) -> np.ndarray:
        def patch(name: str, out: torch.Tensor, twin: dict[str, torch.Tensor], words: slice) -> torch.Tensor:
            return _written(out, twin[name], words)

        return self._shares({f"into.{layer}"}, patch)

    def mlps_later(self, layers: list[int]) -> np.ndarray:
        def patch(name: str, out: torch.Tensor, twin: dict[str, torch.Tensor], words: slice) -> torch.Tensor:
            return _written(out, twin[name], slice(words.stop, None))

        return self._shares({f"mlp.{layer}" for layer in layers}, patch)

    def direct(self, layers: list[int], kinds: tuple[str, ...]) -> np.ndarray:
        """The last stream with some blocks' outputs exchanged, while all others keep theirs."""
        shares = []
        for pair in self.both:
            own, twin = self._run(pair.harmful.ids), self._run(pair.harmless.ids)
            end = own["end"].clone()
            for layer in layers:
                for kind in kinds:
                    end += twin[f"{kind}.{layer}"] - own[f"{kind}.{layer}"]
            with torch.no_grad():
                odds = self._odds(self.hf.lm_head(self.hf.model.norm(end))[0, -1])
            shares.append((odds - own["odds"]) / (twin["odds"] - own["odds"]))
        return np.array([float(each) for each in shares])

    def _shares(self, sites: set[str], patch: Any) -> np.ndarray:
        shares = []
        for pair in self.both:
            own, twin = self._run(pair.harmful.ids), self._run(pair.harmless.ids)
            words = slice(*pair.harmful.slot)
            patched = self._run(pair.harmful.ids, dict.fromkeys(sites, (patch, twin, words)))
            shares.append(float((patched["odds"] - own["odds"]) / (twin["odds"] - own["odds"])))
        return np.array(shares)

    def _run(self, ids: tuple[int, ...], patches: dict[str, Any] | None = None) -> dict[str, torch.Tensor]:
        kept: dict[str, torch.Tensor] = {}
        handles = []

        def passing(name: str, value: torch.Tensor) -> torch.Tensor:
            if patches and name in patches:
                patch, twin, words = patches[name]
                value = patch(name, value, twin, words)
            kept[name] = value
            return value

        for number, block in enumerate(self.hf.model.layers):
            handles += [
                block.register_forward_pre_hook(lambda _, args, n=number: (passing(f"into.{n}", args[0]), *args[1:])),
                block.mlp.register_forward_hook(lambda _, __, out, n=number: passing(f"mlp.{n}", out)),
                block.self_attn.register_forward_hook(
                    lambda _, __, out, n=number: (passing(f"self_attn.{n}", out[0]), *out[1:])
                ),
            ]
        handles.append(self.hf.model.norm.register_forward_pre_hook(lambda _, args: (passing("end", args[0]),)))
        with torch.no_grad():
            logits = self.hf(torch.tensor([ids])).logits[0, -1]
        for handle in handles:
            handle.remove()
        return kept | {"odds": self._odds(logits)}

    def _odds(self, logits: torch.Tensor) -> torch.Tensor:
        p = logits.double().softmax(-1)[self.tokens].sum()
        return torch.log(p) - torch.log1p(-p)


def _written(out: torch.Tensor, twin: torch.Tensor, where: slice) -> torch.Tensor:
    new = out.clone()
    new[:, where] = twin[:, where]
    return new
