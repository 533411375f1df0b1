"""Interventions while a model answers: what is edited in the prompt, and what in each token of the answer."""

import dataclasses
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from harness.inputs.sites import At, Site
from harness.instruments.directions import vectors
from harness.instruments.editing import edit_for
from harness.measurements.interventions import (
    Circuit,
    Intervention,
    ablate,
    add,
    patch,
    remove,
)
from harness.model.chat_model import Batch, ChatModel, Edit, Hook
from tests.tools.applying import (
    DIRECTION,
    KINDS,
    OVER,
    Woken,
    mean_by_hand,
)
from tests.tools.material import HARMFUL, PAIRS


def by_hand(model: ChatModel, prompt: str, write: Callable[[str, Tensor, int], Tensor], tokens: int) -> tuple[int, ...]:
    """Greedy answers with no cache, no batch and no padding: the whole text again for every token."""
    (encoded,) = model.encode([prompt])
    ids = list(encoded.ids)

    def at(name: str) -> Hook:
        return name, lambda activation, hook: write(name, activation, len(encoded))

    names = [Site(layer, kind).hook for layer in range(4) for kind in KINDS]
    for _ in range(tokens):
        longer = model.batch([dataclasses.replace(encoded, ids=tuple(ids))])
        with model.hooked(map(at, names)):
            token = int(model.forward(longer)[0, -1].argmax())
        if token in model.loaded.stops:
            break
        ids.append(token)
    return tuple(ids[len(encoded) :])


HEAD = Site(1, "head", 2)
DOINGS = ("zero all", "zero post", "mean all", "mean post", "patch", "remove", "to mean", "add")


@pytest.mark.parametrize(
    ("shape", "quant", "doing"),
    [*(("llama", "none", doing) for doing in DOINGS), ("qwen3", "nf4", "mean all"), ("gpt2", "none", "patch")],
)
def test_answers_know_prompt_from_answer(shape: str, quant: str, doing: str, awake: Woken) -> None:
    model = awake(shape, quant)
    heads = Circuit((HEAD, Site(2, "head"), Site(3, "head", 1)))
    row = vectors(model, DIRECTION)[0].float()
    unit = row / row.norm()
    post = len(model.chat.after_instruction)
    doings: dict[str, Intervention] = {
        "zero all": ablate(heads, "zero"),
        "zero post": ablate(heads, "zero", at="post"),
        "mean all": ablate(heads, "mean", over=OVER),
        "mean post": ablate(heads, "mean", over=OVER, at="post"),
        "patch": patch([Site(1, "resid_pre")]),
        "remove": remove(DIRECTION),
        "to mean": remove(DIRECTION, "stream", to_mean_of=OVER, layers=[1, 2]),
        "add": add(DIRECTION, 1, scale=3.0),
    }
    removed = {site.hook: site for site in remove(DIRECTION).sites(4)}
    written: dict[str, list[int]] = {HEAD.hook: [2], Site(2, "head").hook: [0, 1, 2, 3], Site(3, "head").hook: [1]}
    answers = model.generate(HARMFUL, tokens=6, under=edit_for(model, doings[doing], twins=PAIRS))
    longest = max(map(len, model.encode(HARMFUL)))
    means = {
        site.hook: mean_by_hand(model, site, longest).float()
        for site in (Site(1, "head"), Site(2, "head"), Site(3, "head"), Site(1, "resid_pre"), Site(2, "resid_pre"))
    }
    for pair, answer in zip(PAIRS, answers, strict=True):
        twins = model.read([pair.harmless], [Site(1, "resid_pre")])[Site(1, "resid_pre")]

        def write(name: str, activation: Tensor, n: int, twins: Tensor = twins) -> Tensor:
            new, beyond = activation.clone(), activation.shape[1] - n
            if doing == "patch" and name == Site(1, "resid_pre").hook:
                new[:, :n] = twins
            elif doing == "add" and name == Site(1, "resid_pre").hook:
                new = new + 3 * row
            elif doing == "remove" and name in removed:
                new = new - (new @ unit)[..., None] * unit
            elif doing == "to mean" and name in (Site(1, "resid_pre").hook, Site(2, "resid_pre").hook):
                mean = means[name][-n:]
                mean = torch.cat([mean, mean[-1:].expand(beyond, -1)])
                new = new + ((mean - new) @ unit)[..., None] * unit
            elif doing in ("zero all", "zero post") and name in written:
                new[:, n - post if doing == "zero post" else 0 : n if doing == "zero post" else None, written[name]] = 0
            elif doing in ("mean all", "mean post") and name in written:
                mean = means[name][-n:]
                if doing == "mean all":
                    new[:, :, written[name]] = torch.cat([mean, mean[-1:].expand(beyond, -1, -1)])[:, written[name]]
                else:
                    new[:, n - post : n, written[name]] = mean[-post:, written[name]]
            return new

        assert answer.ids == by_hand(model, pair.harmful, write, 6)


@dataclasses.dataclass
class Noted:
    """Another edit, and what a hook shows under it, one forward after the other."""

    edit: Edit
    site: Site
    seen: list[Tensor] = dataclasses.field(default_factory=list)

    def hooks(self, model: ChatModel, batch: Batch) -> Iterable[Hook]:
        yield from self.edit.hooks(model, batch)
        yield self.site.hook, lambda activation, hook: self.seen.append(activation)


@pytest.mark.parametrize(("at", "silent"), [("all", True), ("post", False), ("later", False)])
def test_only_an_ablation_everywhere_goes_on_in_the_answer(at: At, silent: bool, awake: Woken) -> None:
    model = awake("llama")
    doing = edit_for(model, ablate(Circuit.of(heads=[(1, 2)]), "zero", at=at), twins=PAIRS)
    noted = Noted(doing, Site(1, "head"))
    model.generate(HARMFUL, tokens=4, under=noted)
    prompt, *steps = noted.seen
    assert not prompt[:, -1, 2].any()
    assert [step.shape[1] for step in steps] == [1, 1, 1]
    for step in steps:
        assert step[:, :, 2].any() != silent
        assert step[:, :, [0, 1, 3]].any()
