"""Reads pytest's options: models, prompts, and where evidence lies."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.inputs import model_catalog, places
from harness.inputs.model_record import Sampling, sampling
from harness.inputs.prompts import pair_files
from harness.inputs.prompts.prompt_lists import PromptLists, PromptSet
from harness.inputs.prompts.system_prompt import system_prompt
from harness.measurements.evidence import Store
from harness.subjects.published.recordings import RECORDED, published

if TYPE_CHECKING:  # it loads numpy
    from harness.subjects.sleeper import Sleeper


def models_asked(config: pytest.Config) -> tuple[str, ...]:
    """The models named by --model without repetitions, or the default models."""
    default = [model_catalog.REFERENCE, *(RECORDED + name for name in published())]
    return tuple(dict.fromkeys(config.getoption("--model") or default))


def prompts_of(config: pytest.Config, model: str) -> PromptSet | None:
    """The prompts of --pairs, or None; a harmful list alone is completed by the harmless prompts of the model."""
    paths = config.getoption("--pairs")
    if not paths:
        return None
    if _PROMPTS not in config.stash:
        config.stash[_PROMPTS] = pair_files.load(*paths, columns=config.getoption("--column") or ())
    given = config.stash[_PROMPTS]
    if isinstance(given, PromptLists) and not given.harmless and not model.startswith(RECORDED):
        own = model_catalog.find(model).pairs
        return given.beside(pair_files.load_pairs(own), str(own.relative_to(places.HOME)))
    return given


def store_of(config: pytest.Config) -> Store:
    """The store in which this run keeps its evidence."""
    option = config.getoption
    only = option("--judge-only")
    use = option("--use-imported") or only
    return Store(Path(option("--evidence")), fresh=option("--fresh"), use_imported=use, judge_only=only)


def sleeper_of(config: pytest.Config, name: str) -> "Sleeper":
    """The model of that name with this run's options, not yet loaded."""
    from harness.subjects.sleeper import Sleeper  # loads numpy, and harness tests ask for no model

    option = config.getoption
    return Sleeper(
        name,
        option("--quant"),
        option("--device"),
        store_of(config),
        judge_only=option("--judge-only"),
        dtype=option("--dtype"),
        system=system_of(config),
        tokens=option("--tokens"),
        sampling=sampling_of(config),
        examined_on=prompts_of(config, name),
    )


def system_of(config: pytest.Config) -> str | None:
    """The system prompt of --system, or None."""
    given = config.getoption("--system")
    return None if given is None else system_prompt(given)


def sampling_of(config: pytest.Config) -> Sampling | None:
    """How --answers asks for answers to be drawn; None: greedily."""
    return sampling(config.getoption("--answers"))


_PROMPTS = pytest.StashKey[PromptSet]()
