"""Which parts a sweep takes, and what effects are made of its numbers, in cases worked out by hand."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from harness.inputs.chat_tokens import Encoded, EncodedPair
from harness.inputs.errors import AssayError
from harness.inputs.prompts.prompt_lists import twins
from harness.inputs.sites import Site
from harness.judging.estimate import Inconclusive
from harness.measurements.effects import Effects, joined
from harness.measurements.sweep_plan import Sweep, differs, reaches, set_apart
from harness.subjects.synthetic import SIZES, Synthetic, Truth

LEVEL = 0.01


# Circuits and sweeps.


def test_a_share_of_few_heads_is_three_of_them_at_least_and_a_number_is_that_number() -> None:
    subject = Synthetic(Truth((0.5,)), 8, 0, LEVEL)
    pairs, whole = twins(subject.all_pairs), SIZES.layers * SIZES.heads
    assert whole == 32
    sizes = [len(subject.circuit(pairs, heads=asked)) for asked in (0.001, 0.01, 0.125, 0.5, 1, 2, 5)]
    assert sizes == [3, 3, 4, 16, 1, 2, 5]


@pytest.mark.parametrize(
    ("sites", "read"),
    [
        ((), False),
        ((Site(3, "head", 0, -2),), False),
        ((Site(3, "mlp_out", None, -2),), False),
        ((Site(3, "attn_out", None, -3), Site(3, "neuron", 5, -2)), False),
        ((Site(3, "head", 0, -1),), True),
        ((Site(3, "resid_pre", None, -2),), True),
        ((Site(2, "head", 0, -2),), True),
        # Of several, one is enough.
        ((Site(3, "head", 0, -2), Site(3, "head", 0, -1)), True),
        ((Site(3, "head", 0, -2), Site(0, "head", 0, -2)), True),
        ((Site(3, "resid_pre", None, -2), Site(3, "head", 0, -2)), True),
    ],
)
def test_in_the_last_of_four_layers_only_the_last_position_and_what_attention_reads_count(
    sites: tuple[Site, ...], read: bool
) -> None:
    assert reaches(sites, 4) is read


def test_from_the_first_difference_on_prompt_and_twin_can_differ() -> None:
    assert [differs((Site(0, "head", 0, at),), -3) for at in (-4, -3, -2)] == [False, True, True]
    assert differs((Site(0, "head", 0, -4), Site(0, "head", 0, -1)), -3)
    assert differs((Site(0, "head", 0, -9),), None)


def encoded(length: int, end: int, aligned: bool = True) -> EncodedPair:
    """A pair whose instruction ends so far from the start, in prompts of that length; or one that is not aligned."""
    ids = list(range(length))
    ours, theirs = ids, [*ids[:2], 99, *ids[3:], *([98] if not aligned else [])]
    return EncodedPair(*(Encoded(tuple(each), 1, end + len(each) - length, (2, 3)) for each in (ours, theirs)))


def test_of_prompts_of_unequal_length_only_what_follows_the_instruction_can_be_compared() -> None:
    pair = encoded(10, 7, aligned=False)
    assert not pair.aligned
    assert pair.after_instruction((-3, -1))
    assert not pair.after_instruction((-4,))
    assert not pair.after_instruction((0,))
    assert pair.after_instruction("post")
    assert not pair.after_instruction("later")
    # Where what follows is of another length, that of the shorter is what both have.
    shorter = EncodedPair(replace(pair.harmful, end=8), pair.harmless)
    assert shorter.after_instruction((-2,))
    assert not shorter.after_instruction((-3,))
    both = {"even": encoded(10, 7), "uneven": pair}
    assert set_apart(both, Sweep("head", ("post",))) == (["even", "uneven"], [])
    assert set_apart(both, Sweep("head", ("post", "all"))) == (["even"], ["uneven"])
    assert set_apart(both, Sweep("head", "each")) == (["even"], ["uneven"])
    with pytest.raises(AssayError, match="none of the 1 pairs is aligned"):
        set_apart({"uneven": pair}, Sweep("head", ("all",)))


# Effects.


def effects(
    clean: Iterable[float], source: Iterable[float], patched: Iterable[Iterable[float]], names: Iterable[str] = ()
) -> Effects:
    table = np.array(list(map(list, patched)), dtype=float)
    ids = tuple(names) or tuple(map(str, range(len(table))))
    axes = {"layer": tuple(map(str, range(table.shape[1])))}
    return Effects(ids, (), axes, table, 0 * table, np.array(list(clean), float), np.array(list(source), float))


def test_effects_are_shares_of_the_gap_to_the_twin() -> None:
    made = effects([2, 2], [-2, 0], [[0, 1], [1, np.nan]])
    assert made.change.tolist()[0] == [-2, -1]
    assert made.normalised[0].tolist() == [0.5, 0.25]
    assert made.normalised[1][0] == 0.5
    # All changes over all gaps, and of the second variant the one pair that has it.
    assert made.mean.tolist() == [3 / 6, 1 / 4]
    assert made.flips.tolist() == [[True, False], [False, True]]


def test_where_prompt_and_twin_are_nearly_alike_there_is_no_share() -> None:
    made = effects([0.2, 2], [0, -2], [[0.1], [0]])
    assert np.isnan(made.normalised[0][0])
    with pytest.raises(Inconclusive, match="treated alike"):
        _ = effects([0.2], [0.0], [[0.1]]).mean


def test_parts_of_a_sweep_are_put_together_in_the_order_asked() -> None:
    parts = [effects([1, 2], [0, 0], [[10], [20]], "ca"), effects([3], [0], [[30]], "b")]
    whole = joined(
        [replace(parts[0], set_aside=("x",)), replace(parts[1], set_aside=("y",))], ["a", "b", "x", "c", "y"]
    )
    assert whole.pairs == ("a", "b", "c")
    assert whole.patched[:, 0].tolist() == [20, 30, 10]
    assert whole.clean.tolist() == [2, 3, 1]
    assert whole.set_aside == ("x", "y")
