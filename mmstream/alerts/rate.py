"""Keeps the realised number of alerts at the budget when the scene drifts away from its past."""

from __future__ import annotations

import math

from mmstream.alerts.levels import DAY_S

GAIN = 0.15
"""A day with twice the budget lowers the rate by 14 %."""

LEAST_FACTOR = 1.0 / 8.0
MOST_FACTOR = 2.0


class RateController:
    """Log-integral control, once a day: ``factor <- clip(factor exp(0.15 (N d - k) / N), 1/8, 2)``.

    ``d`` is the part of the day that was watched with an exact budget, ``k`` the alerts raised in
    it (told or not) that nobody confirmed as true. The calibrator aims at ``factor`` times the
    budget. Adaptive conformal inference (Gibbs and Candes, 2021) in the logarithm of the rate.
    """

    def __init__(self, *, alerts_per_day: float) -> None:
        self.alerts_per_day = alerts_per_day
        self.factor = 1.0
        self._num_alerts = 0.0
        self._watched_s = 0.0

    def watch(self, seconds: float) -> None:
        self._watched_s += seconds

    def count(self) -> None:
        """An alert was raised."""
        self._num_alerts += 1

    def forgive(self) -> None:
        """One of the alerts was true after all; it need not have been today's."""
        if self._num_alerts >= 1:
            self._num_alerts -= 1
        else:
            self._turn(GAIN / self.alerts_per_day)

    def end_day(self) -> None:
        wanted = self.alerts_per_day * self._watched_s / DAY_S
        self._turn(GAIN * (wanted - self._num_alerts) / self.alerts_per_day)
        self._num_alerts, self._watched_s = 0.0, 0.0

    def state(self) -> list[float]:
        return [self.factor, self._num_alerts, self._watched_s]

    def load(self, state: list[float]) -> None:
        self.factor, self._num_alerts, self._watched_s = state

    def _turn(self, log_step: float) -> None:
        # far beyond both clips already: exp() of more would overflow
        step = math.exp(max(-10.0, min(10.0, log_step)))
        self.factor = min(MOST_FACTOR, max(LEAST_FACTOR, self.factor * step))
