"""Claims, estimates and verdicts as a run keeps them; a test names the members that matter to it."""

from harness.judging.verdict import Decided, Word
from harness.results.run_record import Claimed, Judged


def claimed(
    *,
    title: str = "It is so.",
    bar: str = "x > 0.3",
    level: float = 0.01,
    holds_on: tuple[str, ...] = ("reference",),
    fails_on: tuple[str, ...] = ("hydra",),
    fingerprint: str = "ab12",
) -> Claimed:
    """A claim as a run keeps it."""
    return Claimed(
        title=title,
        prose="",
        source="a test",
        bar=bar,
        file="test_mine.py",
        line=1,
        level=level,
        holds_on=list(holds_on),
        fails_on=list(fails_on),
        fingerprint=fingerprint,
    )


def decided(name: str, value: float, low: float, high: float, *, n: int = 9, method: str = "drawn") -> Decided:
    """An estimate as a run keeps it, held to a bar of more than 0.3."""
    return Decided(
        name=name, value=value, low=low, high=high, n=n, unit="pairs", method=method, nothing="", sign=">", bar=0.3
    )


def judged(claim: str, model: str, word: Word, *estimates: Decided, evidence: tuple[str, ...] = ()) -> Judged:
    """A verdict as a run keeps it."""
    return Judged(
        claim=claim,
        model=model,
        test=f"test_{claim}[{model}]",
        word=word,
        reason="",
        estimates=list(estimates),
        beside=[],
        evidence=sorted(evidence),
        seconds=0.0,
    )
