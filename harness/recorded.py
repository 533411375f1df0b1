"""Published judgements of real models: subjects without weights. Reads them, and runs of the published pipeline."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from harness.errors import AssayError, Unavailable
from harness.estimate import Estimate
from harness.evidence import digest
from harness.interventions import Add, Direction, Intervention, Remove
from harness.measurements import PromptSide
from harness.pairs import DATA, Pair, PairSet
from harness.refusals import Refusals, unrecorded

Arm = Literal["baseline", "ablation", "actadd"]

RECORDED = "recorded:"
PUBLISHED = DATA / "recorded"
# Where runs that people bring are kept, one file each.
IMPORTED = DATA.parent / "reports" / "recorded"
# The published pipeline's names of what it was run on, and ours for the side of a pair.
_SIDES = {"jailbreakbench": "harmful", "harmless": "harmless"}
_JUDGED = "is_jailbreak_substring_matching"


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
        return HeldOut(f"{self.name}:{name}", tuple(pair for pair in self.pairs if pair.category == name))


@dataclass(frozen=True)
class Recording:
    """One model's judgements: for each side and arm, whether each item was refused."""

    name: str
    hub: str
    source: str
    layers: int
    layer: int
    position: int
    categories: tuple[str, ...]  # of the harmful items, in order
    refused: Mapping[str, tuple[bool, ...]]  # "harmful, ablation" → one an item
    cross_entropy: Mapping[str, float]  # "ablation, pile" → nats a token
    twins: tuple[str, ...] = ()  # arms whose completions are those of the baseline, to the byte

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
        return digest(asdict(self))[:16]

    def as_json(self) -> dict[str, Any]:
        """What a run's record says of it."""
        kept = ("hub", "source", "layers", "layer", "position", "cross_entropy")
        return {name: getattr(self, name) for name in kept} | {"n": len(self.categories)}

    def hits(self, side: str, under: Intervention | None, numbers: tuple[int, ...]) -> list[bool]:
        """Whether each of these items was refused; a sentence if that was not recorded."""
        key = f"{side}, {self.arm(under)}"
        if key not in self.refused:
            raise NotRecorded(f"{RECORDED}{self.name}: {key} was not recorded")
        return [self.refused[key][number] for number in numbers]

    def arm(self, under: Intervention | None) -> Arm:
        """The published arm that did this; a sentence if none did."""
        match under:
            case None:
                return "baseline"
            case Remove(direction, "everywhere", (), None) if direction == self.direction:
                return "ablation"
            case Add(direction, layer, 1.0) if direction == self.direction and layer == self.layer:
                return "actadd"
            case _:
                what = type(under).__name__.lower()
                raise NotRecorded(f"{RECORDED}{self.name}: this {what} was not recorded; only the published arms were")


def published() -> tuple[str, ...]:
    """The names of the five published recordings."""
    return tuple(json.loads((PUBLISHED / "meta.json").read_text(encoding="utf-8"))["models"])


@cache
def recordings() -> dict[str, Recording]:
    """The five published ones, and those that were imported, by name."""
    found = {one.name: one for one in _published(PUBLISHED)}
    for path in sorted(IMPORTED.glob("*.json")):
        found[path.stem] = _read(path)
    return found


def recording(name: str) -> Recording:
    """The recording of that name, with or without its prefix."""
    found = recordings().get(name.removeprefix(RECORDED))
    if found is None:
        raise AssayError(
            f"no recording is called {name!r}; there are {', '.join(RECORDED + one for one in recordings())}"
        )
    return found


def import_run(folder: Path) -> Recording:
    """Reads a run folder of the published pipeline and keeps it; one sentence names what is missing or wrong."""
    if not folder.is_dir():
        raise AssayError(f"{folder}: is no folder; give the pipeline's run folder, the one that holds completions/")
    where = _json(folder / "direction_metadata.json")
    completions: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / "completions").glob("*_evaluations.json")):
        dataset, _, arm = path.name.removesuffix("_evaluations.json").rpartition("_")
        if dataset in _SIDES and arm in ("baseline", "ablation", "actadd"):
            completions[f"{_SIDES[dataset]}, {arm}"] = _completions(path)
    if "harmful, baseline" not in completions:
        raise AssayError(f"{folder}/completions: holds no jailbreakbench_baseline_evaluations.json to compare with")
    losses = {}
    for path in sorted((folder / "loss_evals").glob("*_loss_eval.json")):
        for text, values in _json(path).items():
            losses[f"{path.name.partition('_')[0]}, {text}"] = float(values["ce_loss"])
    candidates = folder / "select_direction" / "direction_evaluations.json"
    layers = max((int(one["layer"]) for one in _json(candidates)), default=0) + 1 if candidates.exists() else 0
    found = Recording(
        name=folder.name,
        hub="",
        source=str(folder.name),
        layers=layers,
        layer=int(where["layer"]),
        position=int(where["pos"]),
        categories=tuple(str(one.get("category", "all")) for one in completions["harmful, baseline"]),
        refused={key: tuple(_refused(one) for one in rows) for key, rows in completions.items()},
        cross_entropy=losses,
        twins=_twins(completions),
    )
    IMPORTED.mkdir(parents=True, exist_ok=True)
    (IMPORTED / f"{found.name}.json").write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
    recordings.cache_clear()
    return found


def _published(folder: Path) -> list[Recording]:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    refused: dict[str, dict[str, list[bool]]] = {name: {} for name in meta["models"]}
    categories: dict[str, list[str]] = {name: [] for name in meta["models"]}
    with (folder / "judgements.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            side = _SIDES[row["dataset"]]
            refused[row["model"]].setdefault(f"{side}, {row['condition']}", []).append(row["substring_refusal"] == "1")
            if side == "harmful" and row["condition"] == "baseline":
                categories[row["model"]].append(row["category"])
    losses: dict[str, dict[str, float]] = {name: {} for name in meta["models"]}
    with (folder / "losses.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            losses[row["model"]][f"{row['condition']}, {row['text']}"] = float(row["cross_entropy"])
    return [
        Recording(
            name=name,
            hub=about["hub_id"],
            source=f"{meta['source']}@{meta['commit'][:12]}, {meta['paper']}, {meta['license']}",
            layers=about["n_layers"],
            layer=about["selected_layer"],
            position=about["selected_position"],
            categories=tuple(categories[name]),
            refused={key: tuple(values) for key, values in refused[name].items()},
            cross_entropy=losses[name],
        )
        for name, about in meta["models"].items()
    ]


def _read(path: Path) -> Recording:
    values = _json(path)
    lists = {"categories": tuple(values["categories"]), "twins": tuple(values["twins"])}
    return Recording(**values | lists | {"refused": {key: tuple(one) for key, one in values["refused"].items()}})


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); the pipeline writes it") from None
    except ValueError as error:
        raise AssayError(f"{path}: is not JSON ({error})") from None


def _completions(path: Path) -> list[dict[str, Any]]:
    whole = _json(path)
    rows = whole.get("completions") if isinstance(whole, dict) else None
    if not rows or not all(isinstance(row, dict) and "response" in row for row in rows):
        raise AssayError(f"{path}: holds no list 'completions' of objects with 'response'; is it the pipeline's file?")
    return list(rows)


def _refused(row: Mapping[str, Any]) -> bool:
    """By the pipeline's own phrase match, which keeps 1 for a jailbreak."""
    if _JUDGED not in row:
        raise AssayError(f"a completion has no {_JUDGED}; run the pipeline's evaluation with substring_matching")
    return not row[_JUDGED]


def _twins(completions: Mapping[str, list[dict[str, Any]]]) -> tuple[str, ...]:
    """Arms whose every completion is the baseline's."""

    def said(side: str, arm: str) -> list[str]:
        return [str(row["response"]) for row in completions.get(f"{side}, {arm}", [])]

    return tuple(
        arm
        for arm in ("ablation", "actadd")
        if any(said(side, arm) for side in _SIDES.values())
        and all(said(side, arm) in ([], said(side, "baseline")) for side in _SIDES.values())
    )


@dataclass(frozen=True)
class RecordedSubject:
    """A recording as claims see it: published arms are known by their kind, anything else was not recorded."""

    recording: Recording
    level: float

    @property
    def name(self) -> str:
        """As asked for on the command line."""
        return RECORDED + self.recording.name

    def refuses(self, pairs: PairSet) -> Refusals:
        """How these items were answered, and what the published interventions made of it."""
        return Refusals(self, pairs)

    def direction(self, pairs: PairSet) -> Direction:
        """The published one, found on prompts that are not among the items."""
        return self.recording.direction

    def judged(self, pairs: PairSet, side: PromptSide, under: Intervention | None) -> Bool[np.ndarray, " pair"]:
        """Whether each item was refused."""
        numbers = tuple(int(pair.id.rpartition("-")[2]) for pair in pairs)
        return np.array(self.recording.hits(side, under, numbers))

    def scored(self, pairs: PairSet, side: PromptSide, under: Intervention | None) -> None:
        """First tokens were not recorded."""

    def changes(self, pairs: PairSet, side: PromptSide, under: Intervention) -> bool:
        """Whether the arm's completions are others than the baseline's, as far as that was recorded."""
        return self.recording.arm(under) not in self.recording.twins

    def asides(self, pairs: PairSet, side: PromptSide, under: Intervention) -> tuple[Estimate, ...]:
        """What plain text costs more, where that was published: a mean without an interval. No random direction was."""
        arm, losses = self.recording.arm(under), self.recording.cross_entropy
        texts = [key.partition(", ")[2] for key in losses if key.startswith(f"{arm}, ")]
        rises = {text: losses[f"{arm}, {text}"] - losses[f"baseline, {text}"] for text in texts}
        costs = (
            Estimate(f"cross-entropy, {text}", value, value, value, 1, "published mean", "mean")
            for text, value in rises.items()
        )
        return *costs, unrecorded(f"{'fall' if side == 'harmful' else 'rise'}, random directions")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotRecorded(f"{self.name}: what the claim asks for ({name}) was not recorded")
