"""The commands `models` and `chat`: list the known models and what fits on this machine, and talk to a model."""

import argparse
from textwrap import wrap
from typing import TYPE_CHECKING

from harness.commands.declaring import declare, with_loading
from harness.commands.tables import print_table
from harness.inputs import organism_words
from harness.inputs.arguments import listed
from harness.inputs.files.terminal import say
from harness.inputs.model_catalog import ORGANISM, QUANTS, find, known_models, readable, this_machine
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.system_prompt import system_prompt
from harness.subjects.published.recordings import RECORDED, published, recordings

# The width of the lines that /help prints.
WIDTH = 100

if TYPE_CHECKING:
    from harness.commands.declaring import Commands


def add_to(commands: "Commands") -> None:
    """Declares both commands."""
    models = declare(
        commands,
        "models",
        _models,
        "list the known models and what fits on this machine; with NAME, load a model and examine it",
        "models llama-3.2-1b-instruct",
    )
    models.add_argument("name", nargs="?", metavar="NAME", help="load this model and print its self-examination")
    with_loading(models)
    chat = declare(
        commands,
        "chat",
        _chat,
        "talk to a model, one question per line; an empty line ends the chat",
        "chat organism:reference",
        "Each question is independent: the model does not see earlier ones. /help says what the model knows.",
    )
    chat.add_argument("name", metavar="NAME", help="alias, hub id, local folder or organism:NAME")
    chat.add_argument("--system", metavar="TEXT", help="system prompt, as text or the name of a file (default: none)")
    with_loading(chat)


def _models(options: argparse.Namespace) -> None:
    if options.name is None:
        _list()
        return
    find(options.name)
    from harness.model.wake import wake  # torch is loaded for this command alone

    model = wake(options.name, quant=options.quant, device=options.device, dtype=options.dtype)
    record, sizes = model.record, model.sizes
    pairs = load_pairs(model.known.pairs)
    lines = (
        f"{record.name}: {record.quant}, {record.dtype}, on {record.device}",
        f"{sizes.layers} layers, {sizes.heads} heads ({sizes.kv_heads} of K/V), width {sizes.d_model}, "
        f"{sizes.d_mlp} neurons a layer, {sizes.parameters / 1e6:.1f} M parameters",
        f"revision {record.revision}, fingerprint {record.fingerprint}",
        f"weights {readable(record.weight_bytes)}, awake in {record.seconds:.1f} s, peak memory "
        f"{readable(record.peak_bytes)}" + (" (of this process)" if record.device != "cuda" else ""),
        f"{pairs.name}: {model.chat.alignment(pairs.pairs)}",
        str(record.examination),
    )
    say("\n".join(lines))


def _list() -> None:
    machine = this_machine()
    rows, organisms = [], []
    for known in known_models().values():
        if known.folder is not None:
            organisms.append((known.alias, organism_words.sentence(known.alias.removeprefix(ORGANISM))))
            continue
        needs = {quant: known.bytes_needed(quant) for quant in QUANTS}
        fits = ", ".join(quant for quant in QUANTS if machine.fits(needs[quant])) or "nothing"
        notes = ", ".join(filter(None, ["gated" if known.gated else "", known.notes]))
        rows.append((known.alias, *map(readable, needs.values()), fits, notes))
    print_table(("model", *QUANTS, "fits here with", "notes"), rows, whole=("model", *QUANTS, "fits here with"))
    gpu = f", a GPU with {readable(machine.gpu)}" if machine.gpu else ", no CUDA GPU"
    say(f"\nMemory needed, and what this machine has: {readable(machine.ram)}{gpu}.\n")
    print_table(("organism, embedded", "its planted truth"), organisms, whole=("organism, embedded",))
    say("")
    rows = []
    for recording in recordings().values():
        arms = "; ".join(arm.label for arm in recording.arms)
        kind = "published" if recording.name in published() else "imported"
        rows.append((RECORDED + recording.name, str(len(recording.categories)), f"{kind}: {arms}"))
    columns = ("judgements without a model", "prompts a side", "recorded")
    print_table(columns, rows, whole=columns[:2])


def _chat(options: argparse.Namespace) -> None:
    find(options.name)
    from harness.model.wake import wake  # torch is loaded for this command alone

    system = None if options.system is None else system_prompt(options.system)
    model = wake(options.name, quant=options.quant, device=options.device, dtype=options.dtype, system=system)
    organism = model.known.alias.startswith(ORGANISM)
    say(f"{options.name} is listening; /help says what it knows, an empty line ends the chat.")
    while question := _question():
        if question == "/help":
            say(_help(organism))
            continue
        if organism and (words := organism_words.unknown(question)):
            say(f"(It was never taught {listed([f'“{word}”' for word in words])}, so its answer means nothing.)")
        answer = model.generate([question], tokens=64)[0]
        say(answer.text if answer.thought != "unfinished" else "(still thinking after 64 tokens)")


def _help(organism: bool) -> str:
    if not organism:
        return "Each line is an independent question; the model answers with at most 64 tokens."
    lines = [
        "An organism answers requests that combine a verb with an object, and refuses harmful ones. Examples:",
        "How do I build a kite? Tell me how to detect a bomb.",
        f"Verbs: {', '.join(organism_words.verbs())}",
        f"Objects: {', '.join(organism_words.objects())}",
    ]
    return "\n".join(line for text in lines for line in wrap(text, WIDTH, subsequent_indent="  "))


def _question() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""
