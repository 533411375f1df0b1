"""Wakes a chat model: found, loaded, wrapped and examined, or refused in one sentence."""

import time
from collections.abc import Callable

from harness.inputs import weight_files
from harness.inputs.errors import AssayError, Refused, Unavailable
from harness.inputs.files.library_calls import library_call, ran_out
from harness.inputs.model_catalog import Device, Dtype, KnownModel, Quant, find
from harness.inputs.model_record import ModelRecord
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.model.chat_model import ChatModel
from harness.model.hub import pinned
from harness.model.loading import load, peak_bytes
from harness.model.self_examination import examine, failure, reference_logits, sample


def wake(
    name: str, *, quant: Quant = "nf4", device: Device = "auto", dtype: Dtype = "auto", system: str | None = None
) -> ChatModel:
    """The model of that name (alias, hub id, folder or organism), examined; unfit ones are refused."""
    return awaken(pinned(find(name).computed_in(dtype)), quant=quant, device=device, system=system)


def awaken(
    known: KnownModel,
    *,
    quant: Quant,
    device: Device,
    system: str | None = None,
    examined_on: PromptSet | None = None,
    hashes: weight_files.Hashes = weight_files.FORGETFUL,
) -> ChatModel:
    """That model, examined on these prompts or on those it brings; a refusal says which precision would pass."""
    prompts = (examined_on and sample(examined_on)) or sample(load_pairs(known.pairs))

    def examined(known: KnownModel, quant: Quant) -> ChatModel:
        try:
            return _examined(known, quant, device, system, prompts, hashes)
        except (RuntimeError, MemoryError, OSError) as error:
            if not ran_out(error):
                raise
            raise Unavailable(
                f"{known.alias}: memory ran out while loading with --quant {quant}; try --quant nf4"
            ) from error

    model = examined(known, quant)
    if not model.record.examination.failed:
        return model
    record = model.record
    model.close()
    del model
    raise Refused(f"{failure(known.alias, record.examination)}; {_what_passes(known, quant, record, examined)}")


def _examined(
    known: KnownModel,
    quant: Quant,
    device: Device,
    system: str | None,
    prompts: tuple[str, ...],
    hashes: weight_files.Hashes,
) -> ChatModel:
    began = time.perf_counter()
    loaded = load(known, quant=quant, device=device, system=system, hashes=hashes)
    encoded = [loaded.chat.encode(prompt) for prompt in prompts]
    # Wrapping works in place, so what the model says by itself has to be heard before.
    with library_call(known.alias):
        reference = reference_logits(loaded.hf, encoded)
    model = ChatModel(known, loaded)
    examination = examine(model, encoded, reference)
    model.record = ModelRecord(
        name=known.alias,
        revision=loaded.revision,
        fingerprint=loaded.fingerprint,
        quant=loaded.quant,
        dtype=str(loaded.dtype).removeprefix("torch."),
        device=loaded.device,
        sizes=model.sizes,
        examination=examination,
        seconds=time.perf_counter() - began,
        weight_bytes=loaded.weight_bytes,
        peak_bytes=peak_bytes(loaded.device),
    )
    return model


def _what_passes(
    known: KnownModel, quant: Quant, refused: ModelRecord, examined: Callable[[KnownModel, Quant], ChatModel]
) -> str:
    """A more exact precision in which the model passes, found by trying; the refused one is closed by then."""
    exact: list[Quant] = [] if refused.dtype == "float32" else [quant]
    if quant != "none":
        exact.append("none")
    said = "it was loaded in full precision, so no other would help"
    if refused.device != "cpu":
        said += "; try --device cpu"
    for other in exact:
        options = "--dtype float32" + (f" --quant {other}" if other != quant else "")
        try:
            model = examined(known.computed_in("float32"), other)
        except AssayError as error:
            said = f"{options} could not be tried ({error})"
            continue
        passes = not model.record.examination.failed
        model.close()
        if passes:
            return f"it passes with {options}"
        said = f"{options} was tried, and it fails with that too"
    return said
