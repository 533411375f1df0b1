"""One model of a run: its record from evidence if that is still true of its files, its weights only when needed."""

import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness import environment
from harness.catalog import Device, KnownModel, Quant, find
from harness.claims import LEVEL
from harness.errors import AssayError, NotMeasured, Refused, Unavailable
from harness.evidence import Evidence, Recipe, Store
from harness.json_files import fitting
from harness.pair_files import load_pairs
from harness.pairs import PairSet, PromptSet
from harness.record import ModelRecord
from harness.subject import Subject

if TYPE_CHECKING:  # importing it loads torch
    from harness.chat import ChatModel


@dataclass
class Sleeper:
    """A model that is woken at most once, or, judging from evidence only, never."""

    name: str
    quant: Quant
    device: Device
    store: Store
    judge_only: bool = False
    _awake: "ChatModel | None" = field(default=None, repr=False)

    @property
    def known(self) -> KnownModel:
        """Its entry in the catalog."""
        return find(self.name)

    @property
    def pairs(self) -> PairSet:
        """The pairs it brings, or Assay's."""
        return load_pairs(self.known.pairs)

    @cached_property
    def record(self) -> ModelRecord:
        """What is known of it without its weights; measured on waking, kept while its files stay as they are."""
        kept, here = self.store.get(self.recipe), environment.libraries()
        # With other versions it would measure other numbers, so it is another model; for judging it stays what it was.
        if kept is not None and (
            self.judge_only or environment.numeric(kept.environment.get("libraries", {})) == environment.numeric(here)
        ):
            return fitting(kept.values, ModelRecord)
        if self.judge_only:
            raise NotMeasured(
                f"{self.name} ({self.quant}): no record of this model is in {self.store.folder}; run without "
                "--judge-only where it can be loaded, or import the bundle that has it"
            )
        record = self().record
        spent = environment.measured(record.device, record.seconds, record.peak_bytes)
        self.store.put(Evidence(self.recipe, asdict(record), environment=spent))
        return record

    def subject(self, pairs: PromptSet | None = None, level: float = LEVEL) -> Subject:
        """What a claim receives as `model`, on these pairs or its own, at the claim's error level."""
        return Subject(self.record, self.pairs if pairs is None else pairs, self.store, self, level)

    def __call__(self) -> "ChatModel":
        """The live model."""
        if self.judge_only:
            raise NotMeasured(f"{self.name}: this was never measured, and --judge-only does not load models")
        if self._awake is None:
            from harness.wake import wake  # torch is loaded when something must be measured

            try:
                self._awake = wake(self.name, quant=self.quant, device=self.device)
            except Unavailable:
                raise
            except AssayError as error:
                raise Refused(str(error)) from error
            # Many claims ask for the same streams and means.
            self._awake.memory = {}
        return self._awake

    def close(self) -> None:
        """Lets go of the weights, if they were ever loaded."""
        if self._awake is not None:
            self._awake.close()
            self._awake = None

    @cached_property
    def recipe(self) -> Recipe:
        """Of its record."""
        known = self.known
        settings = {"chat": known.chat_arguments, "refusing": list(known.refusal_tokens), "dtype": known.dtype}
        of = {"quant": self.quant, "device": self.device, "files": _files(known), "settings": settings}
        return Recipe("model-record", 2, self.name, of)


def _files(known: KnownModel) -> Any:
    """Changes when the weights do: a pinned revision, or names, sizes and times of a folder's files."""
    if known.folder is None:
        return {"hub": known.hub, "revision": known.revision}
    files = sorted(path for path in known.folder.iterdir() if path.is_file())
    if known.alias.startswith("organism:"):
        # They come with the project: times differ from clone to clone, contents do not.
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files}
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
