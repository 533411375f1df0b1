"""The commands `claims` and `power`: list the claims, and compute how many pairs a claim needs."""

import argparse
from typing import TYPE_CHECKING

from harness.claims.claim import claim_named, claims_here, verdicts_seen
from harness.commands.declaring import declare
from harness.inputs.errors import AssayError
from harness.inputs.files.terminal import say

if TYPE_CHECKING:
    from harness.commands.declaring import Commands


def add_to(commands: "Commands") -> None:
    """Declares both commands."""
    declare(
        commands,
        "claims",
        _claims,
        "list every claim with its bar, source, level, organisms and last verdicts",
        "claims",
    )
    power = declare(
        commands,
        "power",
        _power,
        "compute how many pairs a claim needs, for each true effect",
        "power ablation-heads --effect 0.5",
        "The claim's own test is run on simulated models whose truth is known. Nothing is loaded or measured.",
    )
    power.add_argument("name", metavar="CLAIM")
    power.add_argument("--effect", type=float, metavar="X", help="a true effect, 0 to 1 (default: eight effects)")


def _claims(options: argparse.Namespace) -> None:
    seen = verdicts_seen()
    for claim in claims_here():
        holds, fails = ", ".join(claim.holds_on), ", ".join(claim.fails_on)
        say(f"{claim.name}: {claim.title}")
        say(f"    assert {claim.bar}")
        kind = "primary" if claim.as_json["primary"] else "exploratory"
        say(f"    {kind}, level {claim.level:.2g}; {claim.as_json['file']}:{claim.line}")
        say(f"    holds on {holds}; fails on {fails}")
        say(f"    source: {claim.source}")
        for organism, verdict in seen.get(claim.name, {}).items():
            stale = "" if verdict["claim"] == claim.fingerprint else " (the claim has changed since: judge it again)"
            say(f"    {verdict['verdict']} on {organism}{stale}")


def _power(options: argparse.Namespace) -> None:
    from harness.results.controls import power  # scipy is loaded for this command alone

    claim = claim_named(options.name)
    if options.effect is not None and not 0 <= options.effect <= 1:
        raise AssayError(f"--effect {options.effect:g}: an effect lies between 0 and 1; give 0.5, for 50 points")
    say(f"{claim.name}: {claim.title}\n    assert {claim.bar}    (level {claim.level:g})")
    say("with an effect of 0.50 it compares: " + "; ".join(power.arms(claim, power.truth_of(claim, 0.5))))
    say(f"pairs, none sharing a frame, that decide it in {power.POWER:.0%} of {power.SIMULATIONS} simulated studies")
    say("(in frames of four, as in data/pairs.jsonl, it takes 1.6 times as many, and more where few are needed):")
    for effect in power.EFFECTS if options.effect is None else (options.effect,):
        needed = power.needed(claim, effect)
        undecided = needed.outcome == "INCONCLUSIVE"
        few = f"over {power.MOST}" if undecided or needed.pairs is None else str(needed.pairs)
        say(f"    effect {effect:.2f}: {few:>9} pairs  {'never decided' if undecided else needed.outcome}")
