"""Patches each of the 64 heads with pyvene; `python -m benchmarks peers` runs this file in pyvene's environment."""

import json
import sys
import time
from importlib.metadata import version

import pyvene
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

folder, given = sys.argv[1:]
torch.set_num_threads(1)
work = load_file(given)
hf = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
layers, heads = hf.config.num_hidden_layers, hf.config.num_attention_heads
tokens = work["tokens"].tolist()
rows, width = work["prompts"].shape
base, twins = {"input_ids": work["prompts"]}, {"input_ids": work["twins"]}


def odds(last):
    """Log-odds that the answer begins with one of the tokens, computed as in Assay."""
    refuse = last[:, tokens].logsumexp(-1)
    last = last.clone()
    last[:, tokens] = -torch.inf
    return refuse - last.logsumexp(-1)


def all_patches():
    """The log-odds under every patch; pyvene runs the twins again for each."""
    patched_odds = torch.empty(rows, layers, heads)
    with torch.no_grad():
        for layer in range(layers):
            config = pyvene.IntervenableConfig(
                [
                    {
                        "layer": layer,
                        "component": "head_attention_value_output",
                        "unit": "h.pos",
                        "intervention_type": pyvene.VanillaIntervention,
                    }
                ]
            )
            model = pyvene.IntervenableModel(config, hf)
            for head in range(heads):
                where = [[[[head]] * rows, [[width - 1]] * rows]]
                _, patched = model(base, [twins], {"sources->base": (where, where)})
                patched_odds[:, layer, head] = odds(patched.logits[:, -1])
    return patched_odds


began = time.process_time()
result = all_patches()
seconds = time.process_time() - began
apart = (result - work["patched"]).abs().max().item()
print(json.dumps({"version": version("pyvene"), "seconds": seconds, "max_abs_diff": apart}))
