"""Whatever stands between a name and a model is one sentence; what loads is what was asked for."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file, save_file

from harness.inputs import model_catalog
from harness.inputs.errors import AssayError, Unavailable
from harness.inputs.files.differences import restored
from harness.inputs.model_catalog import GIB, KnownModel, Machine, find
from harness.inputs.places import DATA
from harness.model import loading
from harness.model.chat_model import ChatModel
from harness.model.hub import fetch
from harness.model.loading import load, peak_bytes
from harness.model.wake import wake
from tests.test_damaged_folders import copy, edit_config
from tests.tools import shapes

ROOT = DATA.parent


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("llama-3-8b-instrct", "llama-3-8b-instruct"),
        ("Llama-3.2-1B", "llama-3.2-1b-instruct"),
        ("gemma2-2b-it", "gemma-2-2b-it"),
        ("organism:llama-2-7b-chat", "llama-2-7b-chat"),
    ],
)
def test_a_mistyped_name_suggests_the_nearest(name: str, suggested: str) -> None:
    with pytest.raises(AssayError, match=rf"no model is called '{name}'; did you mean .*{suggested}.*\? `python"):
        find(name)


def test_a_folder_does_not_shadow_a_known_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = find("gemma-2-2b-it")
    (tmp_path / known.hub).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find(known.hub) == find("gemma-2-2b-it") == known
    assert known.folder is None


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b", "a/b/c"])
def test_names_that_cannot_be_are_one_sentence(name: str) -> None:
    with pytest.raises(AssayError, match="no model is called"):
        find(name)


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/no-where", "~nobody-of-that-name/x"])
def test_a_folder_that_is_not_there_is_called_one(name: str) -> None:
    with pytest.raises(AssayError, match=rf"^{name}: there is no such folder; give a model's folder"):
        find(name)


def test_a_name_like_none_lists_nothing_wrong() -> None:
    with pytest.raises(AssayError, match="no model is called 'xyzzy'; `python -m harness models` lists all"):
        find("xyzzy")


def test_aliases_hub_ids_and_folders_are_all_names(folder: Callable[[str], Path]) -> None:
    known = find("llama-3-8b-instruct")
    assert find(known.hub) == known
    assert find(known.hub.upper()) == find("Llama-3-8B-Instruct") == known
    assert find("someone/some-model") == KnownModel("someone/some-model", "someone/some-model")
    assert find(str(folder("llama"))).folder == folder("llama")


ALIASES = [
    "llama-3-8b-instruct",
    "llama-3.2-1b-instruct",
    "llama-3-70b-instruct",
    "llama-2-7b-chat",
    "gemma-2-2b-it",
    "gemma-2-9b-it",
    "gemma-2b-it",
    "qwen2.5-1.5b-instruct",
    "qwen3-4b",
    "yi-6b-chat",
    "mistral-7b-instruct",
    "phi-3-mini",
]


@pytest.mark.parametrize("alias", ALIASES)
def test_known_models_are_complete(alias: str) -> None:
    known = find(alias)
    assert known.dtype in ("float32", "bfloat16", "float16")
    assert re.fullmatch(r"[0-9a-f]{40}", known.revision or "")
    assert known.bytes_needed("nf4") < known.bytes_needed("int8") < known.bytes_needed("none")


def test_memory_needs_are_near_the_published_sizes() -> None:
    # 8.03 B parameters in bf16 are 15.0 GiB; NF4 leaves the 1.05 B of the embeddings as they are.
    eight = find("llama-3-8b-instruct")
    assert eight.bytes_needed("none") / GIB == pytest.approx(1.25 * 15.0, rel=0.02)
    assert eight.bytes_needed("nf4") / GIB == pytest.approx(1.25 * 5.6, rel=0.05)


def test_too_little_memory_names_what_would_fit(monkeypatch: pytest.MonkeyPatch, folder: Callable[[str], Path]) -> None:
    eight, laptop = find("llama-3-8b-instruct"), Machine(ram=8 * GIB, gpu=0)
    monkeypatch.setattr(loading, "this_machine", lambda: laptop)
    with pytest.raises(Unavailable, match=r"needs about 18\.\d GiB with --quant none, .* --quant nf4 fits"):
        load(eight, quant="none", device="cpu")
    with pytest.raises(Unavailable, match="`python -m harness models` shows what fits"):
        load(find("llama-3-70b-instruct"), device="cpu")
    # A model that is in no list is measured by its files.
    tiny = Machine(ram=100_000, gpu=0)
    monkeypatch.setattr(loading, "this_machine", lambda: tiny)
    with pytest.raises(Unavailable, match="llama: needs about 0.0 GiB"):
        load(find(str(folder("llama"))), quant="none", device="cpu")


def test_a_device_that_is_not_there_is_one_sentence(folder: Callable[[str], Path]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(AssayError, match="--device cuda: this machine has none that torch can use"):
        load(find(str(folder("llama"))), device="cuda")


def stored_in(dtype: torch.dtype, folder: Path) -> Path:
    weights = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit_config(folder, dtype=str(dtype).removeprefix("torch."))
    return folder


@pytest.mark.parametrize(
    ("stored", "asked", "loaded"),
    [
        (torch.float16, "auto", torch.float32),
        (torch.bfloat16, "auto", torch.bfloat16),
        (torch.float32, "auto", torch.float32),
        (torch.float32, "bfloat16", torch.bfloat16),
        (torch.float16, "float16", torch.float16),
    ],
    ids=str,
)
def test_weights_are_loaded_as_they_are_stored_where_a_cpu_computes_in_that(
    stored: torch.dtype, asked: model_catalog.Dtype, loaded: torch.dtype, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    known = find(str(stored_in(stored, copy(folder("llama"), tmp_path / "stored")))).computed_in(asked)
    assert load(known, quant="none", device="cpu").dtype == loaded


def test_a_gpu_computes_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    known = find("someone/some-model")
    assert loading._dtype(known, torch.float16, "cuda") == torch.float16
    assert loading._dtype(known, torch.bfloat16, "cuda") == torch.float32


def test_the_memory_needed_is_that_of_the_dtype_it_is_loaded_in(
    folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = stored_in(torch.float16, copy(folder("llama"), tmp_path / "half"))
    # 213568 numbers of four bytes, and a quarter for what is beside them.
    monkeypatch.setattr(loading, "this_machine", lambda: Machine(ram=1_067_839, gpu=0))
    with pytest.raises(Unavailable, match="needs about"):
        load(find(str(half)), quant="none", device="cpu")
    monkeypatch.setattr(loading, "this_machine", lambda: Machine(ram=1_067_840, gpu=0))
    assert load(find(str(half)), quant="none", device="cpu").dtype == torch.float32


def test_an_organism_in_half_precision_under_another_name_is_sound(tmp_path: Path) -> None:
    with restored(DATA / "organisms" / "reference") as whole:
        mine = copy(whole, tmp_path / "mine")
    edit_config(mine, dtype="float16")
    model = wake(str(mine), device="cpu")
    assert model.record.dtype == "float32"
    assert not model.record.examination.failed
    model.close()


def test_a_mistake_of_ours_is_not_called_damage_of_theirs(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*arguments: object) -> None:
        raise AttributeError("ours")

    for place in ("harness.model.wake.examine", "harness.model.loading._stops", "harness.model.chat_model.sizes"):
        with monkeypatch.context() as patched:
            patched.setattr(place, mistaken)
            with pytest.raises(AttributeError, match="^ours$"):
                wake(str(folder("llama")), quant="none", device="cpu")


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub on this machine: every repository is gated, gone, or failing, by its name."""

    def do_GET(self) -> None:
        status, code = next((answer for word, answer in ANSWERS.items() if word in self.path), (404, "RepoNotFound"))
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


ANSWERS = {"gated": (403, "GatedRepo"), "unversioned": (404, "RevisionNotFound"), "failing": (500, "")}


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


FETCH = """
import sys
from harness.inputs.model_catalog import KnownModel, find
from harness.inputs.errors import AssayError
from harness.model.hub import fetch
try:
    fetch(KnownModel(alias="mine", hub=sys.argv[1]))
except AssayError as error:
    print(type(error).__name__, error)
"""
HUB_ERRORS = {
    "a/gated": "Unavailable mine: access to a/gated must be granted by its owners; request it at .*run `hf auth login`",
    "a/missing": "Unavailable mine: the hub has no model a/missing, or it is private.*check the name",
    "a/unversioned": "Unavailable mine: a/unversioned has no revision",
    "a/failing": "Unavailable mine: the hub ",
}


def fetch_in_a_process(name: str, home: Path, **environment: str) -> str:
    """The hub's settings are read once, on import."""
    done = subprocess.run(
        [sys.executable, "-c", FETCH, name],
        env=os.environ | {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", HUB_ERRORS)
def test_what_the_hub_refuses_is_one_sentence(name: str, hub: str, tmp_path: Path) -> None:
    said = fetch_in_a_process(name, tmp_path, HF_ENDPOINT=hub)
    assert re.match(HUB_ERRORS[name], said), said
    assert "\n" not in said


def test_offline_is_one_sentence(tmp_path: Path) -> None:
    said = fetch_in_a_process("a/model", tmp_path, HF_HUB_OFFLINE="1")
    assert said == (
        "Unavailable mine: HF_HUB_OFFLINE is set and a/model is not on this machine yet; run "
        "`hf download a/model` while online"
    )


def test_an_unreachable_hub_is_one_sentence(tmp_path: Path) -> None:
    said = fetch_in_a_process("a/model", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "mine: the hub cannot be reached and a/model is not on this machine yet" in said


def test_fetching_a_local_folder_copies_nothing(folder: Callable[[str], Path]) -> None:
    assert fetch(find(str(folder("llama")))) == folder("llama")


def test_fingerprints_name_weights_quantization_and_dtype(
    folder: Callable[[str], Path], awake: Callable[..., ChatModel], tmp_path: Path
) -> None:
    def of(path: Path, quant: model_catalog.Quant = "none", dtype: str = "auto") -> str:
        return load(KnownModel("x", "", path, dtype=dtype), quant=quant, device="cpu").fingerprint

    first = of(folder("llama"))
    moved = copy(folder("llama"), tmp_path / "moved")
    assert of(moved) == first == awake("llama").loaded.fingerprint
    others = [
        of(moved, quant="nf4"),
        of(moved, dtype="bfloat16"),
        of(shapes.build("llama", tmp_path / "seed", seed=1)),
    ]
    weights = load_file(moved / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    others.append(of(moved))
    assert len({first, *others}) == 5


def test_greedy_means_greedy_whatever_the_models_own_file_says(
    folder: Callable[[str], Path], awake: Callable[..., ChatModel], tmp_path: Path
) -> None:
    penalised = copy(folder("llama"), tmp_path / "penalised")
    settings = {"repetition_penalty": 1.9, "no_repeat_ngram_size": 1, "do_sample": True, "temperature": 3.0}
    (penalised / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": 2}))
    prompts = ["Hi", "How do I build a shed?", "Write a limerick about seven cats."]
    model = wake(str(penalised), quant="none", device="cpu")
    assert model.generate(prompts) == awake("llama").generate(prompts)
    # The file also names the tokens that end an answer, so it is part of the fingerprint.
    assert model.record.fingerprint != awake("llama").record.fingerprint


def test_an_answer_ends_at_the_stop_tokens_of_the_models_file(
    folder: Callable[[str], Path], awake: Callable[..., ChatModel], tmp_path: Path
) -> None:
    whole = awake("llama").generate(["Hi"], tokens=6)[0]
    stopping = copy(folder("llama"), tmp_path / "stopping")
    stop = whole.ids[3]
    (stopping / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, stop]}))
    answer = wake(str(stopping), quant="none", device="cpu").generate(["Hi"], tokens=6)[0]
    assert answer.finished
    assert answer.ids == whole.ids[: whole.ids.index(stop)]


def test_a_model_without_end_and_padding_tokens_can_be_used(folder: Callable[[str], Path], tmp_path: Path) -> None:
    endless = copy(folder("qwen2"), tmp_path / "endless")
    edit_config(endless, eos_token_id=None, pad_token_id=None, bos_token_id=None)
    (endless / "generation_config.json").unlink()
    settings = json.loads((endless / "tokenizer_config.json").read_text())
    for name in ("eos_token", "pad_token", "bos_token"):
        settings.pop(name, None)
    (endless / "tokenizer_config.json").write_text(json.dumps(settings))
    model = wake(str(endless), quant="none", device="cpu")
    assert [len(answer.ids) for answer in model.generate(["Hi", "Hello there, you"], tokens=5)] == [5, 5]


def test_a_prompt_beyond_the_context_is_one_sentence(awake: Callable[..., ChatModel]) -> None:
    with pytest.raises(AssayError, match=r"take \d+ tokens, but the model's context holds 512; shorten the prompt"):
        awake("gpt2").next_token(["many words " * 400])


def test_load_time_and_peak_memory_are_kept(awake: Callable[..., ChatModel]) -> None:
    woken = awake("llama")
    assert woken.record.seconds > 0
    assert woken.record.peak_bytes > 50e6
    assert woken.record.weight_bytes >= sum(p.nbytes for p in woken.loaded.hf.parameters()) > 500_000
    held = torch.ones(200_000_000 // 4)
    assert peak_bytes("cpu") >= held.nbytes


def test_unpacked_weights_multiply_as_the_quantized_ones_do() -> None:
    known = find("organism:reference")
    hf = load(known, quant="nf4", device="cpu").hf
    layers = [module for module in hf.modules() if isinstance(module, Linear4bit)]
    assert layers
    for layer in layers:
        given = torch.randn(5, 7, layer.in_features).requires_grad_()
        out, expected = layer(given), Linear4bit.forward(layer, given)
        assert torch.equal(out, expected)
        away = torch.randn_like(out)
        assert torch.equal(*(torch.autograd.grad(one, given, away)[0] for one in (out, expected)))
        with torch.no_grad():
            assert torch.equal(layer(given), Linear4bit.forward(layer, given))
