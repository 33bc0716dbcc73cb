"""Notices that a camera's ordinary blocks are no longer like those of its past."""

from __future__ import annotations

import math

EPSILONS = (0.2, 0.5, 0.8)
ALARM = 1e4
OVER = 3.0
LEAST_P = 1e-9


class DriftMartingale:
    """Power martingale on the p-values of block maxima, ``M <- max(1, M eps p^(eps - 1))``, over three eps.

    Alarms when the mean of the three reaches 1e4, and is over when it is below 3. Under no drift
    the p-values are uniform and M does not grow on average (Vovk, Nouretdinov and Gammerman, 2003);
    set to 1 whenever it falls below, it alarms falsely at most once in about 1e4 blocks on average.

    >>> martingale = DriftMartingale()
    >>> [martingale.push(0.01) for _ in range(5)]
    [False, False, False, False, True]
    >>> martingale.drifting
    True
    """

    def __init__(self) -> None:
        self._logs = [0.0] * len(EPSILONS)
        self.drifting = False

    def push(self, p: float) -> bool:
        """True at the moment of the alarm."""
        log_p = math.log(max(p, LEAST_P))
        self._logs = [
            # above the alarm it need not grow: it could only be later to notice that all is well again
            min(math.log(ALARM) + 1.1, max(0.0, log + math.log(eps) + (eps - 1.0) * log_p))
            for log, eps in zip(self._logs, EPSILONS, strict=True)
        ]
        mean = math.fsum(map(math.exp, self._logs)) / len(EPSILONS)
        was_drifting, self.drifting = self.drifting, mean >= (OVER if self.drifting else ALARM)
        return self.drifting and not was_drifting

    def state(self) -> list[float]:
        return [*self._logs, float(self.drifting)]

    def load(self, state: list[float]) -> None:
        *self._logs, drifting = state
        self.drifting = bool(drifting)
