"""Join how rare each modality is into one number, without labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mmstream.types import Evidence

MODALITY_WEIGHTS: Mapping[str, float] = {
    "picture": 1.0,
    "sound": 0.7,
    "words": 0.5,
    "sensor": 0.5,
    "agreement": 0.5,
}


class HarmonicMean:
    """Weighted harmonic mean of p-values (D. J. Wilson, PNAS 2019).

    Ranks a window by its rarest modality, hardly minds correlation, and with modalities missing
    its tail stays where it was. ``share = (w / p) / sum(w / p)`` adds up to 1 exactly.

    >>> sound = Evidence(channel="sound", modality="sound", p=0.0001)
    >>> picture = Evidence(channel="picture", modality="picture", p=0.5)
    >>> surprise, shares = HarmonicMean().fuse([sound, picture])
    >>> round(surprise, 2), {name: round(share, 3) for name, share in shares.items()}
    (3.61, {'sound': 1.0, 'picture': 0.0})
    """

    def __init__(self, weights: Mapping[str, float] = MODALITY_WEIGHTS) -> None:
        if any(not weight > 0 for weight in weights.values()):
            raise ValueError(f"weights of modalities must be above 0, got {dict(weights)}")
        self._weights = dict(weights)

    def fuse(self, evidence: Sequence[Evidence]) -> tuple[float, dict[str, float]]:
        """-> (surprise >= 0, shares per modality); (0.0, {}) without evidence."""
        pulls: dict[str, float] = {}
        total_weight = 0.0
        for item in evidence:
            weight = self._weights.get(item.modality, 1.0) * item.weight
            pulls[item.modality] = pulls.get(item.modality, 0.0) + weight / item.p
            total_weight += weight
        total = math.fsum(pulls.values())
        if total <= 0.0:
            return 0.0, {}
        return max(0.0, math.log10(total / total_weight)), exact_shares(pulls)


def exact_shares(pulls: Mapping[str, float]) -> dict[str, float]:
    """What each adds, as shares that sum to 1; equal shares when nobody adds anything.

    >>> exact_shares({"sound": 3.0, "picture": 1.0})
    {'sound': 0.75, 'picture': 0.25}
    """
    total = math.fsum(pulls.values())
    if total <= 0.0:
        return {modality: 1.0 / len(pulls) for modality in pulls}
    shares = {modality: pull / total for modality, pull in pulls.items()}
    largest = max(shares, key=lambda modality: shares[modality])
    for _ in range(2):  # what rounding left over goes to the largest, so that they add up to 1 exactly
        shares[largest] += 1.0 - math.fsum(shares.values())
    return shares
