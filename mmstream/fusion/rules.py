"""Other ways to join modalities into one number: behind the same interface, to be measured against the default.

Why the harmonic mean is the default: algorithms that add up what every modality says (`Fisher`, `Mean`) move their
rate of false alarms by hundreds of times when modalities go together or go missing; `Maximum` does not let two
modalities strengthen each other (README, "Why it is like this").
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from mmstream.fusion.evidence import MODALITY_WEIGHTS, exact_shares
from mmstream.types import Evidence


class _Rule(ABC):
    """A rule works on ``(-log10 p, weight)`` per modality; of several in one modality the rarest counts."""

    def __init__(self, weights: Mapping[str, float] = MODALITY_WEIGHTS) -> None:
        if any(not weight > 0 for weight in weights.values()):
            raise ValueError(f"weights of modalities must be above 0, got {dict(weights)}")
        self._weights = dict(weights)

    def fuse(self, evidence: Sequence[Evidence]) -> tuple[float, dict[str, float]]:
        """-> (surprise >= 0, shares per modality that sum to 1); (0.0, {}) without evidence."""
        found: dict[str, tuple[float, float]] = {}
        for item in evidence:
            surprise, weight = -math.log10(item.p), self._weights.get(item.modality, 1.0) * item.weight
            if item.modality not in found or surprise > found[item.modality][0]:
                found[item.modality] = (surprise, weight)
        if not found:
            return 0.0, {}
        fused, pulls = self._join(found)
        return max(0.0, fused), exact_shares(pulls)

    @abstractmethod
    def _join(self, found: Mapping[str, tuple[float, float]]) -> tuple[float, dict[str, float]]:
        """-> (surprise, what each modality adds to it)."""


class Mean(_Rule):
    """The mean of -log10 p over the modalities that are there. Its scale is no p-value: only its rank counts."""

    def _join(self, found: Mapping[str, tuple[float, float]]) -> tuple[float, dict[str, float]]:
        pulls = {modality: surprise / len(found) for modality, (surprise, _) in found.items()}
        return math.fsum(pulls.values()), pulls


class LinearWeighted(_Rule):
    """The mean of -log10 p, weighted: late fusion with fixed weights. No p-value either."""

    def _join(self, found: Mapping[str, tuple[float, float]]) -> tuple[float, dict[str, float]]:
        total = math.fsum(weight for _, weight in found.values())
        pulls = {modality: surprise * weight / total for modality, (surprise, weight) in found.items()}
        return math.fsum(pulls.values()), pulls


class Fisher(_Rule):
    """R. A. Fisher, "Statistical Methods for Research Workers", 1932: -2 sum(ln p) is chi-squared with 2 k degrees of
    freedom when the k modalities are independent. They are not: a busy scene is loud.

    >>> sound = Evidence(channel="sound", modality="sound", p=0.01)
    >>> picture = Evidence(channel="picture", modality="picture", p=0.01)
    >>> round(Fisher().fuse([sound, picture])[0], 2)
    2.99
    """

    def _join(self, found: Mapping[str, tuple[float, float]]) -> tuple[float, dict[str, float]]:
        pulls = {modality: surprise for modality, (surprise, _) in found.items()}
        half = math.fsum(pulls.values()) * math.log(10.0)
        # P(chi2_2k > 2 half) = exp(-half) sum_{i<k} half^i / i!, in logarithms: it may be below 1e-308
        terms = [i * math.log(half) - math.lgamma(i + 1) if half > 0.0 else 0.0 for i in range(len(pulls))]
        top = max(terms)
        log_p = -half + top + math.log(math.fsum(math.exp(term - top) for term in terms)) if half > 0.0 else 0.0
        return -log_p / math.log(10.0), pulls


class Maximum(_Rule):
    """The rarest modality alone, with the price of having had k chances (Sidak, 1967): p = 1 - (1 - min p)^k."""

    def _join(self, found: Mapping[str, tuple[float, float]]) -> tuple[float, dict[str, float]]:
        first = max(found, key=lambda modality: found[modality][0])
        smallest = math.pow(10.0, -found[first][0])
        p = -math.expm1(len(found) * math.log1p(-smallest)) if smallest < 1.0 else 1.0
        return -math.log10(p), {modality: float(modality == first) for modality in found}
