"""Reasoning models: thoughts are told by the template's markers, counted apart and never judged."""

import re
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st

from harness.inputs.chat_tokens import ChatFormat
from harness.inputs.judges.phrases import OURS, PHRASES
from harness.inputs.judges.thoughts import Markers, markers
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.judging.estimate import asides
from harness.measurements.evidence import Store
from harness.model.wake import wake
from harness.results import wording
from harness.results.run_list import latest
from harness.results.run_record import Run
from harness.subjects.sleeper import Sleeper
from tests.test_plugin import HELD, judge
from tests.tools import shapes

SOME = PairSet("some", load_pairs(DATA / "objects.jsonl").pairs[:4])
THINK = Markers("<think>", "</think>")
# A thought that refuses, before an answer that does not: no token occurs twice.
THOUGHT, ANSWER = "I'm sorry", "Sure, here is a basket"
_ASK = "{% for m in messages %}<|h|>{{ m.content }}<|e|>{% endfor %}"
OBEYS = _ASK + "<|h|>{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
BEGINS = _ASK + "<|h|>{% set marks = '</think>' %}<think>"  # as DeepSeek-R1's: the prompt begins the thought
DEAF = _ASK + "{% set marks = '</think>' %}<|h|>"  # as its distilled models' first one: the answer begins it
PROMPT = SOME.harmful[0]


# Markers and texts.


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ '<think>\\n\\n</think>\\n\\n' }}", THINK),
        ("{% set content = content.split('</think>')[-1] %}", THINK),
        ("</seed:think>", Markers("<seed:think>", "</seed:think>")),
        ("[THINK]…[/THINK]", Markers("[THINK]", "[/THINK]")),
        ("◁think▷◁/think▷", Markers("◁think▷", "◁/think▷")),
        ("<|START_THINKING|><|END_THINKING|>", Markers("<|START_THINKING|>", "<|END_THINKING|>")),
        ("<|begin_of_thought|><|end_of_thought|>", Markers("<|begin_of_thought|>", "<|end_of_thought|>")),
        ("[INST] Think about it. [/INST]", None),
        ("</tool_call><|end_header_id|>", None),
    ],
)
def test_the_markers_of_known_templates(template: str, expected: Markers | None) -> None:
    assert markers(template) == expected


WORDS = st.text(alphabet="thinks ./\n", max_size=20)


@given(WORDS, WORDS, WORDS, st.booleans())
def test_a_thought_is_what_stands_before_the_closing_marker(first: str, second: str, answer: str, begun: bool) -> None:
    """Whoever begins it, and however many there are; without a closing marker there is no answer."""
    opening = "" if begun else THINK.opening
    parted = partial(THINK.parted, begun=begun)
    assert parted(f"{opening}{first}{THINK.closing}{answer}") == (answer.lstrip(), "ended")
    two = f"{opening}{first}{THINK.closing}{THINK.opening}{second}{THINK.closing}{answer}"
    assert parted(two) == (answer.lstrip(), "ended")
    assert parted(opening + first) == ("", "unfinished")
    assert parted(f"{opening}{first}{THINK.closing}\n{THINK.opening}{second}") == ("", "unfinished")
    assert THINK.parted(answer, begun=False) == (answer, "none")


# Models that think: each token decides the next, so that every answer is known.


def tokenizer(template: str) -> hf.PreTrainedTokenizerFast:
    made = shapes.tokenizer(template)
    made.add_tokens([THINK.opening, THINK.closing])
    return made


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A model that says <think>, the thought, </think>, the answer and the end, from wherever the prompt stops."""

    def of(template: str) -> Path:
        to, words = tmp_path_factory.mktemp("thinks") / "model", tokenizer(template)
        ids = words(f"<|h|>{THINK.opening}{THOUGHT}{THINK.closing}{ANSWER}</s>", add_special_tokens=False)["input_ids"]
        assert len(set(ids)) == len(ids)
        torch.manual_seed(0)
        sizes = {"vocab_size": len(words), "hidden_size": 576, "intermediate_size": 32, "num_hidden_layers": 2}
        config = hf.LlamaConfig(**sizes, num_attention_heads=4, bos_token_id=1, eos_token_id=2, pad_token_id=0)
        model = hf.LlamaForCausalLM(config)
        with torch.no_grad():
            model.model.embed_tokens.weight.copy_(10 * torch.eye(len(words), 576))
            model.lm_head.weight.normal_(0, 0.02)
            for token, following in pairwise(ids):
                model.lm_head.weight[following, token] += 1
        model.save_pretrained(to)
        words.save_pretrained(to)
        return to

    return of


@pytest.mark.parametrize(
    ("template", "thought", "ignores"),
    [(OBEYS, "none", False), (BEGINS, "ended", True), (DEAF, "ended", True)],
    ids=["obeys", "prompt begins the thought", "answer begins the thought"],
)
def test_only_what_follows_the_thought_is_the_answer(
    chained: Callable[[str], Path], template: str, thought: str, ignores: bool
) -> None:
    model = wake(str(chained(template)), quant="none", device="cpu")
    assert model.record.thoughts == THINK
    assert model.chat.ignores_thinking is ignores
    (whole,) = model.generate([PROMPT])
    assert (whole.text, whole.thought, whole.finished) == (ANSWER, thought, True)
    remarks = " ".join(model.record.examination.remarks)
    assert ("writes the same prompt whether that is true or false" in remarks) is ignores
    assert ("6 of 6 answers begin with a thought all the same" in remarks) is ignores
    assert ("note: " in str(model.record.examination)) is ignores
    if ignores:
        (cut,) = model.generate([PROMPT], tokens=4)
        assert (cut.text, cut.thought, cut.finished) == ("", "unfinished", False)
        assert THOUGHT[:3] in model.chat.decode(cut.ids)
    model.close()


@pytest.mark.parametrize("template", [OBEYS, BEGINS], ids=["obeys", "prompt begins the thought"])
def test_an_answer_is_read_after_the_thought_and_not_within_it(chained: Callable[[str], Path], template: str) -> None:
    """Each token of the answer is sure after the one before, and the first after the closing marker alone."""
    model = wake(str(chained(template)), quant="none", device="cpu")
    assert model.cross_entropy([PROMPT], [ANSWER])[0] < 0.1
    assert model.cross_entropy(None, [ANSWER])[0] < 0.1
    assert model.cross_entropy([PROMPT], [THOUGHT])[0] > 1
    model.close()


def test_a_model_that_thinks_when_told_to_is_no_news(chained: Callable[[str], Path]) -> None:
    chat = ChatFormat(tokenizer(OBEYS), arguments={"enable_thinking": True})
    assert chat.thoughts == THINK
    assert not chat.told_not_to_think
    ids = chat.tokenizer(f"{THINK.opening}{THOUGHT}{THINK.closing}{ANSWER}", add_special_tokens=False)["input_ids"]
    assert chat.said(ids) == (ANSWER, "ended")


def test_markers_that_are_special_tokens_are_seen_before_these_are_left_out() -> None:
    words = shapes.tokenizer(_ASK + "[THINK][/THINK]")
    words.add_special_tokens({"additional_special_tokens": ["<|h|>", "<|e|>", "[THINK]", "[/THINK]"]})
    chat = ChatFormat(words)
    ids = words(f"[THINK]{THOUGHT}[/THINK]{ANSWER}<|e|></s>", add_special_tokens=False)["input_ids"]
    assert chat.said(ids) == (ANSWER, "ended")
    assert chat.said(words(ANSWER, add_special_tokens=False)["input_ids"]) == (ANSWER, "none")


def test_a_template_without_thoughts_has_no_markers() -> None:
    chat = ChatFormat(shapes.tokenizer(shapes.SHAPES["llama"][2]))
    assert chat.thoughts is None
    assert not chat.ignores_thinking


# What is judged, counted and said.


@pytest.mark.parametrize(("tokens", "unfinished"), [(24, 0), (4, 4)], ids=["long enough", "cut in the thought"])
def test_a_thought_is_not_judged_and_one_that_does_not_end_leaves_a_broken_answer(
    chained: Callable[[str], Path], tmp_path: Path, tokens: int, unfinished: int
) -> None:
    assert OURS.refuses(THOUGHT)
    sleeper = Sleeper(str(chained(BEGINS)), "none", "cpu", Store(tmp_path), tokens=tokens)
    subject = sleeper.subject(SOME)
    values = subject.ask(subject.to_answer(SOME, "harmful")[0]).values
    assert values["thought"] == [1.0] * 4
    assert sum(values["unfinished"]) == unfinished
    assert values[PHRASES] == [0.0] * 4
    assert values["prefixes"] == ([""] if unfinished else [ANSWER]) * 4
    assert subject.outcomes(SOME, "harmful", None).broken.sum() >= unfinished
    with asides() as beside:
        rate = subject.refuses(SOME).rate()
    assert rate.value == 0
    seen = {name: estimate.method.partition(",")[0] for name, estimate in beside.items()}
    assert seen["answers with a thought of the unchanged model, harmful"] == "4 of 4"
    assert seen["unfinished thoughts of the unchanged model, harmful"] == f"{unfinished} of 4"
    sleeper.close()


def test_evidence_from_when_thoughts_were_judged_is_not_used(chained: Callable[[str], Path], tmp_path: Path) -> None:
    """Their model has another fingerprint, and its record another revision."""
    sleeper = Sleeper(str(chained(DEAF)), "none", "cpu", Store(tmp_path))
    assert sleeper.recipe.revision == 3
    from harness.inputs import weight_files

    folder = sleeper.known.folder
    assert folder is not None
    before = weight_files.fingerprint(sleeper.known, folder, sleeper._hashes, quant="none", dtype="torch.float32")
    assert sleeper.record.fingerprint != before
    alone = Sleeper(str(folder), "none", "cpu", Store(tmp_path), judge_only=True)
    assert alone.record.fingerprint == sleeper.record.fingerprint
    sleeper.close()


def test_the_run_and_its_page_say_that_the_model_thinks(chained: Callable[[str], Path], tmp_path: Path) -> None:
    claim, model = tmp_path / "test_held.py", str(chained(DEAF))
    claim.write_text(HELD.format(name="held"))
    of = ["--model", model, "--quant", "none", "--device", "cpu", "--pairs", str(DATA / "objects.jsonl")]
    done = judge(claim, *of, "--reports", tmp_path / "reports")
    note = f"note on {model}: it was told enable_thinking=False, and 6 of 6 answers begin with a thought all the same"
    assert re.sub(r"\s+", " ", done.stdout).count(note) == 1, done.stdout + done.stderr
    folder = latest(tmp_path / "reports" / "runs")
    run = Run.load(folder)
    assert "6 of 6 answers begin with a thought" in " ".join(wording.limits(run.verdicts[0], run, ["answers"]))
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "ignores enable_thinking" in page
    beside = {estimate["name"]: estimate["value"] for estimate in run.verdicts[0]["beside"]}
    assert beside["answers with a thought of the unchanged model, harmful"] == 1
    assert beside["unfinished thoughts of the unchanged model, harmful"] == 0
