"""Wakes a chat model: finds, loads, wraps and examines it, or refuses it in one sentence."""

import time
from collections.abc import Callable
from dataclasses import replace

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
from harness.model.self_examination import examine, failure, reference_logits, remarks, sample


def wake(
    name: str, *, quant: Quant = "nf4", device: Device = "auto", dtype: Dtype = "auto", system: str | None = None
) -> ChatModel:
    """The model of that name (alias, hub id, folder or organism), ready for use; unfit models are refused."""
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
    """The model, examined on `examined_on` or, without discovery prompts there, on the pairs of its catalog entry.

    If the model is unfit, the refusal names a precision in which it passes.
    """
    prompts = (examined_on and sample(examined_on)) or sample(load_pairs(known.pairs))

    def examined(known: KnownModel, quant: Quant) -> ChatModel:
        try:
            return _examined(known, quant, device, system, prompts, hashes)
        except (RuntimeError, MemoryError, OSError) as error:
            if not ran_out(error):
                raise
            smaller = "use a smaller model" if quant == "nf4" else "try --quant nf4"
            raise Unavailable(f"{known.alias}: memory ran out while loading with --quant {quant}; {smaller}") from error

    model = examined(known, quant)
    if not model.record.examination.failed:
        return model
    record = model.record
    model.close()
    del model
    raise Refused(f"{failure(known.alias, record.examination)}; {_advice(known, quant, record, examined)}")


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
    # Wrapping changes the model in place, so the unwrapped model's logits must be computed first.
    with library_call(known.alias):
        reference = reference_logits(loaded.hf, encoded)
    model = ChatModel(known, loaded)
    examination = replace(examine(model, encoded, reference), remarks=remarks(model, prompts))
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
        system=system,
        thoughts=loaded.chat.thoughts,
    )
    return model


def _advice(
    known: KnownModel, quant: Quant, refused: ModelRecord, examined: Callable[[KnownModel, Quant], ChatModel]
) -> str:
    """Which options make the model pass, found by loading it in float32; the refused model must be closed first."""
    more_exact: list[Quant] = [] if refused.dtype == "float32" else [quant]
    if quant != "none":
        more_exact.append("none")
    advice = "it was loaded in full precision, so no other precision would help"
    if refused.device != "cpu":
        advice += "; try --device cpu"
    for other in more_exact:
        options = "--dtype float32" + (f" --quant {other}" if other != quant else "")
        try:
            model = examined(known.computed_in("float32"), other)
        except AssayError as error:
            advice = f"{options} could not be tried ({error})"
            continue
        passes = not model.record.examination.failed
        model.close()
        if passes:
            return f"it passes with {options}"
        advice = f"it also fails with {options}"
    return advice
