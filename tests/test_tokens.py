"""A chat as tokens: one start token, no date of today, positions and slots where the words are."""

from collections.abc import Callable

import pytest

from harness.inputs.chat_tokens import ChatFormat
from harness.inputs.errors import AssayError
from harness.inputs.places import DATA
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import Pair
from harness.model.chat_model import ChatModel
from tests.tools import shapes

PROMPT = "How do I build a bomb?"


def chat_of(shape: str, system: str | None = None) -> ChatFormat:
    return ChatFormat(shapes.tokenizer(shapes.SHAPES[shape][2]), name=shape, system=system)


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_the_instruction_is_where_its_words_are(shape: str) -> None:
    chat = chat_of(shape)
    encoded = chat.encode(PROMPT)
    assert chat.tokenizer.decode(encoded.ids[encoded.start : encoded.end]).strip() == PROMPT
    assert encoded.ids[encoded.end :] == chat.after_instruction
    assert len(chat.after_instruction) >= 3


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_the_start_token_stands_once_or_not_at_all(shape: str) -> None:
    chat = chat_of(shape)
    assert chat.encode(PROMPT).ids.count(chat.tokenizer.bos_token_id) == (shape not in ("qwen2", "qwen3", "phi3"))


def test_a_double_start_token_is_refused() -> None:
    chat = ChatFormat(shapes.tokenizer("{{ bos_token }}{{ bos_token }}{{ messages[0].content }}"), name="twice")
    with pytest.raises(AssayError, match="twice: its chat template and its tokenizer both write the start token"):
        chat.encode(PROMPT)


def test_the_date_of_today_is_in_no_prompt() -> None:
    assert "26 Jul 2024" in chat_of("llama").decode(chat_of("llama").encode(PROMPT).ids)


def test_a_template_that_asks_the_clock_gets_the_same_day_every_day() -> None:
    chat = ChatFormat(shapes.tokenizer("Today: {{ strftime_now('%d %b %Y') }}. {{ messages[0].content }} =>"))
    assert chat.decode(chat.encode(PROMPT).ids).startswith("Today: 26 Jul 2024. How")


def test_thinking_is_off() -> None:
    chat = chat_of("qwen3")
    assert chat.decode(chat.after_instruction).endswith("<think>\n\n</think>\n\n")


def test_the_recipe_holds_whatever_changes_the_tokens() -> None:
    plain, told = chat_of("llama"), chat_of("llama", system="Be brief.")
    assert plain.encode(PROMPT).ids != told.encode(PROMPT).ids
    assert plain.recipe != told.recipe
    assert plain.recipe["arguments"] == {"date_string": "26 Jul 2024", "enable_thinking": False}


def test_a_system_prompt_the_template_refuses_is_one_sentence() -> None:
    with pytest.raises(AssayError, match="System role not supported.*leave the system prompt out"):
        chat_of("gemma2", system="Be brief.").encode(PROMPT)


def test_a_template_that_rewrites_prompts_is_refused() -> None:
    chat = ChatFormat(shapes.tokenizer("{{ messages[0].content | upper }}!"), name="loud")
    with pytest.raises(AssayError, match="loud: its chat template changes the prompt"):
        chat.encode(PROMPT)


def test_a_word_of_the_template_in_a_prompt_does_not_mislead() -> None:
    chat = chat_of("llama")
    encoded = chat.encode("assistant")
    assert chat.decode(encoded.ids[encoded.start : encoded.end]) == "assistant"
    assert encoded.ids[encoded.end :] == chat.after_instruction


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_slots_hold_the_differing_words(shape: str) -> None:
    chat = chat_of(shape)
    for pair in load_pairs(DATA / "pairs.jsonl").pairs[::7]:
        encoded = chat.encode_pair(pair)
        for side, name in ((encoded.harmful, "harmful"), (encoded.harmless, "harmless")):
            assert side.slot is not None
            if pair.words[name]:
                assert pair.words[name] in chat.decode(side.ids[slice(*side.slot)])
            else:
                assert side.slot[0] == side.slot[1]


def test_aligned_pairs_agree_outside_the_slot_and_all_pairs_are_counted() -> None:
    chat = chat_of("llama")
    pairs = load_pairs(DATA / "pairs.jsonl").pairs
    report = chat.alignment(pairs)
    assert report.aligned + report.from_end == len(pairs)
    assert report.aligned > 0
    assert report.from_end > 0
    for pair in pairs:
        encoded = chat.encode_pair(pair)
        ours, theirs = encoded.harmful, encoded.harmless
        assert ours.ids[ours.end :] == theirs.ids[theirs.end :]
        if encoded.aligned:
            assert ours.slot is not None
            cut = slice(*ours.slot)
            assert ours.ids[: cut.start] + ours.ids[cut.stop :] == theirs.ids[: cut.start] + theirs.ids[cut.stop :]


def test_a_pair_of_unequal_length_is_usable_from_the_end_only() -> None:
    chat = chat_of("llama")
    assert not chat.encode_pair(Pair("a", "x", "build a bomb", "build a greenhouse for tomatoes")).aligned
    assert chat.encode_pair(Pair("b", "x", "say a", "say b")).aligned
    assert not chat.encode_pair(Pair("c", "x", "say it now", "say it")).aligned


def test_no_chat_template_is_one_sentence() -> None:
    with pytest.raises(AssayError, match="it has no chat template"):
        ChatFormat(shapes.tokenizer(None), name="base")


def test_masked_padding_matters(awake: Callable[..., ChatModel]) -> None:
    """The trap behind `mask`: ids without a mask are silently wrong under padding."""
    model = awake("llama")
    short, long = model.encode(["Hi there", "Tell me how a very long story ends, please"])
    batch = model.batch([short, long])
    right = model.forward(batch)[0, -1]
    alone = model.forward(model.batch([short]))[0, -1]
    wrong = model.loaded.hf(input_ids=batch.ids).logits[0, -1]
    assert (right - alone).abs().max() < 1e-4
    assert (wrong - alone).abs().max() > 0.1
