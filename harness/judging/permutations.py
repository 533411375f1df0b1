"""How large the means of many components get by chance, tested all at once by flipping signs at random.

Random draws are seeded by a hash of the sorted rows, so the same numbers give the same result in any order.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.judging.means import Floats

BLOCK = 2_000_000  # numbers drawn at once, to bound memory


def max_t_reach(values: ArrayLike, chance: float = 0.05, draws: int = 1999) -> Floats:
    """For each component a threshold of |mean|: if signs were random, any component would exceed its own with `chance`.

    `values` is [unit, component]. The signs of whole units are flipped, and the quantile of the largest |t| of any
    component is scaled back to each component's units (Westfall and Young 1993, Resampling-Based Multiple Testing,
    single step).
    """
    table = np.asarray(values, dtype=float)
    scale = np.sqrt((table**2).sum(axis=0))
    most = np.concatenate([drawn.max(axis=1) for drawn in _drawn(table, draws)])
    return np.asarray(np.quantile(most, 1 - chance, method="higher") * scale / len(table))


def _drawn(table: Floats, draws: int) -> Iterator[Floats]:
    """Each component's |t| under flipped signs, as blocks of [draw, component]."""
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError("Sign flips need finite values, at least one unit and one component.")
    scale = np.sqrt((table**2).sum(axis=0))
    unit = table / np.where(scale > 0, scale, 1)
    rng, order = seeded(table)
    unit = unit[order]
    size = -(-len(table) // 8)
    for start, stop in _blocks(draws, max(table.shape)):
        coins = np.unpackbits(np.frombuffer(rng.bytes((stop - start) * size), np.uint8).reshape(-1, size), axis=1)
        drawn = 2 * (coins[:, : len(table)].astype(float) @ unit) - unit.sum(axis=0)
        yield np.abs(drawn)


def _blocks(draws: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, BLOCK // width)
    for start in range(0, draws, step):
        yield start, min(start + step, draws)


def seeded(table: Floats) -> tuple[np.random.Generator, NDArray[np.intp]]:
    """A generator seeded by the rows as a set, and the order that sorts them."""
    rows = [row.tobytes() for row in np.ascontiguousarray(table + 0.0, dtype="<f8")]  # + 0.0 makes −0 the same as 0
    order = np.array(sorted(range(len(rows)), key=rows.__getitem__), dtype=np.intp)
    seed = hashlib.blake2b(b"".join(rows[i] for i in order), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(seed, "little")), order
