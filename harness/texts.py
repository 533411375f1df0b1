"""Pairs as evidence: the prompts that a run was judged on, so that whoever has the evidence can read them."""

from harness.errors import AssayError
from harness.evidence import Evidence, Recipe, Store
from harness.json_files import fitting
from harness.pairs import SPLIT, Pair, PairSet

KIND = "pairs"


def keep(pairs: PairSet, store: Store, *, write: bool = True) -> None:
    """Puts the pairs into the evidence, if they are not there and it may be written to."""
    recipe = Recipe(KIND, 1, pairs.name, {"pairs": {"pairs": pairs.fingerprint, "n": len(pairs)}})
    if store.get(recipe) is None and write:
        store.put(Evidence(recipe, {"pairs": [pair.as_json for pair in pairs], "split": pairs.split}))


def kept(evidence: Evidence) -> PairSet:
    """The pairs as they were judged, on the sides they had then."""
    split = evidence.values.get("split", 1)
    if split > SPLIT:
        raise AssayError(f"{evidence.recipe.subject}: its pairs were split by a later Assay; update Assay")
    return PairSet(evidence.recipe.subject, fitting(evidence.values["pairs"], tuple[Pair, ...]), split)
