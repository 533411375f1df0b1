"""One model of a run: its record is read from evidence, and its weights are loaded only when something is missing."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.claims.claim import LEVEL
from harness.inputs import machine, weight_files
from harness.inputs.errors import AssayError, NotMeasured, Refused, Unavailable
from harness.inputs.files.json_files import fitting
from harness.inputs.model_catalog import ORGANISM, Device, Dtype, KnownModel, Quant, find
from harness.inputs.model_record import LONG_ANSWER, SHORT_ANSWER, ModelRecord, Sampling
from harness.inputs.prompts.pair_files import load_pairs
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.measurements.evidence import Evidence, Store, check
from harness.measurements.evidence_kinds import MODEL_RECORD
from harness.measurements.recipe import Recipe
from harness.subjects.live import Subject

if TYPE_CHECKING:  # importing it loads torch
    from harness.model.chat_model import ChatModel


@dataclass
class Sleeper:
    """A model whose weights are loaded at most once; with `judge_only`, never."""

    name: str
    quant: Quant
    device: Device
    store: Store
    judge_only: bool = False
    dtype: Dtype = "auto"
    system: str | None = None  # the system prompt of all chats
    tokens: int | None = None  # the most tokens of an answer; None: fewer for an organism than for other models
    sampling: Sampling | None = None  # how answers are drawn; None: greedily
    examined_on: PromptSet | None = None  # prompts of the self-examination; None: those of its entry in the catalog
    record_evidence: str = field(default="", init=False)  # the fingerprint of the evidence that holds its record
    _awake: "ChatModel | None" = field(default=None, repr=False)
    _refused: AssayError | None = field(default=None, repr=False)

    @property
    def listed(self) -> KnownModel:
        """Its entry in the catalog, in the dtype asked for."""
        return find(self.name).computed_in(self.dtype)

    @cached_property
    def known(self) -> KnownModel:
        """Its entry, pinned at a commit: a hub id without one is looked up on the hub, once."""
        if self._refused is not None:
            raise self._refused
        known = self.listed
        if known.folder is not None or known.revision is not None or self.judge_only:
            return known
        from harness.model.hub import pinned  # only needed for a model without a pinned commit

        with self._refusals_kept():
            return pinned(known)

    @property
    def pairs(self) -> PairSet:
        """The pairs that its entry in the catalog names, or else Assay's."""
        return load_pairs(self.listed.pairs)

    @cached_property
    def record(self) -> ModelRecord:
        """Its name, sizes and self-examination: from the evidence, or by loading the model where there is none."""
        if (kept := self.kept_record) is not None:
            self.record_evidence = kept.fingerprint
            return self._as_asked(fitting(kept.values, ModelRecord))
        if self.judge_only:
            raise NotMeasured(
                f"{self.name} ({self.quant}): no record of this model is in {self.store.folder}; run without "
                "--judge-only where it can be loaded, or import the bundle that has it"
            )
        return self._as_asked(self._keep(self().record))

    def _as_asked(self, record: ModelRecord) -> ModelRecord:
        usual = SHORT_ANSWER if self.listed.alias.startswith(ORGANISM) else LONG_ANSWER
        return replace(record, answer_tokens=self.tokens or usual, sampling=self.sampling)

    @property
    def kept_record(self) -> Evidence | None:
        """The evidence of its record; None if there is none, or it was made with other versions of the libraries."""
        kept = self.store.get(self.recipe)
        if self.judge_only:
            return kept or self._measured_elsewhere()
        # Other versions can give other numbers, so they count as another model.
        here = machine.numeric(machine.libraries())
        return kept if kept is not None and machine.numeric(kept.environment.get("libraries", {})) == here else None

    def subject(self, pairs: PromptSet | None = None, level: float = LEVEL) -> Subject:
        """The subject that a claim receives as `model`, on these pairs or its own, at the claim's error level."""
        return Subject(self.record, self.pairs if pairs is None else pairs, self.store, self, level)

    def __call__(self) -> "ChatModel":
        """The model, loaded on the first call; if loading fails, every later call raises the same error."""
        if self.judge_only:
            raise NotMeasured(
                f"{self.name}: a measurement is missing, and --judge-only does not load models; run without it"
            )
        if self._refused is not None:
            raise self._refused
        if self._awake is None:
            from harness.model.wake import awaken  # imports torch, so only when something must be measured

            with self._refusals_kept():
                self._awake = awaken(
                    self.known,
                    quant=self.quant,
                    device=self.device,
                    system=self.system,
                    examined_on=self.examined_on,
                    hashes=self._hashes,
                )
                self._require_same(self._awake.record)
            self._awake.memory = {}  # claims share streams and means
        return self._awake

    @property
    def awake(self) -> bool:
        """Whether the weights are loaded."""
        return self._awake is not None

    def close(self) -> None:
        """Frees the weights, if they are loaded."""
        if self._awake is not None:
            self._awake.close()
            self._awake = None

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of its record: the weight files and every setting that could change a number."""
        known = self.known
        files = weight_files.recipe_of(known, self._hashes)
        of: dict[str, Any] = {"quant": self.quant, "device": self.device, "files": files, "settings": self._settings}
        if self.examined_on is not None:
            of["examined on"] = self.examined_on.fingerprint
        # The commit of NAME@COMMIT is in `files`.
        return Recipe(MODEL_RECORD, 3, self.name.partition("@")[0] if known.hub else self.name, of)

    @property
    def _settings(self) -> dict[str, Any]:
        known = self.known
        settings = {"chat": known.chat_arguments, "refusing": list(known.refusal_tokens), "dtype": known.dtype}
        return settings if self.system is None else settings | {"system": self.system}

    @cached_property
    def _hashes(self) -> weight_files.Hashes:
        return weight_files.beside(self.store.folder)

    @contextmanager
    def _refusals_kept(self) -> Iterator[None]:
        """Keeps the error of a model that cannot be had or is refused, so that it is not tried again."""
        try:
            yield
        except Unavailable as error:
            self._refused = error
            raise
        except AssayError as error:
            self._refused = Refused(str(error))
            raise self._refused from error

    def _require_same(self, live: ModelRecord) -> None:
        """Refuses the loaded model if it is not the one its record describes; the record is then replaced."""
        record: ModelRecord | None = vars(self).get("record")
        if record is None or record.fingerprint == live.fingerprint:
            return
        self.close()
        self._keep(live)
        raise Refused(
            f"{self.name}: the loaded model ({live.fingerprint}) is not the one that its record in {self.store.folder} "
            f"describes ({record.fingerprint}), so nothing was measured; its record has been replaced: run again"
        )

    def _keep(self, record: ModelRecord) -> ModelRecord:
        spent = machine.measured(record.device, record.seconds, record.peak_bytes)
        self.record_evidence = self.store.put(Evidence(self.recipe, asdict(record), environment=spent)).fingerprint
        return record

    def _measured_elsewhere(self) -> Evidence | None:
        """The only record in the store that can be this model's, for `judge_only`; refuses to choose among several."""
        records = {kept.values["fingerprint"]: kept for kept in _records(self.store) if self._can_be_mine(kept)}
        if len(records) > 1:
            ways = sorted(f"{kept.values['revision']} in {kept.values['dtype']}" for kept in records.values())
            options = "--dtype" if self.known.folder is not None else "--model NAME@COMMIT or --dtype"
            raise NotMeasured(
                f"{self.name}: was measured in more than one way, and --judge-only cannot know which is meant "
                f"({', '.join(ways)}); choose with {options}"
            )
        return next(iter(records.values()), None)

    def _can_be_mine(self, kept: Evidence) -> bool:
        known, of = self.known, kept.recipe.of
        mine = {"quant": self.quant, "device": self.device, "settings": self._settings}
        if self.dtype == "auto" and isinstance(of.get("settings"), dict):  # any dtype will do
            mine["settings"] = self._settings | {"dtype": of["settings"].get("dtype")}
        if kept.recipe.subject != self.recipe.subject or any(of.get(name) != value for name, value in mine.items()):
            return False
        if known.folder is None:
            return known.revision is None or of.get("files") == weight_files.recipe_of(known, self._hashes)
        here = weight_files.fingerprint(
            known,
            known.folder,
            self._hashes,
            quant=self.quant,
            dtype=f"torch.{kept.values['dtype']}",
            system=self.system,
            thoughts=fitting(kept.values, ModelRecord).thoughts,
            libraries=kept.environment.get("libraries", {}),
        )
        return bool(kept.values["fingerprint"] == here)


def _records(store: Store) -> Iterator[Evidence]:
    """The records of all models in a store; they have no tensors, so most evidence need not be read."""
    for path in store.files():
        if not path.with_suffix(".safetensors").exists():
            with suppress(AssayError):  # a damaged file is reported when it is asked for
                if (evidence := check(path)).recipe.kind == MODEL_RECORD:
                    yield evidence
