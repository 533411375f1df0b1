"""Recordings: judgements of real models' answers, published or imported, and the files that hold them."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, TypedDict

from harness.inputs import places
from harness.inputs.errors import AssayError, Unavailable
from harness.inputs.files import json_files
from harness.inputs.files.json_files import Finite
from harness.inputs.files.whole_files import write_whole
from harness.inputs.judges.phrases import LITERAL
from harness.inputs.prompts.pairs import Pair, PairSet, require_category
from harness.measurements.evidence import Imported
from harness.measurements.interventions import Add, Direction, Intervention, Remove, Where
from harness.measurements.questions import PromptSide
from harness.measurements.recipe import digest

RECORDED = "recorded:"
PUBLISHED = places.DATA / "recorded"
# The version of imported recordings' files; version 1 named arms as the pipeline does, without side and sign, and
# before version 3 there was no second judge.
SCHEMA = 3
# The published pipeline's names of its datasets, and the side of a pair that each corresponds to.
SIDES: Mapping[str, PromptSide] = {"jailbreakbench": "harmful", "harmless": "harmless"}
PIPELINE_ARMS = ("baseline", "ablation", "actadd")
# Names allowed for imported recordings: they are used as file names and on command lines.
_NAME = re.compile(r"[^\W_][\w .+-]{0,99}")
_RESTORE = "restore data/recorded from the repository"
_PLACES = {"everywhere": "", "stream": " from the stream", "attention": " from attention", "mlp": " from MLPs"}


class NotRecorded(Unavailable):
    """The claim needs something that was not recorded: it is skipped, without a verdict."""


class HeldOut(PairSet):
    """Pairs that are all held out, since nothing was searched for on them."""

    @cached_property
    def discovery(self) -> PairSet:
        """No pairs."""
        return PairSet(f"{self.name}:discovery", ())

    @cached_property
    def heldout(self) -> "HeldOut":
        """All pairs."""
        return self

    def category(self, name: str) -> "HeldOut":
        """The pairs of a category, all held out."""
        require_category(name, self.categories)
        return HeldOut(f"{self.name}:{name}", tuple(pair for pair in self.pairs if pair.category == name))

    def without(self, name: str) -> "HeldOut":
        """The pairs of all other categories, all held out."""
        require_category(name, self.categories)
        return HeldOut(f"{self.name}:not {name}", tuple(pair for pair in self.pairs if pair.category != name))


@dataclass(frozen=True)
class Arm:
    """The intervention of an arm: none, the direction removed from some place, or the direction added, scaled."""

    done: Literal["nothing", "remove", "add"] = "nothing"
    where: Where | None = None  # of a removal
    scale: Finite | None = None  # of an addition; −1 subtracts

    def __str__(self) -> str:
        match self:
            case Arm("remove", where):
                return f"direction removed{_PLACES[where or 'everywhere']}"
            case Arm("add", _, scale):
                named = {1.0: "direction added", -1.0: "direction subtracted"}
                return named.get(scale or 0.0, f"direction added {scale} times")
            case _:
                return "as it is"

    @classmethod
    def of_pipeline(cls, name: str, side: PromptSide | None, where: Where = "everywhere") -> "Arm":
        """The arm behind the published pipeline's name for it, on a side or, without one, in its losses.

        `actadd` adds the direction to harmless prompts and subtracts it (coefficient −1) everywhere else: from harmful
        prompts and in the losses (Arditi et al., pipeline/run_pipeline.py).
        """
        match name:
            case "ablation":
                return cls("remove", where=where)
            case "actadd":
                return cls("add", scale=1.0 if side == "harmless" else -1.0)
            case _:
                return cls()


@dataclass(frozen=True)
class Judgements:
    """Whether each item was refused: on one side, in one arm and language, by one judge."""

    side: PromptSide
    arm: Arm
    judge: str
    refused: tuple[bool, ...]
    language: str = "en"
    completions: str = ""  # SHA-256 of the answers; empty where they are not known
    same_as: str = ""  # the arm whose answers are the same to the byte; empty where there is none
    unsafe: tuple[bool, ...] = ()  # whether a second judge, Llama Guard, calls each answer unsafe; empty: not recorded

    @property
    def label(self) -> str:
        """Side and arm in words, such as `harmful, direction removed`."""
        return f"{self.side}, {self.arm}"

    @property
    def unchanged(self) -> bool:
        """Whether its answers are those of the unchanged model, to the byte."""
        return self.same_as == f"{self.side}, {Arm()}"


@dataclass(frozen=True)
class Loss:
    """The cross-entropy of a text in an arm, in nats per token."""

    arm: Arm
    text: str
    nats: Finite


@dataclass(frozen=True)
class Recording:
    """One model's judgements by side, arm, language and judge, and its losses on texts by arm."""

    name: str
    hub: str
    source: str
    layers: int
    layer: int
    position: int
    categories: tuple[str, ...]  # of the harmful items, in order
    judgements: tuple[Judgements, ...]
    losses: tuple[Loss, ...] = ()
    # The judge and language of the judgements that claims read.
    judge: str = LITERAL.name
    language: str = "en"
    imported: Imported | None = None  # the bundle it came in

    def __post_init__(self) -> None:
        for arm in self.judgements:
            for count in (len(arm.refused), len(arm.unsafe) or len(arm.refused)):
                if count != len(self.categories):
                    raise AssayError(
                        f"{RECORDED}{self.name}: '{arm.label}' has {count} judgements and there are "
                        f"{len(self.categories)} items; every arm needs one for each item"
                    )

    @property
    def pairs(self) -> HeldOut:
        """The items by number; their texts belong to the dataset and are not stored."""
        return HeldOut(
            f"{RECORDED}{self.name}",
            tuple(
                Pair(f"{self.name}-{number}", category, f"harmful item {number}", f"harmless item {number}")
                for number, category in enumerate(self.categories)
            ),
        )

    @property
    def direction(self) -> Direction:
        """The published direction: the layer and position at which it was found, without its vector."""
        return Direction("published", self.layer, self.position)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that was recorded."""
        return digest({name: value for name, value in asdict(self).items() if name != "imported"})[:16]

    def as_json(self) -> dict[str, Any]:
        """The recording as a run's record keeps it, without judgements."""
        kept = ("hub", "source", "layers", "layer", "position", "judge", "language")
        losses = {f"{loss.arm}, {loss.text}": loss.nats for loss in self.losses}
        known = {name: getattr(self, name) for name in kept} | {"cross_entropy": losses, "n": len(self.categories)}
        return known if self.imported is None else known | {"imported": self.imported}

    @property
    def arms(self) -> tuple[Judgements, ...]:
        """The judgements that claims read: by the recording's judge, in its language."""
        return tuple(arm for arm in self.judgements if (arm.judge, arm.language) == (self.judge, self.language))

    def judged(self, side: PromptSide, under: Intervention | None, judge: str = "") -> Judgements:
        """The judgements of a side under an intervention; NotRecorded, with those there are, if they are missing."""
        arm, by, name = self.arm(under), judge or self.judge, f"{RECORDED}{self.name}"
        judgements = [
            each for each in self.judgements if (each.side, each.arm, each.language) == (side, arm, self.language)
        ]
        if not judgements:
            labels = "; ".join(each.label for each in self.arms)
            raise NotRecorded(f"{name}: '{side}, {arm}' was not recorded; there are: {labels}")
        if (own := next((each for each in judgements if each.judge == by), None)) is None:
            judges = ", ".join(each.judge for each in judgements)
            raise NotRecorded(f"{name}: what the judge {by} says was not recorded; there are: {judges}")
        if own.same_as and not own.unchanged:
            raise NotRecorded(
                f"{name}: '{own.label}' is no evidence of its own: its answers are, to the byte, those of {own.same_as}"
            )
        return own

    def arm(self, under: Intervention | None) -> Arm:
        """The arm of an intervention; NotRecorded if no recording can have it."""
        match under:
            case None:
                return Arm()
            case Remove(direction, where, (), None, during=None) if direction == self.direction:
                return Arm("remove", where=where)
            case Add(direction, layer, scale, during=None) if direction == self.direction and layer == self.layer:
                return Arm("add", scale=scale)
            case _:
                kind = type(under).__name__.lower()
                raise NotRecorded(f"{RECORDED}{self.name}: this {kind} was not recorded; only the published arms were")


def published() -> tuple[str, ...]:
    """The names of the five published recordings."""
    return tuple(_meta(PUBLISHED)["models"])


def may_be_called(name: str) -> bool:
    """Whether an imported recording may have this name: a plain file name that no published recording has."""
    return bool(_NAME.fullmatch(name)) and name.casefold() not in map(str.casefold, published())


def recordings() -> dict[str, Recording]:
    """All recordings by name, the five published ones and those imported."""
    return imported() | _published_recordings()


def imported() -> dict[str, Recording]:
    """The imported recordings by name."""
    return {name: _read_cached(path) for name, path in _imported_files().items()}


def recording(name: str) -> Recording:
    """The recording of that name, with or without its prefix; reads no other imported one."""
    short, files = name.removeprefix(RECORDED), _imported_files()
    if short in published():
        return _published_recordings()[short]
    if short in files:
        return _read_cached(files[short])
    names = ", ".join(RECORDED + known for known in (*published(), *files))
    raise AssayError(f"no recording is called {name!r}; there are {names}")


def _imported_files() -> dict[str, Path]:
    """Name → file of the imported recordings; files whose names are not allowed are ignored."""
    return {path.stem: path for path in sorted(places.recordings().glob("*.json")) if may_be_called(path.stem)}


def _read_cached(path: Path) -> Recording:
    about = path.stat()
    return _read_version(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=32)
def _read_version(path: Path, changed: int, size: int) -> Recording:
    return read_recording(path)


def keep(new: Recording) -> None:
    """Writes a recording to the folder of imported ones."""
    text = json.dumps({"schema": SCHEMA} | asdict(new), indent=1)
    write_whole(places.recordings() / f"{new.name}.json", text.encode())


class _About(TypedDict):
    hub_id: str
    selected_position: int
    selected_layer: int
    n_layers: int


class _Meta(TypedDict):
    """meta.json of the published recordings."""

    source: str
    commit: str
    paper: str
    license: str
    models: dict[str, _About]


def _meta(folder: Path) -> _Meta:
    return json_files.read(folder / "meta.json", _Meta, no="list of published recordings", do=_RESTORE)


@cache
def _published_recordings() -> dict[str, Recording]:
    try:
        return {recording.name: recording for recording in _read_published(PUBLISHED)}
    except (OSError, KeyError, ValueError, csv.Error) as error:
        wrong = f"{type(error).__name__}: {error}"
        raise AssayError(f"{PUBLISHED}: the published recordings cannot be read ({wrong}); {_RESTORE}") from None


def _read_published(folder: Path) -> Iterator[Recording]:
    meta = _meta(folder)
    refused: dict[str, dict[tuple[PromptSide, Arm], list[bool]]] = {name: {} for name in meta["models"]}
    unsafe: dict[str, dict[tuple[PromptSide, Arm], list[bool]]] = {name: {} for name in meta["models"]}
    categories: dict[str, list[str]] = {name: [] for name in meta["models"]}
    with (folder / "judgements.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            side = SIDES[row["dataset"]]
            arm = Arm.of_pipeline(row["condition"], side)
            refused[row["model"]].setdefault((side, arm), []).append(row["substring_refusal"] == "1")
            if row["llamaguard2_safe"]:  # it judged no answers to harmless prompts
                unsafe[row["model"]].setdefault((side, arm), []).append(row["llamaguard2_safe"] == "0")
            if (side, arm) == ("harmful", Arm()):
                categories[row["model"]].append(row["category"])
    losses: dict[str, list[Loss]] = {name: [] for name in meta["models"]}
    with (folder / "losses.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            arm = Arm.of_pipeline(row["condition"], None)
            losses[row["model"]].append(Loss(arm, row["text"], float(row["cross_entropy"])))
    for name, about in meta["models"].items():
        judged = (
            Judgements(side, arm, LITERAL.name, tuple(hits), unsafe=tuple(unsafe[name].get((side, arm), ())))
            for (side, arm), hits in refused[name].items()
        )
        yield Recording(
            name=name,
            hub=about["hub_id"],
            source=f"{meta['source']}@{meta['commit'][:12]}, {meta['paper']}, {meta['license']}",
            layers=about["n_layers"],
            layer=about["selected_layer"],
            position=about["selected_position"],
            categories=tuple(categories[name]),
            judgements=tuple(judged),
            losses=tuple(losses[name]),
        )


class _First(TypedDict):
    """A recording's file in version 1, in which arms had no side, place and sign."""

    hub: str
    source: str
    layers: int
    layer: int
    position: int
    categories: tuple[str, ...]
    refused: dict[str, tuple[bool, ...]]  # "harmful, ablation" → whether each item was refused
    cross_entropy: dict[str, Finite]  # "ablation, pile" → nats per token
    twins: tuple[str, ...]  # arms whose completions are those of the baseline, to the byte


def read_recording(path: Path) -> Recording:
    """The recording in a file of any version; AssayError, with what to do, if the file holds none."""
    again = "import the run again, or move the file away"
    try:
        whole = json_files.parsed(json_files.contents(path))
        if isinstance(whole, dict) and "schema" in whole:
            kept = json_files.typed(whole, Recording, newest=SCHEMA)
        else:
            kept = _from_first(path.stem, json_files.typed(whole, _First))
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); {again}") from None
    except json_files.Later as error:
        raise AssayError(f"{path}: {error}") from None
    except json_files.Malformed as error:
        raise AssayError(f"{path}: is no recording ({error}); {again}") from None
    return replace(kept, name=path.stem)  # recordings are asked for by their file's name


def _from_first(name: str, first: _First) -> Recording:
    judgements = []
    for key, hits in first["refused"].items():
        word, _, arm = key.partition(", ")
        side = next((side for side in SIDES.values() if side == word), None)
        if side is None or arm not in PIPELINE_ARMS:
            raise json_files.Malformed(f"$.refused: {key!r} is no side and arm")
        same = f"{side}, {Arm()}" if arm in first["twins"] else ""
        judgements.append(Judgements(side, Arm.of_pipeline(arm, side), LITERAL.name, hits, same_as=same))
    losses = []
    for key, nats in first["cross_entropy"].items():
        arm, _, text = key.partition(", ")
        losses.append(Loss(Arm.of_pipeline(arm, None), text, nats))
    return Recording(
        name,
        first["hub"],
        first["source"],
        first["layers"],
        first["layer"],
        first["position"],
        first["categories"],
        tuple(judgements),
        tuple(losses),
    )
