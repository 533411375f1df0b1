"""A model's folder that is damaged, forged or beyond all measure is refused in one sentence."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, BertLMHeadModel

from harness.inputs.errors import AssayError, Unavailable
from harness.inputs.files.bounded_process import SECONDS
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.model import config_check
from harness.model.self_examination import sample
from harness.model.wake import wake


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncated(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def missing_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def other_shape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def dropped_layer(folder: Path) -> None:
    edit_config(folder, num_hidden_layers=3)


def quantized_already(folder: Path) -> None:
    edit_config(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


def encoder_decoder(folder: Path) -> None:
    edit_config(folder, model_type="t5", architectures=["T5ForConditionalGeneration"])


def words_for_numbers(folder: Path) -> None:
    edit_config(folder, hidden_size="wide")


def empty_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def reads_ahead(folder: Path) -> None:
    """A masked language model: it continues no text, though the library has a head for it."""
    config = BertConfig(
        vocab_size=512,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        initializer_range=0.25,
    )
    config.is_decoder = False
    BertLMHeadModel(config).save_pretrained(folder)


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('remote code was run')")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def ends_at_no_token(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [[1]]}))


BROKEN: dict[Callable[[Path], None], str] = {
    ends_at_no_token: r"eos_token_id in its generation_config.json is '\[\[1\]\]'; it must be a number",
    no_template: "it has no chat template",
    pickled: "its weights are not safetensors.*save_pretrained",
    truncated: r"it cannot be used \(SafetensorError: .*its files are damaged",
    missing_weight: r"1 weights are missing.*model\.layers\.1\.mlp\.up_proj\.weight",
    other_shape: r"1 weights .*have another shape .*model\.norm\.weight",
    dropped_layer: r"9 weights .*not in the model that config.json describes .*model\.layers\.3",
    quantized_already: "its weights are already stored quantized",
    encoder_decoder: "a t5 model does not generate text",
    words_for_numbers: r"it cannot be used \(StrictDataclass.*hidden_size",
    empty_tokenizer: "holds no readable tokenizer",
    reads_ahead: "failed its self-examination .*later tokens change nothing earlier",
    no_config: "holds no config.json",
    remote_code: "models that need their own code are not run",
    no_tokenizer: "holds no readable tokenizer",
}


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_a_damaged_folder_is_one_sentence(
    damage: Callable[[Path], None], folder: Callable[[str], Path], tmp_path: Path
) -> None:
    broken = copy(folder("llama"), tmp_path / "broken")
    damage(broken)
    with pytest.raises(AssayError, match=BROKEN[damage]) as caught:
        wake(str(broken), quant="none", device="cpu")
    assert "\n" not in str(caught.value)


SIZES = {
    "num_hidden_layers": (1_000_000, "num_hidden_layers is 1000000, but the weights hold 4 layers"),
    "vocab_size": (10**12, "vocab_size is 1000000000000, but no tensor among the weights has that length"),
    "hidden_size": (96, "hidden_size is 96, but no tensor among the weights has that length"),
    "intermediate_size": (10**9, "describes 768000115264 parameters, but the weights hold 213568"),
    "head_dim": (10**8, "describes 307200164416 parameters, but the weights hold 213568"),
    "num_labels": (10**10, "takes more than 3 s of processor time"),
}


@pytest.mark.parametrize("key", SIZES)
def test_sizes_that_are_not_those_of_the_weights_are_one_sentence_before_anything_is_allocated(
    key: str, folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absurd = copy(folder("llama"), tmp_path / "absurd")
    value, said = SIZES[key]
    edit_config(absurd, **{key: value})

    def allocated(*arguments: object, **settings: object) -> None:
        raise MemoryError("the weights were asked for")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", allocated)
    with pytest.raises(AssayError, match=re.escape(said)) as caught:
        wake(str(absurd), quant="none", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("bytes_asked", "fits"), [(1024**3, True), (1024**3 + 1, False)])
def test_tables_beyond_all_measure_are_one_sentence(
    bytes_asked: int, fits: bool, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks and rotations are computed, and stand in no file."""
    monkeypatch.setattr(config_check, "bounded", lambda work: (1, bytes_asked))
    stored = config_check.header("llama", folder("llama"))
    with nullcontext() if fits else pytest.raises(AssayError, match="it describes tables of 1073741825 bytes"):
        config_check.check("llama", folder("llama"), stored)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError(), OSError(12, "Cannot allocate memory")],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_runs_out_is_no_damage(
    error: Exception, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(Unavailable, match="memory ran out while loading with --quant none; try --quant nf4$"):
        wake(str(folder("llama")), quant="none", device="cpu")
    with pytest.raises(Unavailable, match="memory ran out while loading with --quant nf4; use a smaller model$"):
        wake(str(folder("llama")), quant="nf4", device="cpu")


# A model is examined on this one first.
FIRST = sample(load_pairs(DATA / "pairs.jsonl"))[0]
LOOPS = "{% for number in range(99999) %}" * 3 + "{% endfor %}" * 3
TEMPLATES = {
    "loops": (LOOPS + "{{ messages[0].content }}", "takes more than 3 s of the processor"),
    "memory": ("{{ 'x' * 100000000000 }}{{ messages[0].content }}", "or a GiB of memory"),
    "length": (
        "{{ 'x' * 10000000 }}{{ messages[0].content }}",
        f"writes {10_000_000 + len(FIRST)} characters around one prompt",
    ),
    "arithmetic": ("{{ 1 / 0 }}{{ messages[0].content }}", r"refuses the chat \(division by zero\)"),
    "depth": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", r"refuses the chat \(maximum recursion"),
}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_chat_template_that_does_not_end_is_stopped(kind: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    endless = copy(folder("llama"), tmp_path / "endless")
    template, said = TEMPLATES[kind]
    (endless / "chat_template.jinja").write_text(template)
    with pytest.raises(AssayError, match=said) as caught:
        wake(str(endless), quant="none", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "place", ["harness.model.chat_model.build_bridge_from_module", "harness.model.wake.reference_logits"]
)
def test_what_a_library_raises_is_one_sentence(
    place: str, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*arguments: object, **settings: object) -> None:
        raise KeyError("theirs")

    monkeypatch.setattr(place, raising)
    with pytest.raises(AssayError, match=r"it cannot be used \(KeyError: 'theirs'\)"):
        wake(str(folder("llama")), quant="none", device="cpu")


FRESH = """
import resource, sys
from functools import partial
from pathlib import Path
import harness.model.wake
from harness.inputs.files.bounded_process import bounded
from harness.model.config_check import _described
assert bounded(partial(_described, Path(sys.argv[1])))
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
def test_a_sound_config_takes_a_small_part_of_its_limit_in_the_first_model_of_a_process(
    folder: Callable[[str], Path],
) -> None:
    """What describing a model imports must be there already: imports within the child count towards its limit."""
    done = subprocess.run([sys.executable, "-c", FRESH, folder("llama")], capture_output=True, text=True, check=True)
    assert float(done.stdout) < SECONDS / 3
