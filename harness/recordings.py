"""Published judgements of real models, as values: what each recording holds, and where they are kept."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from harness.errors import AssayError, Unavailable
from harness.evidence import digest
from harness.interventions import Add, Direction, Intervention, Remove
from harness.pairs import DATA, Pair, PairSet

Arm = Literal["baseline", "ablation", "actadd"]

RECORDED = "recorded:"
PUBLISHED = DATA / "recorded"
# Where runs that people bring are kept, one file each.
IMPORTED = DATA.parent / "reports" / "recorded"
# The published pipeline's names of what it was run on, and ours for the side of a pair.
SIDES = {"jailbreakbench": "harmful", "harmless": "harmless"}


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


def keep(brought: Recording) -> None:
    """Keeps a recording beside the published ones."""
    IMPORTED.mkdir(parents=True, exist_ok=True)
    (IMPORTED / f"{brought.name}.json").write_text(json.dumps(asdict(brought), indent=1), encoding="utf-8")
    recordings.cache_clear()


def read_json(path: Path) -> Any:
    """A file of a recording, or of a run that becomes one; a sentence if it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AssayError(f"{path}: cannot be read ({error.strerror}); the pipeline writes it") from None
    except ValueError as error:
        raise AssayError(f"{path}: is not JSON ({error})") from None


def _published(folder: Path) -> list[Recording]:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    refused: dict[str, dict[str, list[bool]]] = {name: {} for name in meta["models"]}
    categories: dict[str, list[str]] = {name: [] for name in meta["models"]}
    with (folder / "judgements.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            side = SIDES[row["dataset"]]
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
    values = read_json(path)
    lists = {"categories": tuple(values["categories"]), "twins": tuple(values["twins"])}
    return Recording(**values | lists | {"refused": {key: tuple(one) for key, one in values["refused"].items()}})
