"""The prompts of a run as evidence, so that its other evidence can be read without the file they came from."""

from harness.inputs.errors import AssayError
from harness.inputs.files.json_files import fitting
from harness.inputs.prompts.pairs import SPLIT, Pair, PairSet
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet
from harness.measurements.evidence import Evidence, Store
from harness.measurements.evidence_kinds import LISTS, PAIRS
from harness.measurements.recipe import Recipe

KINDS = (PAIRS, LISTS)


def keep(prompts: PromptSet, store: Store, *, write: bool = True) -> None:
    """Writes the prompts to the store, if it lacks them and `write` allows it."""
    recipe = Recipe(PAIRS if isinstance(prompts, PairSet) else LISTS, 1, prompts.name, {"pairs": prompts.in_recipes})
    if store.get(recipe) is None and write:
        store.put(Evidence(recipe, _values(prompts)))


def kept(evidence: Evidence) -> PromptSet:
    """The prompts in evidence, split into discovery and held-out ones as they were then."""
    name, values = evidence.recipe.subject, evidence.values
    if (split := values.get("split", 1)) > SPLIT:
        raise AssayError(f"{name}: its prompts were split by a later version of Assay; update Assay")
    if evidence.recipe.kind == LISTS:
        return fitting({"name": name, **values}, PromptLists)
    # Until rule 3 of the split a frame was called a template.
    rows = [{"frame": row.get("template"), **row} for row in values["pairs"]]
    return PairSet(name, fitting(rows, tuple[Pair, ...]), split)


def _values(prompts: PromptSet) -> dict[str, object]:
    if isinstance(prompts, PairSet):
        return {"pairs": [pair.as_json for pair in prompts], "split": prompts.split}
    lists = {"harmful": list(prompts.harmful), "harmless": list(prompts.harmless)}
    return lists | {"kinds": list(map(list, prompts.kinds)), "taken": prompts.taken, "split": SPLIT}
