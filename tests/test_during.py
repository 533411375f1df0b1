"""What holds in the prompt alone and what goes on in the answer: against hooks by hand on the whole text, no cache."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from harness.inputs.sites import Site
from harness.instruments.directions import vectors
from harness.instruments.editing import edit_for
from harness.measurements.interventions import Circuit, Direction, Intervention, ablate, add, patch, remove
from harness.model.chat_model import Batch, ChatModel, Completion, Edit, Hook
from tests.tools.material import HARMFUL, HARMLESS, PAIRS, off

DIRECTION = Direction("difference", 2, -1, tuple(HARMFUL), tuple(HARMLESS))
HEAD, PRE, MID, OUT = Site(1, "head", 2), Site(1, "resid_pre"), Site(1, "resid_mid"), Site(1, "attn_out")
END, TOKENS = Site(3, "resid_post"), 5
HEADS = Circuit((HEAD, Site(2, "head")))

# Under each name: as by default, and the other way.
DOINGS: dict[str, tuple[Intervention, Intervention]] = {
    "patch": (patch([PRE]), patch([PRE], during="answer")),
    "patch a head at the end": (patch([HEAD], "post"), patch([HEAD], "post", during="answer")),
    "patch at the last token": (
        patch([replace(OUT, position=-1)]),
        patch([replace(OUT, position=-1)], during="answer"),
    ),
    "patch the middle": (patch([MID], "post"), patch([MID], "post", during="answer")),
    "zero": (ablate(HEADS, "zero"), ablate(HEADS, "zero", during="prompt")),
    "zero at the end": (ablate(HEADS, "zero", at="post"), ablate(HEADS, "zero", at="post", during="answer")),
    "mean at the end": (
        ablate(HEADS, "mean", over=HARMLESS[:1], at="post"),
        ablate(HEADS, "mean", over=HARMLESS[:1], at="post", during="answer"),
    ),
    "remove": (remove(DIRECTION), remove(DIRECTION, during="prompt")),
    "remove to the mean": (
        remove(DIRECTION, "stream", to_mean_of=HARMLESS[:1], layers=[1]),
        remove(DIRECTION, "stream", to_mean_of=HARMLESS[:1], layers=[1], during="prompt"),
    ),
    "add": (add(DIRECTION, 1, scale=3.0), add(DIRECTION, 1, scale=3.0, during="prompt")),
}
CASES = [("llama", "none", name) for name in DOINGS]
CASES += [
    ("gemma2", "none", "patch the middle"),
    ("qwen3", "nf4", "mean at the end"),
    ("gpt2", "none", "patch a head at the end"),
    ("phi3", "none", "remove"),
]


@dataclass
class Noted:
    """Another edit, and the stream's end at the last token, one forward after the other."""

    edit: Edit
    rows: tuple[int, ...] = ()
    seen: list[Tensor] = field(default_factory=list)

    def hooks(self, model: ChatModel, batch: Batch) -> Iterable[Hook]:
        self.rows = batch.rows
        yield from self.edit.hooks(model, batch)
        yield END.hook, lambda activation, hook: self.seen.append(activation[:, -1])


def generated(model: ChatModel, doing: Intervention) -> tuple[list[Completion], Tensor]:
    """Answers to all prompts in one batch, and the stream's end from which each of their tokens was chosen."""
    noted = Noted(edit_for(model, doing, twins=PAIRS))
    answers = model.generate(HARMFUL, tokens=TOKENS, under=noted)
    assert len(noted.rows) == len(HARMFUL) == len({len(prompt) for prompt in model.encode(HARMFUL)})
    streams = torch.stack(noted.seen, 1).float()
    return answers, streams[[noted.rows.index(row) for row in range(len(HARMFUL))]]


def by_hand(model: ChatModel, doing: Intervention, name: str, row: int, said: tuple[int, ...]) -> Tensor:
    """The stream's end at the prompt's last token and at each token said, of one prompt alone in one run."""
    twins = {site.hook: model.read([HARMLESS[row]], [site])[site][0] for site in (PRE, Site(1, "head"), MID, OUT)}
    mean = {site.hook: model.read(HARMLESS[:1], [site])[site][0] for site in (PRE, Site(1, "head"), Site(2, "head"))}
    (encoded,) = model.encode([HARMFUL[row]])
    length, entered = len(encoded), list[Tensor]()
    post, added = len(model.chat.after_instruction), vectors(model, DIRECTION)[0].float()
    unit = added / added.norm()
    answering: bool = vars(doing)["during"] == "answer" or (
        vars(doing)["during"] is None and name in ("zero", "remove", "remove to the mean", "add")
    )
    first = {"patch": 0, "patch at the last token": length - 1, "zero": 0}.get(name, length - post)
    until = length + len(said) if answering else length

    def from_end(values: Tensor) -> Tensor:
        """At every position from the first on, counted from the prompt's end; beyond it, what is at its end."""
        places = [min(position - length, -1) for position in range(first, until)]
        # Earlier than any prompt they were taken of: the earliest.
        return values[[max(place, -len(values)) for place in places]].to(torch.float32)

    def write(hook: str, activation: Tensor) -> Tensor:
        new = activation.clone().float()
        if hook == PRE.hook:
            entered[:] = [new]
        if name == "patch" and hook == PRE.hook:
            new[:, first:until] = from_end(twins[hook])
        elif name == "patch a head at the end" and hook == HEAD.hook:
            new[:, first:until, 2] = from_end(twins[hook])[:, 2]
        elif name == "patch at the last token" and hook == OUT.hook:
            new[:, first:until] = from_end(twins[hook])
        elif name == "patch the middle" and hook == OUT.hook:
            new[:, first:until] = from_end(twins[MID.hook]) - entered[0][:, first:until]
        elif name in ("zero", "zero at the end", "mean at the end") and hook in (HEAD.hook, Site(2, "head").hook):
            chosen = [2] if hook == HEAD.hook else [0, 1, 2, 3]
            values = from_end(mean[hook])[:, chosen] if name == "mean at the end" else 0.0
            new[:, first:until, chosen] = values
        elif name == "remove" and hook in {site.hook for site in remove(DIRECTION).sites(4)}:
            new[:, :until] -= (new[:, :until] @ unit)[..., None] * unit
        elif name == "remove to the mean" and hook == PRE.hook:
            places = [max(min(position - length, -1), -len(mean[hook])) for position in range(until)]
            new[:, :until] += ((mean[hook][places] - new[:, :until]) @ unit)[..., None] * unit
        elif name == "add" and hook == PRE.hook:
            new[:, :until] += 3 * added
        return new.to(activation.dtype)

    def at(name: str) -> Hook:
        return name, lambda activation, hook: write(name, activation)

    seen: list[Tensor] = []
    sites = {PRE, OUT, HEAD, Site(2, "head"), *remove(DIRECTION).sites(4)}
    hooks = [at(hook) for hook in sorted({site.hook for site in sites}, key=lambda hook: "resid_pre" not in hook)]
    whole = model.batch([replace(encoded, ids=(*encoded.ids, *said))])
    with model.hooked([*hooks, (END.hook, lambda activation, hook: seen.append(activation))]):
        model.forward(whole)
    return seen[0][0, length - 1 :].float()


@pytest.mark.parametrize(("shape", "quant", "name"), CASES)
def test_answers_are_those_of_hooks_by_hand(shape: str, quant: str, name: str, awake: Callable[..., ChatModel]) -> None:
    model = awake(shape, quant)
    streams = []
    for doing in DOINGS[name]:
        answers, ours = generated(model, doing)
        streams.append(ours)
        for row, answer in enumerate(answers):
            # Each token that was said is read in turn, the last one is not.
            theirs = by_hand(model, doing, name, row, answer.ids[: ours.shape[1] - 1])
            assert len(theirs) >= min(2, TOKENS)
            assert off(ours[row, : len(theirs)], theirs) < 1e-4, (row, doing)
    # Both see the same prompt, and differ in the answer.
    assert torch.equal(streams[0][:, 0], streams[1][:, 0])
    assert off(streams[0][:, 1], streams[1][:, 1]) > 1e-4


def test_one_prompt_alone_or_in_a_batch_holds_alike(awake: Callable[..., ChatModel]) -> None:
    model = awake("llama")
    for _, doing in DOINGS.values():
        together = [
            answer.ids for answer in model.generate(HARMFUL, tokens=4, under=edit_for(model, doing, twins=PAIRS))
        ]
        alone = [
            model.generate([pair.harmful], tokens=4, under=edit_for(model, doing, twins=[pair]))[0].ids
            for pair in PAIRS
        ]
        assert together == alone
