"""Wakes a chat model: found, loaded, wrapped and examined, or refused in one sentence."""

import time
from dataclasses import dataclass

from harness.catalog import Device, Quant, find
from harness.chat import ChatModel
from harness.examination import Examination, examine, reference_logits, require, sample
from harness.loading import load, peak_bytes
from harness.pairs import load_pairs
from harness.tokens import TEMPLATE_ARGUMENTS, ChatFormat


@dataclass(frozen=True)
class Awake:
    """A model that may be believed, with the proof and the price of waking it."""

    chat: ChatModel
    examination: Examination
    seconds: float
    peak_bytes: int


def wake(name: str, *, quant: Quant = "nf4", device: Device = "auto", system: str | None = None) -> Awake:
    """The model of that name (alias, hub id, folder or organism), examined; unfit ones are refused."""
    began = time.perf_counter()
    known = find(name)
    loaded = load(known, quant=quant, device=device)
    arguments = dict(TEMPLATE_ARGUMENTS) | known.chat_arguments
    chat = ChatFormat(loaded.tokenizer, name=name, arguments=arguments, system=system)
    prompts = [chat.encode(prompt) for prompt in sample(load_pairs(known.pairs))]
    # Wrapping works in place, so what the model says by itself has to be heard before.
    reference = reference_logits(loaded.hf, prompts)
    model = ChatModel(name, loaded, chat)
    examination = examine(model, prompts, reference)
    require(name, examination)
    return Awake(model, examination, time.perf_counter() - began, peak_bytes(loaded.device))
