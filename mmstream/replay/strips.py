"""A feed's past as arrays: the strips of its blocks, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mmstream.storage.strip_rows import StripRows
from mmstream.types import Float32, Float64, Modality

Kind = TypeVar("Kind", bound=np.generic)

Aspect = tuple[str, Modality, float]
"""Name, modality, weight inside its modality."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Past:
    """Blocks and the windows that are kept of them, oldest first. Between two windows all others were below them."""

    feed_id: str
    aspects: tuple[Aspect, ...]
    blocks_s: Float64
    """(b,) where the blocks begin."""
    covered_s: Float64
    """(b,) how much of each was covered by windows with evidence."""
    first: npt.NDArray[np.int64]
    """(b + 1,) the windows of block i are ``first[i]:first[i + 1]``."""
    start_s: Float64
    """(n,)"""
    end_s: Float64
    """(n,)"""
    surprise: Float64
    """(n,) fused, as it was."""
    value: Float64
    """(n,) the same debounced."""
    heights: Float32
    """(n, len(aspects)) each aspect's debounced -log10 p, NaN where missing."""

    def __len__(self) -> int:
        return len(self.start_s)


def past_of(feed_id: str, parts: Sequence[StripRows]) -> Past:
    """Parts of one feed, whose aspects may differ, as one past; of an aspect whose weight has changed the newest. A
    block that was begun in one process and ended in another has a strip of each: they are put together."""
    about = {aspect[0]: aspect for part in parts for aspect in part.aspects}
    names = list(about)
    heights = [np.full((len(part.times_s), len(names)), np.nan, np.float32) for part in parts]
    for part, found in zip(parts, heights, strict=True):
        found[:, [names.index(name) for name, _, _ in part.aspects]] = part.heights
    strips_s = _joined([part.starts_s for part in parts], np.empty(0))
    covered_s = _joined([part.covered_s for part in parts], np.empty(0))
    counts = _joined([part.counts for part in parts], np.empty(0, np.int64))
    times_s = _joined([part.times_s for part in parts], np.empty((0, 2)))
    scores = _joined([part.scores for part in parts], np.empty((0, 2)))
    blocks_s, block_of_strip = np.unique(strips_s, return_inverse=True)
    block = np.repeat(block_of_strip, counts)
    order = np.lexsort((times_s[:, 1], block))
    return Past(
        feed_id=feed_id,
        aspects=tuple(about.values()),
        blocks_s=blocks_s,
        covered_s=np.bincount(block_of_strip, weights=covered_s, minlength=len(blocks_s)).astype(np.float64),
        first=np.concatenate([[0], np.cumsum(np.bincount(block, minlength=len(blocks_s)))]),
        start_s=times_s[order, 0],
        end_s=times_s[order, 1],
        surprise=scores[order, 0],
        value=scores[order, 1],
        heights=_joined(heights, np.empty((0, 0), np.float32))[order],
    )


def _joined(parts: Sequence[npt.NDArray[Kind]], empty: npt.NDArray[Kind]) -> npt.NDArray[Kind]:
    return np.concatenate(parts) if parts else empty
