"""A run of claims before it runs: what each would ask for, and how much work that is. Measures nothing.

Claims run on a subject that answers with placeholders of the right shape, so that every question is asked.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.inputs.errors import AssayError
from harness.inputs.prompts.prompt_lists import twins
from harness.inputs.refusal_phrases import RULES
from harness.measurements.evidence import Evidence
from harness.measurements.questions import (
    Answers,
    Attended,
    Contrasted,
    Encoding,
    Estimated,
    FoundCircuit,
    FoundDirection,
    Lens,
    Measurement,
    Norms,
    PlainText,
    Products,
    Projected,
    PromptSide,
    RefusalTokens,
    Scores,
    Swept,
)
from harness.measurements.sweep_plan import Chosen, Sweep, What
from harness.subjects.live import Subject

# A backward pass costs about twice a forward one.
WITH_GRADIENTS = 3


@dataclass
class Work:
    """Tokens through the whole model, and bytes beside the weights at the worst moment."""

    tokens: float = 0.0
    peak: int = 0
    asked: int = 0  # measurements


class Planner(Subject):
    """Answers nothing truly; adds up what answering would take, of what is not evidence yet."""

    work: Work
    known: set[str]

    def plan(self, work: Work, known: set[str]) -> "Planner":
        """Adds up in `work` what no claim before has asked for."""
        self.work, self.known = work, known
        return self

    @property
    def area(self) -> float:
        """The score is taken to serve; what tells so is counted."""
        sides: tuple[PromptSide, ...] = ("harmful", "harmless")
        for side in sides:
            self.seek(Scores(self.all_pairs.discovery, side))
            self.seek(Answers(self.all_pairs.discovery, side))
        return 1.0

    def seek(self, what: Measurement) -> Evidence:
        """What is kept, else a placeholder."""
        recipe = what.recipe(self.record.fingerprint, self.tokens if what.SCORED else ())
        if (kept := self.store.get(recipe)) is not None:
            return kept
        if recipe.fingerprint not in self.known:
            self.known.add(recipe.fingerprint)
            self.work.asked += 1
            self.work.tokens += self._tokens(what)
        return Evidence(recipe, *_placeholder(self, what))

    def _tokens(self, what: Measurement) -> float:
        chat = self.wake().chat
        prompts = {side: [chat.encode(one) for one in getattr(what.pairs, side)] for side in ("harmful", "harmless")}
        length = {side: sum(map(len, encoded)) for side, encoded in prompts.items()}
        both = sum(length.values())
        count = {side: len(encoded) for side, encoded in prompts.items()}
        generated = 24 * sum(count.values())
        match what:
            case Encoding():
                return 0
            case RefusalTokens():
                return both + generated
            case Answers():
                # Generated, and read once more for its coherence; a patch runs the twins as well.
                return 2 * (length[what.side] + count[what.side] * what.tokens) + (both if what.under else 0)
            case Scores():
                return 2 * length[what.side] + (both if what.under else 0)
            case Contrasted():
                # Answered, up to where the answers part.
                return 2 * both + generated + self._swept(what, what.what)
            case Swept():
                return self._swept(what, what.what)
            case Estimated():
                return WITH_GRADIENTS * both
            case FoundCircuit():
                return 2 * WITH_GRADIENTS * both + self._found(what)
            case FoundDirection():
                candidates = 0.8 * self.sizes.layers * len(chat.after_instruction)
                return both + candidates * both / 4
            case Projected() | Lens() | Attended() | Products() | PlainText() | Norms():
                return both
            case _:
                raise _unknown(what)

    def _found(self, what: FoundCircuit) -> float:
        total = 0.0
        for kind, k in (("head", what.heads), ("neuron", what.neurons)):
            if k:
                whole = Sweep(kind, (what.at,))  # type: ignore[arg-type]
                total += self._swept(what, Chosen(whole, tuple(range(5 * k))))
        return total

    def _swept(self, what: Measurement, variants: What) -> float:
        from harness.instruments.sweep import planned  # the model is awake, and torch is there

        found = planned(self.wake(), twins(what.pairs), variants)
        self.work.peak = max(self.work.peak, found.peak)
        return found.tokens / self.sizes.layers


def rate(subject: Subject) -> float:
    """Tokens a second through the whole model, on this machine now."""
    prompts = subject.all_pairs.harmful[:16]
    model = subject.wake()
    tokens = sum(map(len, model.encode(prompts)))
    model.next_token(prompts)
    began = time.perf_counter()
    model.next_token(prompts)
    return tokens / (time.perf_counter() - began)


def _placeholder(subject: Subject, what: Measurement) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    sizes = subject.sizes
    n = len(getattr(what.pairs, getattr(what, "side", "harmful")))  # lists differ in length
    match what:
        case RefusalTokens():
            return {"tokens": [0]}, {}
        case Answers():
            judged = {rule.name: [1.0] * n for rule in RULES}
            return judged | {"repetition": [0.0] * n, "cross_entropy": [0.0] * n}, {}
        case Scores():
            return {"odds": [0.0] * n, "kl": [0.0] * n, "same_as_clean": False}, {}
        case FoundCircuit():
            found = {"heads": _first(what.heads, sizes.heads), "neurons": _first(what.neurons, sizes.d_mlp)}
            return found | {"effects": {kind: [0.0] * len(some) for kind, some in found.items()}}, {}
        case Encoding():
            chat = subject.wake().chat
            aligned = [chat.encode_pair(pair).aligned for pair in what.pairs]
            return {"aligned": aligned, "post": len(chat.after_instruction)}, {}
        case FoundDirection():
            prompts = {"harmful": list(what.pairs.harmful), "harmless": list(what.pairs.harmless)}
            return {"layer": sizes.layers // 2, "position": -1, "valid": True, "reason": "", **prompts}, {}
        case Swept() | Estimated() | Contrasted():
            encoded = [subject.wake().chat.encode_pair(pair) for pair in what.pairs]
            axes = what.what.axes(sizes, encoded)
            patched = np.zeros((n, *map(len, axes.values())), dtype=np.float32)
            values = {"pairs": [pair.id for pair in what.pairs], "set_aside": [], "axes": axes}
            ones = np.ones(n, dtype=np.float32)
            return values, {"patched": patched, "kl": patched, "clean": ones, "source": -ones}
        case Attended():
            return {}, {"words": np.ones((n, sizes.layers, sizes.heads))}
        case Products():
            return {}, {"products": np.eye(len(what.pairs.harmful) + len(what.pairs.harmless))}
        case PlainText():
            return {"nats": [0.0] * len(what.passages)}, {}
        case Projected():
            shape = (n, sizes.layers + 1)
            return {}, {"along": np.ones((len(what.directions), *shape)), "length": np.ones(shape)}
        case Lens():
            return {}, {"odds": np.zeros((n, sizes.layers + 1))}
        case Norms():
            widths = {"head": sizes.heads, "neuron": sizes.d_mlp}
            return {}, {kind: np.zeros((sizes.layers, width)) for kind, width in widths.items()}
        case _:
            raise _unknown(what)


def _unknown(what: Measurement) -> AssayError:
    return AssayError(
        f"--plan: nobody has said what {type(what).__name__} takes; add its cost and its placeholder to {__name__}"
    )


def _first(k: int, width: int) -> list[list[int]]:
    return [[number // width, number % width] for number in range(k)]
