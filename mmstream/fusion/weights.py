"""How much each modality counts, from what operators said about its alerts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmstream.fusion.evidence import MODALITY_WEIGHTS
from mmstream.types import Verdict

RATE = 0.3
ROUND = 10
"""So many verdicts are one step."""

LEAST, MOST = 0.1, 3.0
MAX_VERDICTS = 256


class VerdictWeights:
    """Multiplicative weights: each step ``w_m <- w_m exp(0.3 (mean share of m in true alerts - mean in false ones))``,
    renormalised to the sum they had and kept in [0.1, 3].

    A function of the last 256 verdicts alone: one that is said again changes nothing, one that is changed is as if
    it had always been so, and ``unsure`` counts for nothing.

    >>> weights = VerdictWeights({"picture": 1.0, "sound": 1.0})
    >>> weights.push("a", "false_alarm", {"sound": 1.0})
    >>> {name: round(weight, 2) for name, weight in weights.weights().items()}
    {'picture': 1.15, 'sound': 0.85}
    """

    def __init__(self, start: Mapping[str, float] = MODALITY_WEIGHTS) -> None:
        self._start = dict(start)
        self._said: dict[str, tuple[Verdict, dict[str, float]]] = {}

    def __len__(self) -> int:
        return len(self._said)

    def push(self, alert_id: str, verdict: Verdict | None, shares: Mapping[str, float]) -> None:
        """None: the operator has taken the verdict back."""
        self._said.pop(alert_id, None)
        if verdict is not None and verdict != "unsure":
            self._said[alert_id] = (verdict, dict(shares))
        while len(self._said) > MAX_VERDICTS:
            del self._said[next(iter(self._said))]

    def verdict(self, alert_id: str) -> Verdict | None:
        said = self._said.get(alert_id)
        return said[0] if said is not None else None

    def weights(self) -> dict[str, float]:
        """Modality -> weight, for a fusion rule."""
        if not self._said:
            return dict(self._start)
        steps = math.ceil(len(self._said) / ROUND)
        raw = {}
        for modality, weight in self._start.items():
            lean = self._mean("true", modality) - self._mean("false_alarm", modality)
            raw[modality] = weight * math.exp(RATE * steps * lean)
        scale = math.fsum(self._start.values()) / math.fsum(raw.values())
        return {modality: min(max(weight * scale, LEAST), MOST) for modality, weight in raw.items()}

    def state(self) -> list[Any]:
        return [[alert_id, verdict, shares] for alert_id, (verdict, shares) in self._said.items()]

    def load(self, state: Sequence[Any]) -> None:
        self._said = {alert_id: (verdict, dict(shares)) for alert_id, verdict, shares in state}

    def _mean(self, verdict: Verdict, modality: str) -> float:
        shares = [shares.get(modality, 0.0) for said, shares in self._said.values() if said == verdict]
        return math.fsum(shares) / len(shares) if shares else 0.0
