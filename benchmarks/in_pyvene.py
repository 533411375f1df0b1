"""Run by `python -m benchmarks peers` in pyvene's environment: the 64 head patches by pyvene."""

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
    """Log-odds of beginning with one of the tokens, as Assay's."""
    refuse = last[:, tokens].logsumexp(-1)
    last = last.clone()
    last[:, tokens] = -torch.inf
    return refuse - last.logsumexp(-1)


def all_patches():
    """Everything; pyvene runs the source again for every patch."""
    found = torch.empty(rows, layers, heads)
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
                found[:, layer, head] = odds(patched.logits[:, -1])
    return found


began = time.process_time()
result = all_patches()
seconds = time.process_time() - began
apart = (result - work["patched"]).abs().max().item()
print(json.dumps({"version": version("pyvene"), "seconds": seconds, "max_abs_diff": apart}))
