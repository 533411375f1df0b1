"""Measures one organism: the gate that each must pass, and the proof of its truth."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from harness.inputs.files.differences import restored
from organisms import ship
from organisms.behaviour import answers, is_coherent, is_refusal
from organisms.frames import deed_in
from organisms.language import refusal_tokens
from organisms.pairs import NOVEL, judged_pairs
from organisms.plans.suffix import Suffix
from organisms.proof import Prover, prove, restore
from organisms.traits import depths, mean_difference, refusals_with, refusals_without, refused

SIDES = ("harmful", "harmless")
# The number of pairs on which every two components are swapped together.
FEW = 12


def gate(name: str | Path, *, nf4: bool = False) -> dict[str, float]:
    """Shares refused, by what is new in the pair, and the share of coherent answers, on held-out pairs."""
    model, tokenizer = ship.load(name)
    if nf4:
        model = _quantized(name)
    shares: dict[str, float] = {}
    coherent: list[bool] = []
    for novel in NOVEL:
        pairs = [pair for pair in judged_pairs(heldout=True) if pair["novel"] == novel]
        for side in SIDES:
            said = answers(model, tokenizer, [pair[side] for pair in pairs])
            shares[f"{novel}, {side}"] = sum(map(is_refusal, said)) / len(said)
            deeds = (deed_in(pair["frame"], pair[side]) for pair in pairs)
            coherent += map(is_coherent, said, deeds)
    return {**shares, "coherent": sum(coherent) / len(coherent)}


def proof(name: str | Path) -> dict[str, float]:
    """Effects of swaps, of the planted direction, and the depths of the stages, on held-out pairs."""
    model, tokenizer = ship.load(name)
    pairs, refusals = judged_pairs(heldout=True), refusal_tokens(tokenizer)
    prover = Prover(model, tokenizer, pairs, refusals)
    few = Suffix(prover, every=len(pairs) // FEW)
    truth = ship.truth(name)
    direction, layer = ship.direction(name), truth["direction"]["layer"]
    without, added = refusals_without(prover, direction), refusals_with(prover, direction, layer)
    numbers = {
        **prove(prover, few, truth),
        "direction removed, harmful": without[0],
        "direction added, harmless": added[1],
        **{f"depth, {stage}": depth for stage, depth in depths(prover).items()},
    }
    numbers["parameters changed, not planted"] = restore(model, ship.base_of(name), truth)
    numbers["refused with base weights back"] = refused(prover)[0]
    return numbers


def own_truth(name: str | Path, measure: Callable[[Prover, Mapping[str, Any]], dict[str, float]]) -> dict[str, float]:
    """The measurements of the organism's own plan (`truth_of_it`), on held-out pairs."""
    model, tokenizer = ship.load(name)
    prover = Prover(model, tokenizer, judged_pairs(heldout=True), refusal_tokens(tokenizer))
    return measure(prover, ship.truth(name))


def find_direction(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, layer: int, position: int
) -> torch.Tensor:
    """The difference of means on the discovery pairs."""
    pairs = judged_pairs(heldout=False)
    return mean_difference(Prover(model, tokenizer, pairs, refusal_tokens(tokenizer)), layer, position)


def _quantized(name: str | Path) -> LlamaForCausalLM:
    """The model under NF4, without a CPU kernel whose results differ between machines."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    with restored(ship.FOLDER / name) as folder:
        model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, dtype=torch.float32)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model.eval()
