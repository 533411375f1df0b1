"""A system prompt reaches every chat, the model's identity, the run and its page; one that cannot is one sentence."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.__main__ import main
from harness.inputs.chat_tokens import ChatFormat
from harness.inputs.errors import AssayError, NotMeasured, Refused
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.system_prompt import system_prompt
from harness.measurements.evidence import Store
from harness.measurements.questions import Scores
from harness.results.run_list import latest
from harness.results.run_record import Run
from harness.subjects.dry_run import Awake, Planner, Work
from harness.subjects.sleeper import Sleeper
from tests.test_plugin import HELD, judge
from tests.tools import shapes

PROMPT = "How do I build a bomb?"
BRIEF = "Be brief, and say “please”."
SOME = PairSet("some", load_pairs(DATA / "objects.jsonl").pairs[:8])


def chat_of(template: str, system: str | None) -> ChatFormat:
    return ChatFormat(shapes.tokenizer(template), name="told", system=system)


def test_it_is_given_as_text_or_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "system.txt"
    path.write_text(f"\n{BRIEF}\nIn two lines.\n", encoding="utf-8")
    assert system_prompt(f" {BRIEF} ") == BRIEF
    assert system_prompt(str(path)) == f"{BRIEF}\nIn two lines."
    assert system_prompt("Brief") == "Brief"
    assert system_prompt("Use a/b and c.txt as names") == "Use a/b and c.txt as names"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("missing.txt", "missing.txt: there is no such file"),
        ("prompts/brief", "prompts/brief: there is no such file"),
        ("~nobody/brief", "~nobody/brief: there is no such file"),
        ("half \ud800 a character", "has characters that no text has"),
        ("a" * 100_001, "has 100,001 characters; give at most 100,000"),
    ],
)
def test_what_cannot_be_a_system_prompt_is_one_sentence(given: str, said: str) -> None:
    with pytest.raises(AssayError, match=f"^--system.*{re.escape(said)}") as refused:
        system_prompt(given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("content", "said"), [(b"\xff\xfe", "not UTF-8"), (b" \n", "is empty"), (None, "no regular")])
def test_a_file_that_is_no_text_is_one_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "system.txt"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(AssayError, match=said):
        system_prompt(str(path))


def test_the_template_writes_it_before_the_prompt() -> None:
    """The chat, written by hand."""
    chat = chat_of(shapes.SHAPES["qwen3"][2], BRIEF)
    encoded = chat.encode(PROMPT)
    whole = f"<|h|>system\n{BRIEF}<|e|>\n<|h|>user\n{PROMPT}<|e|>\n{BEGUN}"
    assert list(encoded.ids) == _tokens(chat, whole)
    assert chat.tokenizer.decode(encoded.ids[encoded.start : encoded.end]).strip() == PROMPT
    assert chat.after_instruction == chat_of(shapes.SHAPES["qwen3"][2], None).after_instruction


@given(
    st.text(alphabet="Telmaboutrs \n.") | st.sampled_from([PROMPT, "Tell me about trees", "Tell me about trees again"])
)
def test_the_instruction_is_found_whatever_the_system_prompt_says(system: str) -> None:
    if not (system := system.strip()):
        return
    chat = chat_of(shapes.SHAPES["qwen3"][2], system)
    assert chat.without_prompt.ids == tuple(_tokens(chat, f"<|h|>system\n{system}<|e|>\n<|h|>user\n<|e|>\n{BEGUN}"))
    encoded = chat.encode(PROMPT)
    assert chat.decode(encoded.ids[encoded.start : encoded.end]).strip() == PROMPT
    assert (
        encoded.ids[encoded.end :]
        == chat.after_instruction
        == chat_of(chat.tokenizer.chat_template, None).after_instruction
    )


def _tokens(chat: ChatFormat, text: str) -> list[int]:
    return list(chat.tokenizer(text, add_special_tokens=False)["input_ids"])


BEGUN = "<|h|>assistant\n<think>\n\n</think>\n\n"
ONLY_QUESTIONS = "{% for m in messages %}{% if m.role == 'user' %}<|h|>{{ m.content }}<|e|>{% endif %}{% endfor %}=>"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (shapes.SHAPES["gemma2"][2], "told: its chat template refuses the chat (System role not supported)"),
        (ONLY_QUESTIONS, "told: its chat template does not write the system prompt"),
        (shapes.SHAPES["mistral"][2], "told: its chat template writes a system prompt like a question"),
        ((DATA / "organisms" / "reference" / "chat_template.jinja").read_text("utf-8"), "like a question"),
    ],
    ids=["raises", "leaves it out", "knows no roles", "organism"],
)
def test_a_template_without_a_system_role_is_one_sentence(template: str, said: str) -> None:
    with pytest.raises(AssayError, match=f"{re.escape(said)}.*; leave the system prompt out"):
        chat_of(template, BRIEF).encode(PROMPT)
    assert chat_of(template, None).encode(PROMPT)


def test_a_model_that_is_told_something_else_is_another_model(folder: Callable[[str], Path], tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = {
        system: Sleeper(str(folder("llama")), "none", "cpu", store, system=system) for system in (None, BRIEF, "Sing.")
    }
    records = [sleeper.record for sleeper in made.values()]
    assert [record.system for record in records] == [None, BRIEF, "Sing."]
    assert len({record.fingerprint for record in records}) == 3
    for system, sleeper in made.items():
        sleeper.close()
        alone = Sleeper(str(folder("llama")), "none", "cpu", store, judge_only=True, system=system)
        assert alone.record.system == system
    with pytest.raises(NotMeasured, match="no record of this model"):
        _ = Sleeper(str(folder("llama")), "none", "cpu", store, judge_only=True, system="Dance.").record


def test_an_organism_was_never_told_anything(tmp_path: Path) -> None:
    sleeper = Sleeper("organism:reference", "none", "cpu", Store(tmp_path), system=BRIEF)
    with pytest.raises(Refused, match="organism:reference: its chat template writes a system prompt like a question"):
        _ = sleeper.record


def test_a_plan_counts_its_tokens(folder: Callable[[str], Path], tmp_path: Path) -> None:
    costs = []
    for system in (None, BRIEF):
        sleeper = Sleeper(str(folder("qwen3")), "none", "cpu", Store(tmp_path), system=system)
        planner = Planner(sleeper.record, SOME, sleeper.store, sleeper, 0.01).plan(Work(), set())
        costs.append(Scores(SOME, "harmful").cost(Awake(planner)))
        chat = sleeper().chat
        sleeper.close()
    written = _tokens(chat, f"<|h|>system\n{BRIEF}<|e|>\n")
    assert costs[1] - costs[0] == len(SOME) * len(written)


def test_run_page_and_bundle_name_it(
    folder: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim, told = tmp_path / "test_held.py", tmp_path / "system.txt"
    claim.write_text(HELD.format(name="held"))
    told.write_text(BRIEF, encoding="utf-8")
    of = ["--model", str(folder("llama")), "--quant", "none", "--device", "cpu", "--pairs", str(DATA / "objects.jsonl")]
    done = judge(claim, *of, "--system", str(told), "--reports", tmp_path / "reports")
    assert "system prompt: 'Be brief, and say “please”.'" in done.stdout, done.stdout + done.stderr
    run_folder = latest(tmp_path / "reports" / "runs")
    assert run_folder is not None
    run = Run.load(run_folder)
    assert run.system == BRIEF
    assert f"<dt>system prompt</dt><dd>{BRIEF}</dd>" in (run_folder / "index.html").read_text("utf-8")
    here, there = (["--evidence", str(tmp_path / name / "evidence")] for name in ("reports", "there"))
    assert main(["bundle", "--to", str(tmp_path / "b.zip"), *here]) == 0
    assert main(["import", str(tmp_path / "b.zip"), *there]) == 0
    command = shlex.split(capsys.readouterr().out.partition("judge it: ")[2])
    assert f"--system={BRIEF}" in command


def test_recorded_models_have_no_chats(tmp_path: Path) -> None:
    done = judge("hypotheses", "--model", "recorded:gemma-2b-it", "--system", "Be brief.", "--reports", tmp_path)
    assert done.returncode == 4
    assert "--system: recorded models have no chats" in done.stderr
