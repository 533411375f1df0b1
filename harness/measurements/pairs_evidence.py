"""Prompts as evidence: what a run was judged on, so that whoever has the evidence can read it."""

from harness.inputs.errors import AssayError
from harness.inputs.files.json_files import fitting
from harness.inputs.prompts.pairs import SPLIT, Pair, PairSet
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet
from harness.measurements.evidence import Evidence, Store
from harness.measurements.recipe import Recipe

PAIRS, LISTS = "pairs", "prompt-lists"
KINDS = (PAIRS, LISTS)


def keep(prompts: PromptSet, store: Store, *, write: bool = True) -> None:
    """Puts the prompts into the evidence, if they are not there and it may be written to."""
    recipe = Recipe(PAIRS if isinstance(prompts, PairSet) else LISTS, 1, prompts.name, {"pairs": prompts.in_recipes})
    if store.get(recipe) is None and write:
        store.put(Evidence(recipe, _values(prompts)))


def kept(evidence: Evidence) -> PromptSet:
    """The prompts as they were judged, on the sides they had then."""
    name, values = evidence.recipe.subject, evidence.values
    if (split := values.get("split", 1)) > SPLIT:
        raise AssayError(f"{name}: its prompts were split by a later Assay; update Assay")
    if evidence.recipe.kind == LISTS:
        return fitting({"name": name, **values}, PromptLists)
    return PairSet(name, fitting(values["pairs"], tuple[Pair, ...]), split)


def _values(prompts: PromptSet) -> dict[str, object]:
    if isinstance(prompts, PairSet):
        return {"pairs": [pair.as_json for pair in prompts], "split": prompts.split}
    lists = {"harmful": list(prompts.harmful), "harmless": list(prompts.harmless)}
    return lists | {"kinds": list(map(list, prompts.kinds)), "taken": prompts.taken, "split": SPLIT}
