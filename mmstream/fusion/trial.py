"""Whether a matcher tells true pairs from shuffled ones on a stretch of time that it has not learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mmstream.fusion.adapters import NUM_OTHERS, others
from mmstream.types import Float32, Float64

MIN_AUC = 0.6
BLOCK_S = 60.0
MIN_BLOCKS = 6
MAX_LIKENESS = 0.2
"""Neighbouring blocks whose results are correlated by more than this, and chance, are made one."""


class Matcher(Protocol):
    """`adapters.Adapter`, `adapters.Cosine`."""

    def mismatches(self, left: Float32, right: Float32) -> Float64: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How well true pairs were told from shuffled ones."""

    auc: float
    """Of single pairs: the chance that a true one matches better than one shuffled with another moment."""
    num_blocks: int
    """Independent stretches of time."""
    num_beaten: int
    """How many shuffled pairings of a block its true one beat, of `NUM_OTHERS`, in all blocks together."""

    @property
    def chance(self) -> float:
        """Probability of beating so many where nothing is linked: exact for independent blocks, each of which then
        beats 0, 1 ... or 7 with the same probability. Below 5 % the lower end of the 95 % interval is above chance.

        >>> Trial(auc=0.9, num_blocks=2, num_beaten=14).chance == 1 / 8**2
        True
        """
        ways = np.ones(1)
        for _ in range(self.num_blocks):
            ways = np.convolve(ways, np.full(NUM_OTHERS + 1, 1.0 / (NUM_OTHERS + 1)))
        return min(1.0, float(ways[self.num_beaten :].sum()))

    def beats_chance(self, risk: float) -> bool:
        """Clearly (`MIN_AUC`), and surely: nothing that is not linked does so with more than this probability."""
        return self.auc >= MIN_AUC and self.num_blocks >= MIN_BLOCKS and self.chance <= risk


def tried(matcher: Matcher, left: Float32, right: Float32, at_s: Float64) -> Trial:
    """Try ``matcher`` on n true pairs, (n, D) and (n, E), of moments ``at_s`` in order.

    Each moment's left vector is shown its own right one and those of `others`. Blocks of a minute are joined until
    neighbouring ones are independent: windows, and whole minutes of a slow scene, are not. Where nothing is linked
    and nothing drifts, the true right vectors of a block are one of eight drawings that are all alike, so that their
    rank among them is even, however the windows in a block depend on one another.
    """
    away = others(at_s)
    kept = np.flatnonzero((away >= 0).all(axis=1))
    if not len(kept):
        return Trial(auc=0.5, num_blocks=0, num_beaten=0)
    table = matcher.mismatches(left, right)
    true, shuffled = table[kept, kept], table[kept[:, None], away[kept]]
    auc = float((true[:, None] < shuffled).mean() + 0.5 * (true[:, None] == shuffled).mean())
    blocks = ((at_s[kept] - at_s[kept[0]]) // BLOCK_S).astype(np.int64)
    gains = _per_block(shuffled - true[:, None], blocks)
    while len(gains) >= MIN_BLOCKS and _likeness(np.median(gains, axis=1)) > MAX_LIKENESS + len(gains) ** -0.5:
        blocks //= 2
        gains = _per_block(shuffled - true[:, None], blocks)
    return Trial(auc=auc, num_blocks=len(gains), num_beaten=int(np.count_nonzero(gains > 0.0)))


def _per_block(gains: Float64, blocks: npt.NDArray[np.int64]) -> Float64:
    """(n, k), (n,) -> (blocks, k): means."""
    _, which, counts = np.unique(blocks, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), gains.shape[1]))
    np.add.at(sums, which, gains)
    means: Float64 = sums / counts[:, None]
    return means


def _likeness(values: Float64) -> float:
    """Autocorrelation from one to the next."""
    centred = values - values.mean()
    return float(centred[1:] @ centred[:-1]) / max(float(centred @ centred), 1e-12)
