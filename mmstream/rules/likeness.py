"""What a margin means on this camera: from cosines to the one number that the rule's threshold is set on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.alerts.calibrate import Calibrator
from mmstream.alerts.debounce import Debounce, tie_jitter
from mmstream.config import BudgetSection
from mmstream.normality.reference import Reference

CARRY_S = 5.0
"""A picture stands for so long until the next: a gate that sleeps lets one through in two seconds or so."""

REFERENCE_SIZE, REFERENCE_THIN = 4096, 32
"""Margins of a day and a half at one a second, in 16 KB."""


class Likeness:
    """Margins of one text on one camera, in order -> debounced surprise, and the levels it is compared with.

    A margin is ranked among this camera's own past ones (`Reference`), which gives -log10 p, the unit of unusual
    alerts; debouncing and block-maximum calibration are the same as theirs, so the budget holds whatever offset the
    model's cosines have here. Scored first, learned after; nothing is learned while an alert is open.
    """

    def __init__(self, alerts_per_day: float, budget: BudgetSection) -> None:
        self.calibrator = Calibrator(
            alerts_per_day=alerts_per_day,
            block_s=budget.block_s,
            history_days=budget.history_days,
            warmup_s=budget.warmup_s,
        )
        self._reference = Reference(capacity=REFERENCE_SIZE, thin=REFERENCE_THIN, gradual=True)
        self._debounce = Debounce()
        self.model = ""
        """That the margins are of."""
        self.value, self.surprise = 0.0, 0.0
        self._pictured_s = -math.inf

    def __len__(self) -> int:
        return len(self._reference)

    def start_live(self) -> None:
        """History is over, with its own times: its last picture is not carried on."""
        self._debounce, self._pictured_s = Debounce(), -math.inf
        self.value = self.surprise = 0.0

    def look(self, margin: float | None, model: str, end_s: float) -> bool:
        """Set `value` (debounced) and `surprise` for the window that ends there; False: nothing is known of it."""
        if margin is None:
            self.surprise = 0.0
            if end_s - self._pictured_s > CARRY_S:
                self.value = 0.0
                return False
            return True
        if self.model and model != self.model:
            # another model's margins are on another scale; block maxima are of ranks, and stay
            self._reference = Reference(capacity=REFERENCE_SIZE, thin=REFERENCE_THIN, gradual=True)
        self.model = model
        self.surprise = self._reference.surprise(margin)
        self.value = self._debounce.push(self.surprise) + tie_jitter(end_s)
        self._pictured_s = end_s
        return True

    def learn(
        self, margin: float | None, *, start_s: float, end_s: float, known: bool, live: bool, alerting: bool
    ) -> None:
        """To be called after every `look` and what was decided on it."""
        self.calibrator.observe(self.value, start_s=start_s, end_s=end_s, known=known, live=live)
        if margin is not None and not alerting:
            self._reference.add(margin)

    def adopt(self, before: Likeness) -> None:
        """Go on with what was learned under another budget."""
        self.load_learned(before.learned())

    def state(self) -> list[Any]:
        """Small and JSON."""
        pictured_s = self._pictured_s if self._pictured_s > -math.inf else None
        return [self.value, self.surprise, pictured_s, *self._debounce.recent]

    def load(self, state: list[Any]) -> None:
        self.value, self.surprise, pictured_s, before, last = state
        self._pictured_s = -math.inf if pictured_s is None else pictured_s
        self._debounce = Debounce((before, last))

    def learned(self) -> dict[str, npt.NDArray[Any]]:
        parts = {f"calibrator.{name}": array for name, array in self.calibrator.state().items()}
        parts |= {f"reference.{name}": array for name, array in self._reference.state().items()}
        return parts | {"model": np.array(self.model)}

    def load_learned(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: these are not what `learned` gave."""
        for prefix, part in (("calibrator.", self.calibrator), ("reference.", self._reference)):
            part.load({name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)})
        self.model = str(arrays["model"])
