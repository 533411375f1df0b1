"""Checks options and models before anything runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.inputs.errors import AssayError, Unavailable
from harness.inputs.model_catalog import KnownModel, require_device, require_memory, this_machine
from harness.inputs.model_record import MOST_TOKENS
from harness.subjects.sleeper import Sleeper


def require_options(option: dict[str, Any], live: bool) -> None:
    """Refuses options that contradict each other or cannot work here; `live`: some model is not a recording."""
    if option["judge_only"] and option["fresh"]:
        raise AssayError("--judge-only --fresh: the first measures nothing, the second everything again; leave one out")
    if option["pairs"] and not live:
        raise AssayError("--pairs: recorded models are judged on their own prompts only; name another with --model")
    if option["system"] is not None and not live:
        raise AssayError("--system: recorded models have no chats; leave it out, or name another model with --model")
    if (tokens := option["tokens"]) is not None:
        if not live:
            raise AssayError("--tokens: recorded answers have the length that they had; leave it out")
        if not 1 <= tokens <= MOST_TOKENS:
            raise AssayError(f"--tokens {tokens}: give a whole number from 1 to {MOST_TOKENS}")
    if option["answers"] != "greedy" and not live:
        raise AssayError("--answers: recorded answers are as they were published; leave it out")
    evidence = Path(option["evidence"])
    if evidence.exists() and not evidence.is_dir():
        raise AssayError(f"--evidence {evidence}: is no folder; give the folder of the evidence, or a new name")
    if live and not option["judge_only"]:
        require_device(option["device"])


def notes_on(sleepers: Sequence[Sleeper], *, strict: bool) -> Iterator[str]:
    """A line for each model whose commit was looked up, and each unavailable one, which raises if `strict`."""
    for sleeper in sleepers:
        try:
            known = sleeper.known
            if sleeper.kept_record is None:
                _require_available(sleeper, known)
        except Unavailable as error:
            if strict:
                raise AssayError(str(error)) from None
            yield f"{error}; its claims are skipped"
            continue
        if known.hub and known.revision and known.revision != sleeper.listed.revision:
            name = f"{known.hub}@{known.revision}"
            yield f"{known.alias}: pinned to commit {known.revision}; to stay with it, give --model {name}"


def _require_available(sleeper: Sleeper, known: KnownModel) -> None:
    machine = this_machine()
    where, size = ("cpu", machine.ram) if sleeper.device == "cpu" else ("memory", max(machine.ram, machine.gpu))
    require_memory(known, sleeper.quant, where, size)
    from harness.model.hub import require_files  # the hub's client takes a moment to load

    require_files(known)
