"""Reads a run folder of the published pipeline (Arditi et al.) into a recording."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import AssayError
from harness.recordings import SIDES, Recording, keep, read_json

_JUDGED = "is_jailbreak_substring_matching"


def import_run(folder: Path) -> Recording:
    """Reads a run folder of the published pipeline and keeps it; one sentence names what is missing or wrong."""
    if not folder.is_dir():
        raise AssayError(f"{folder}: is no folder; give the pipeline's run folder, the one that holds completions/")
    where = read_json(folder / "direction_metadata.json")
    completions: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / "completions").glob("*_evaluations.json")):
        dataset, _, arm = path.name.removesuffix("_evaluations.json").rpartition("_")
        if dataset in SIDES and arm in ("baseline", "ablation", "actadd"):
            completions[f"{SIDES[dataset]}, {arm}"] = _completions(path)
    if "harmful, baseline" not in completions:
        raise AssayError(f"{folder}/completions: holds no jailbreakbench_baseline_evaluations.json to compare with")
    losses = {}
    for path in sorted((folder / "loss_evals").glob("*_loss_eval.json")):
        for text, values in read_json(path).items():
            losses[f"{path.name.partition('_')[0]}, {text}"] = float(values["ce_loss"])
    candidates = folder / "select_direction" / "direction_evaluations.json"
    layers = max((int(one["layer"]) for one in read_json(candidates)), default=0) + 1 if candidates.exists() else 0
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
    keep(found)
    return found


def _completions(path: Path) -> list[dict[str, Any]]:
    whole = read_json(path)
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
        if any(said(side, arm) for side in SIDES.values())
        and all(said(side, arm) in ([], said(side, "baseline")) for side in SIDES.values())
    )
