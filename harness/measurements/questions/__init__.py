"""What can be asked of a model, as values: each knows its recipe, its cost and the content of its answer.

Never touches a model; `instruments/answer.py` answers.
"""

from importlib import import_module
from pkgutil import iter_modules

from harness.inputs.prompts.pairs import PromptSide
from harness.measurements.openings import Openings
from harness.measurements.questions.answers import Answers, DealtAnswers, Encoding, PlainText, RefusalTokens, Scores
from harness.measurements.questions.effects import Contrasted, Estimated, Swept
from harness.measurements.questions.measurement import KINDS, Answer, Measurement, Outlook, described
from harness.measurements.questions.openings import FoundOpenings, OpeningScores
from harness.measurements.questions.searches import FoundCircuit, FoundDirection, GrownCircuit
from harness.measurements.questions.streams import Attended, Lens, Norms, Products, Projected

__all__ = [
    "KINDS",
    "Answer",
    "Answers",
    "Attended",
    "Contrasted",
    "DealtAnswers",
    "Encoding",
    "Estimated",
    "FoundCircuit",
    "FoundDirection",
    "FoundOpenings",
    "GrownCircuit",
    "Lens",
    "Measurement",
    "Norms",
    "OpeningScores",
    "Openings",
    "Outlook",
    "PlainText",
    "Products",
    "Projected",
    "PromptSide",
    "RefusalTokens",
    "Scores",
    "Swept",
    "described",
]

# A measurement in a module of its own is known wherever evidence is read.
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
