"""The scores that must be exceeded, by how many of them a day may have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Phase = Literal["warmup", "provisional", "calibrated"]

DAY_S = 86_400.0

LOW_BUDGETS = 5.0
NOTICE_BUDGETS = 10.0
CRITICAL_BUDGETS = 0.1

LEAST = 1.0
"""What one window in ten is like is never unusual, however little happens here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Scores to be exceeded; ``notice <= low <= alert <= critical``."""

    critical: float
    """Level of a tenth of the budget."""
    alert: float
    """Within the budget N."""
    low: float
    """Level of the budget 5 N: an alert is over below it."""
    notice: float
    """Level of the budget 10 N: worth keeping, not worth telling."""


NEVER = Levels(critical=math.inf, alert=math.inf, low=math.inf, notice=math.inf)
