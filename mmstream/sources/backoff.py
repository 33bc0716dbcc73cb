"""How long to wait before trying a camera again."""

from __future__ import annotations

import random

FIRST_S = 1.0
LONGEST_S = 60.0
PERSON_S = 300.0
"""After a wrong password or path: trying sooner cannot help, and cameras lock accounts."""
GOOD_S = 60.0
"""A connection that lived so long was good: the next fault starts from the beginning."""


class Backoff:
    """1, 2, 4 ... 60 s, each shortened by up to a quarter at random, so that the cameras of a
    building whose switch restarted do not all come back in the same instant.

    >>> backoff = Backoff(random.Random(1))
    >>> [round(backoff.next_s(lived_s=0.0)) for _ in range(8)]
    [1, 2, 4, 7, 14, 28, 55, 57]
    >>> round(backoff.next_s(lived_s=61.0))
    1
    """

    def __init__(self, jitter: random.Random | None = None) -> None:
        self._jitter = jitter or random.Random()
        self._num_failures = 0

    def next_s(self, *, lived_s: float, needs_person: bool = False) -> float:
        """The wait after a connection that delivered for ``lived_s`` (0: it never did)."""
        if lived_s >= GOOD_S:
            self._num_failures = 0
        wait_s = PERSON_S if needs_person else min(LONGEST_S, FIRST_S * 2.0 ** min(self._num_failures, 16))
        self._num_failures += 1
        return wait_s * self._jitter.uniform(0.75, 1.0)
