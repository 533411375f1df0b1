"""One model of a run: its record from evidence if that is still true of its files, its weights only when needed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.claims.claim import LEVEL
from harness.inputs import machine, weight_files
from harness.inputs.errors import AssayError, NotMeasured, Refused, Unavailable
from harness.inputs.files.json_files import fitting
from harness.inputs.model_catalog import Device, Dtype, KnownModel, Quant, find
from harness.inputs.model_record import ModelRecord
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.measurements.evidence import Evidence, Store, check
from harness.measurements.recipe import Recipe
from harness.subjects.live import Subject

if TYPE_CHECKING:  # importing it loads torch
    from harness.model.chat_model import ChatModel


@dataclass
class Sleeper:
    """A model that is woken at most once, or, judging from evidence only, never."""

    name: str
    quant: Quant
    device: Device
    store: Store
    judge_only: bool = False
    dtype: Dtype = "auto"
    examined_on: PromptSet | None = None  # a run's own prompts; else those the model brings
    filed: str = field(default="", init=False)  # the fingerprint of the evidence that holds its record
    _awake: "ChatModel | None" = field(default=None, repr=False)
    _refused: AssayError | None = field(default=None, repr=False)

    @property
    def listed(self) -> KnownModel:
        """Its entry in the catalog, in the dtype asked for."""
        return find(self.name).computed_in(self.dtype)

    @cached_property
    def known(self) -> KnownModel:
        """The same, and a hub id that no list pins at the commit to which it leads now; asked once."""
        if self._refused is not None:
            raise self._refused
        known = self.listed
        if known.folder is not None or known.revision is not None or self.judge_only:
            return known
        from harness.model.hub import pinned  # only a model that no list pins needs it

        with self._once():
            return pinned(known)

    @property
    def pairs(self) -> PairSet:
        """The pairs it brings, or Assay's."""
        return load_pairs(self.listed.pairs)

    @cached_property
    def record(self) -> ModelRecord:
        """What is known of it without its weights; measured on waking, kept while its files stay as they are."""
        if (kept := self.kept) is not None:
            self.filed = kept.fingerprint
            return fitting(kept.values, ModelRecord)
        if self.judge_only:
            raise NotMeasured(
                f"{self.name} ({self.quant}): no record of this model is in {self.store.folder}; run without "
                "--judge-only where it can be loaded, or import the bundle that has it"
            )
        return self._file(self().record)

    @property
    def kept(self) -> Evidence | None:
        """The record in evidence, if there is one to go by."""
        kept = self.store.get(self.recipe)
        if self.judge_only:
            return kept or self._measured_elsewhere()
        # With other versions it would measure other numbers, so it is another model.
        here = machine.numeric(machine.libraries())
        return kept if kept is not None and machine.numeric(kept.environment.get("libraries", {})) == here else None

    def subject(self, pairs: PromptSet | None = None, level: float = LEVEL) -> Subject:
        """What a claim receives as `model`, on these pairs or its own, at the claim's error level."""
        return Subject(self.record, self.pairs if pairs is None else pairs, self.store, self, level)

    def __call__(self) -> "ChatModel":
        """The live model; one that is refused is refused once, and whoever asks again hears the same."""
        if self.judge_only:
            raise NotMeasured(f"{self.name}: this was never measured, and --judge-only does not load models")
        if self._refused is not None:
            raise self._refused
        if self._awake is None:
            from harness.model.wake import awaken  # torch is loaded when something must be measured

            with self._once():
                self._awake = awaken(
                    self.known,
                    quant=self.quant,
                    device=self.device,
                    examined_on=self.examined_on,
                    hashes=self._hashes,
                )
                self._require_same(self._awake.record)
            # Many claims ask for the same streams and means.
            self._awake.memory = {}
        return self._awake

    @property
    def awake(self) -> bool:
        """Whether something had to be measured already."""
        return self._awake is not None

    def close(self) -> None:
        """Lets go of the weights, if they were ever loaded."""
        if self._awake is not None:
            self._awake.close()
            self._awake = None

    @cached_property
    def recipe(self) -> Recipe:
        """Of its record."""
        known = self.known
        files = weight_files.recipe_of(known, self._hashes)
        of: dict[str, Any] = {"quant": self.quant, "device": self.device, "files": files, "settings": self._settings}
        if self.examined_on is not None:
            of["examined on"] = self.examined_on.fingerprint
        # NAME@COMMIT is NAME at the commit that its files say.
        return Recipe("model-record", 2, self.name.partition("@")[0] if known.hub else self.name, of)

    @property
    def _settings(self) -> dict[str, Any]:
        known = self.known
        return {"chat": known.chat_arguments, "refusing": list(known.refusal_tokens), "dtype": known.dtype}

    @cached_property
    def _hashes(self) -> weight_files.Hashes:
        return weight_files.beside(self.store.folder)

    @contextmanager
    def _once(self) -> Iterator[None]:
        """A model that cannot be had, or is refused, is not tried again."""
        try:
            yield
        except Unavailable as error:
            self._refused = error
            raise
        except AssayError as error:
            self._refused = Refused(str(error))
            raise self._refused from error

    def _require_same(self, live: ModelRecord) -> None:
        """Nothing is filed under a record whose weights, or whose way of computing, are not those that were loaded."""
        record: ModelRecord | None = vars(self).get("record")
        if record is None or record.fingerprint == live.fingerprint:
            return
        self.close()
        self._file(live)
        raise Refused(
            f"{self.name}: what was loaded ({live.fingerprint}) is not what its record in {self.store.folder} is of "
            f"({record.fingerprint}), so nothing was filed under it; the record has been measured anew: run again"
        )

    def _file(self, record: ModelRecord) -> ModelRecord:
        spent = machine.measured(record.device, record.seconds, record.peak_bytes)
        self.filed = self.store.put(Evidence(self.recipe, asdict(record), environment=spent)).fingerprint
        return record

    def _measured_elsewhere(self) -> Evidence | None:
        """For judging alone: the record that a machine with the model made of it, if there is no doubt which."""
        found = {kept.values["fingerprint"]: kept for kept in _records(self.store) if self._may_be(kept)}
        if len(found) > 1:
            of = sorted(f"{kept.values['revision']} in {kept.values['dtype']}" for kept in found.values())
            by = "--dtype" if self.known.folder is not None else "--model NAME@COMMIT or by --dtype"
            raise NotMeasured(
                f"{self.name}: was measured in more than one way, and --judge-only cannot know which is meant "
                f"({', '.join(of)}); choose by {by}"
            )
        return next(iter(found.values()), None)

    def _may_be(self, kept: Evidence) -> bool:
        known, of = self.known, kept.recipe.of
        asked = {"quant": self.quant, "device": self.device, "settings": self._settings}
        if self.dtype == "auto" and isinstance(of.get("settings"), dict):  # in whichever it was measured
            asked["settings"] = self._settings | {"dtype": of["settings"].get("dtype")}
        if kept.recipe.subject != self.recipe.subject or any(of.get(name) != value for name, value in asked.items()):
            return False
        if known.folder is None:
            return known.revision is None or of.get("files") == weight_files.recipe_of(known, self._hashes)
        here = weight_files.fingerprint(
            known,
            known.folder,
            self._hashes,
            quant=self.quant,
            dtype=f"torch.{kept.values['dtype']}",
            libraries=kept.environment.get("libraries", {}),
        )
        return bool(kept.values["fingerprint"] == here)


def _records(store: Store) -> Iterator[Evidence]:
    """Every model's record; they have no tensors, so most evidence need not be read."""
    for path in store.files():
        if not path.with_suffix(".safetensors").exists():
            with suppress(AssayError):  # damaged ones are said where they are asked for
                if (evidence := check(path)).recipe.kind == "model-record":
                    yield evidence
