"""The hard cap: whatever the scores do, nobody is told more often than this."""

from __future__ import annotations

import math

from mmstream.alerts.levels import DAY_S

OVERDRAFT = 0.5
"""Critical alerts may take so much of the capacity beyond empty."""


class TokenBucket:
    """In any D days at most ``N D + C`` takes, and of critical ones at most ``C / 2`` more.

    ``C = max(2, 2 N)`` unless another ``capacity`` is given. What was overdrawn is refilled first.

    >>> bucket = TokenBucket(per_day=1.0)
    >>> [bucket.take(0.0) for _ in range(3)], bucket.take(0.0, critical=True)
    ([True, True, False], True)
    """

    def __init__(self, *, per_day: float, capacity: float | None = None) -> None:
        self._per_day = per_day
        self.capacity = max(2.0, 2.0 * per_day) if capacity is None else capacity
        self.tokens = self.capacity
        self.filled_s = -math.inf

    def resize(self, other: TokenBucket) -> None:
        """From now on as large as an ``other``, still new one, and filled as fast; what was taken stays taken."""
        taken = self.capacity - self.tokens
        self._per_day, self.capacity = other._per_day, other.capacity
        self.tokens = max(self.capacity - taken, -OVERDRAFT * self.capacity)

    def take(self, now_s: float, *, critical: bool = False) -> bool:
        """False when it is empty."""
        if self.filled_s > -math.inf:
            gained = max(0.0, now_s - self.filled_s) * self._per_day / DAY_S
            self.tokens = min(self.capacity, self.tokens + gained)
        self.filled_s = max(now_s, self.filled_s)
        if self.tokens - 1.0 < (-OVERDRAFT * self.capacity if critical else 0.0):
            return False
        self.tokens -= 1.0
        return True

    def state(self) -> list[float | None]:
        return [self.tokens, self.filled_s if self.filled_s > -math.inf else None]

    def load(self, state: list[float | None]) -> None:
        """A smaller budget since then does not inherit a fuller bucket."""
        tokens, filled_s = state
        assert tokens is not None
        self.tokens = max(min(tokens, self.capacity), -OVERDRAFT * self.capacity)
        self.filled_s = -math.inf if filled_s is None else filled_s
