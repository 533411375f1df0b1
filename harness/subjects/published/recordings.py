"""Published judgements of real models, as values: what each recording holds, and where they are kept."""

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
# Of the files there; the first had arms by the pipeline's names alone, without side and sign.
SCHEMA = 2
# The published pipeline's names of what it was run on, and ours for the side of a pair.
SIDES: Mapping[str, PromptSide] = {"jailbreakbench": "harmful", "harmless": "harmless"}
PIPELINE_ARMS = ("baseline", "ablation", "actadd")
# Of a recording that people bring: it is a file's name, and stands on command lines.
_NAME = re.compile(r"[^\W_][\w .+-]{0,99}")
_RESTORE = "restore data/recorded from the repository"
_PLACES = {"everywhere": "", "stream": " from the stream", "attention": " from attention", "mlp": " from MLPs"}


class NotRecorded(Unavailable):
    """The claim needs what was not published; that is a skip and no verdict."""


class HeldOut(PairSet):
    """Pairs on which nothing was sought: all of them judge."""

    @cached_property
    def discovery(self) -> PairSet:
        """None."""
        return PairSet(f"{self.name}:discovery", ())

    @cached_property
    def heldout(self) -> "HeldOut":
        """All."""
        return self

    def category(self, name: str) -> "HeldOut":
        """Those of one category, held out too."""
        require_category(name, self.categories)
        return HeldOut(f"{self.name}:{name}", tuple(pair for pair in self.pairs if pair.category == name))

    def without(self, name: str) -> "HeldOut":
        """All but those of one category, held out too."""
        require_category(name, self.categories)
        return HeldOut(f"{self.name}:not {name}", tuple(pair for pair in self.pairs if pair.category != name))


@dataclass(frozen=True)
class Arm:
    """What was done to the model: nothing, its direction removed in some place, or added so many times."""

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
        """The arm that the published pipeline calls so, on a side or, without one, in its losses.

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
    completions: str = ""  # SHA-256 of the answers, where they were at hand
    same_as: str = ""  # whose answers these are to the byte, if they are another arm's too

    @property
    def label(self) -> str:
        """Side and arm, in words."""
        return f"{self.side}, {self.arm}"

    @property
    def unchanged(self) -> bool:
        """Whether its answers are those of the model as it is, to the byte."""
        return self.same_as == f"{self.side}, {Arm()}"


@dataclass(frozen=True)
class Loss:
    """What a text costs in an arm: mean nats a token."""

    arm: Arm
    text: str
    nats: Finite


@dataclass(frozen=True)
class Recording:
    """One model's judgements by side, arm, language and judge, and what texts cost it."""

    name: str
    hub: str
    source: str
    layers: int
    layer: int
    position: int
    categories: tuple[str, ...]  # of the harmful items, in order
    judgements: tuple[Judgements, ...]
    losses: tuple[Loss, ...] = ()
    # Those by which claims are judged.
    judge: str = LITERAL.name
    language: str = "en"
    imported: Imported | None = None  # the bundle it came in

    def __post_init__(self) -> None:
        for one in self.judgements:
            if len(one.refused) != len(self.categories):
                raise AssayError(
                    f"{RECORDED}{self.name}: '{one.label}' has {len(one.refused)} judgements and there are "
                    f"{len(self.categories)} items; every arm needs one an item"
                )

    @property
    def pairs(self) -> HeldOut:
        """The items by number: their texts are the dataset's and not ours to store."""
        return HeldOut(
            f"{RECORDED}{self.name}",
            tuple(
                Pair(f"{self.name}-{number}", category, f"harmful item {number}", f"harmless item {number}")
                for number, category in enumerate(self.categories)
            ),
        )

    @property
    def direction(self) -> Direction:
        """The published one: known by where it was found, and not as a vector."""
        return Direction("published", self.layer, self.position)

    @cached_property
    def fingerprint(self) -> str:
        """Of all that was recorded."""
        return digest({name: value for name, value in asdict(self).items() if name != "imported"})[:16]

    def as_json(self) -> dict[str, Any]:
        """What a run's record says of it."""
        kept = ("hub", "source", "layers", "layer", "position", "judge", "language")
        losses = {f"{one.arm}, {one.text}": one.nats for one in self.losses}
        known = {name: getattr(self, name) for name in kept} | {"cross_entropy": losses, "n": len(self.categories)}
        return known if self.imported is None else known | {"imported": self.imported}

    @property
    def arms(self) -> tuple[Judgements, ...]:
        """Those by which claims are judged: of its own judge, in its own language."""
        return tuple(one for one in self.judgements if (one.judge, one.language) == (self.judge, self.language))

    def judged(self, side: PromptSide, under: Intervention | None, judge: str = "") -> Judgements:
        """How this side was answered, by its own judge or another; a sentence if that was not recorded."""
        arm, by, name = self.arm(under), judge or self.judge, f"{RECORDED}{self.name}"
        asked = [one for one in self.judgements if (one.side, one.arm, one.language) == (side, arm, self.language)]
        if not asked:
            there = "; ".join(one.label for one in self.arms)
            raise NotRecorded(f"{name}: '{side}, {arm}' was not recorded; there are: {there}")
        if (found := next((one for one in asked if one.judge == by), None)) is None:
            there = ", ".join(one.judge for one in asked)
            raise NotRecorded(f"{name}: what the judge {by} says was not recorded; there are: {there}")
        if found.same_as and not found.unchanged:
            raise NotRecorded(
                f"{name}: '{found.label}' is no evidence of its own: its answers are, to the byte, those of "
                f"{found.same_as}"
            )
        return found

    def arm(self, under: Intervention | None) -> Arm:
        """The arm that this would be; a sentence if no recording could have it."""
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
    """Whether a recording that people bring may have this name: a plain one, that none of the published has."""
    return bool(_NAME.fullmatch(name)) and name.casefold() not in map(str.casefold, published())


def recordings() -> dict[str, Recording]:
    """The five published ones, and those that were imported, by name."""
    return imported() | _published_ones()


def imported() -> dict[str, Recording]:
    """Those that people brought, by name."""
    return {name: _kept(path) for name, path in _brought().items()}


def recording(name: str) -> Recording:
    """The recording of that name, with or without its prefix; others may be damaged."""
    short, brought = name.removeprefix(RECORDED), _brought()
    if short in published():
        return _published_ones()[short]
    if short in brought:
        return _kept(brought[short])
    there = ", ".join(RECORDED + one for one in (*published(), *brought))
    raise AssayError(f"no recording is called {name!r}; there are {there}")


def _brought() -> dict[str, Path]:
    """Name → file; one that hides, or is called like a published one, is nobody's recording."""
    return {path.stem: path for path in sorted(places.recordings().glob("*.json")) if may_be_called(path.stem)}


def _kept(path: Path) -> Recording:
    about = path.stat()
    return _read_once(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=32)
def _read_once(path: Path, changed: int, size: int) -> Recording:
    return read_recording(path)


def keep(brought: Recording) -> None:
    """Keeps a recording beside the published ones."""
    text = json.dumps({"schema": SCHEMA} | asdict(brought), indent=1)
    write_whole(places.recordings() / f"{brought.name}.json", text.encode())


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
def _published_ones() -> dict[str, Recording]:
    try:
        return {one.name: one for one in _published(PUBLISHED)}
    except (OSError, KeyError, ValueError, csv.Error) as error:
        wrong = f"{type(error).__name__}: {error}"
        raise AssayError(f"{PUBLISHED}: holds no recordings as they were published ({wrong}); {_RESTORE}") from None


def _published(folder: Path) -> Iterator[Recording]:
    meta = _meta(folder)
    refused: dict[str, dict[tuple[PromptSide, Arm], list[bool]]] = {name: {} for name in meta["models"]}
    categories: dict[str, list[str]] = {name: [] for name in meta["models"]}
    with (folder / "judgements.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            side = SIDES[row["dataset"]]
            arm = Arm.of_pipeline(row["condition"], side)
            refused[row["model"]].setdefault((side, arm), []).append(row["substring_refusal"] == "1")
            if (side, arm) == ("harmful", Arm()):
                categories[row["model"]].append(row["category"])
    losses: dict[str, list[Loss]] = {name: [] for name in meta["models"]}
    with (folder / "losses.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            arm = Arm.of_pipeline(row["condition"], None)
            losses[row["model"]].append(Loss(arm, row["text"], float(row["cross_entropy"])))
    for name, about in meta["models"].items():
        arms = refused[name].items()
        yield Recording(
            name=name,
            hub=about["hub_id"],
            source=f"{meta['source']}@{meta['commit'][:12]}, {meta['paper']}, {meta['license']}",
            layers=about["n_layers"],
            layer=about["selected_layer"],
            position=about["selected_position"],
            categories=tuple(categories[name]),
            judgements=tuple(Judgements(side, arm, LITERAL.name, tuple(hits)) for (side, arm), hits in arms),
            losses=tuple(losses[name]),
        )


class _First(TypedDict):
    """A recording as it was kept before arms had a side, a place and a sign."""

    hub: str
    source: str
    layers: int
    layer: int
    position: int
    categories: tuple[str, ...]
    refused: dict[str, tuple[bool, ...]]  # "harmful, ablation" → one an item
    cross_entropy: dict[str, Finite]  # "ablation, pile" → nats a token
    twins: tuple[str, ...]  # arms whose completions are those of the baseline, to the byte


def read_recording(path: Path) -> Recording:
    """The recording in a file; one sentence if it is none."""
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
    # By its file's name it is asked for.
    return replace(kept, name=path.stem)


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
