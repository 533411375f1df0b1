"""Patches each of the 64 heads with nnsight; `python -m benchmarks peers` runs this file in nnsight's environment."""

import json
import sys
import time

import nnsight
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

folder, given = sys.argv[1:]
torch.set_num_threads(1)
work = load_file(given)
hf = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
model = nnsight.NNsight(hf)
size, layers, heads = hf.config.head_dim, hf.config.num_hidden_layers, hf.config.num_attention_heads
tokens = work["tokens"].tolist()


def odds(last):
    """Log-odds that the answer begins with one of the tokens, computed as in Assay."""
    refuse = last[:, tokens].logsumexp(-1)
    last = last.clone()
    last[:, tokens] = -torch.inf
    return refuse - last.logsumexp(-1)


def all_patches():
    """The log-odds under every patch; the twins are run once."""
    patched_odds = torch.empty(len(work["prompts"]), layers, heads)
    with torch.no_grad():
        with model.trace(work["twins"]):
            written = nnsight.save([layer.self_attn.o_proj.input for layer in model.model.layers])
        for number in range(layers):
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                source = written[number][:, -1, part]
                with model.trace(work["prompts"]):
                    model.model.layers[number].self_attn.o_proj.input[:, -1, part] = source
                    last = nnsight.save(model.lm_head.output[:, -1])
                patched_odds[:, number, head] = odds(last)
    return patched_odds


began = time.process_time()
result = all_patches()
seconds = time.process_time() - began
apart = (result - work["patched"]).abs().max().item()
print(json.dumps({"version": nnsight.__version__, "seconds": seconds, "max_abs_diff": apart}))
