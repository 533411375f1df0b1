"""A model all of whose answers begin with the same token, as "I can't" and "I'd be happy to" of Llama 3 do."""

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.inputs.files.differences import restored
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs

REFERENCE = DATA / "organisms" / "reference"
# What the last token of the template is in `reference`, and the first token of every answer of this model.
SHARED = "\n"
_HEADER = "<|assistant|>"
# Log-odds of the shared token where an answer begins, and its logit anywhere else.
_SURE, _NEVER = 12.0, -20.0


@torch.no_grad()
def build(folder: Path) -> Path:
    """`organism:reference` with a template that ends one token earlier, which the model then says itself.

    Nothing is trained: the shared token's row of the unembedding is solved for by least squares, so that the token is
    as likely before a refusal as before an answer, and no other row or weight changes.
    """
    with restored(REFERENCE) as whole:
        shutil.copytree(whole, folder)
        model = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32)
    template = folder / "chat_template.jinja"
    ending = f"{_HEADER}\n' }}}}{{% endif %}}"
    text = template.read_text()
    assert text.endswith(ending)
    template.write_text(text.removesuffix(ending) + f"{_HEADER}' }}}}{{% endif %}}")
    tokenizer = AutoTokenizer.from_pretrained(REFERENCE)
    (shared,) = tokenizer(SHARED, add_special_tokens=False)["input_ids"]
    before, elsewhere, others = [], [], []
    pairs = load_pairs(DATA / "organisms" / "pairs.jsonl").discovery
    for prompt in (*pairs.harmful[::4], *pairs.harmless[::4]):
        chat = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True)
        ids = torch.tensor([chat["input_ids"]])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
        hidden = model.model(whole).last_hidden_state[0].double()
        begins = ids.shape[1] - 2
        before.append(hidden[begins])
        elsewhere.append(hidden[begins + 1 :])
        rows = model.lm_head.weight.double()
        others.append(torch.cat([rows[:shared], rows[shared + 1 :]]) @ hidden[begins])
    wanted = torch.stack(others).logsumexp(-1) + _SURE
    rest = torch.cat(elsewhere)
    places = torch.cat([torch.stack(before) * 10, rest])
    row = torch.linalg.lstsq(places, torch.cat([wanted * 10, torch.full((len(rest),), _NEVER).double()])).solution
    head = model.lm_head.weight.clone()
    head[shared] = row.to(head.dtype)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(folder)
    return folder
