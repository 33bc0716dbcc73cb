"""Whether a version that was put to use keeps the budget, as the gate has promised.

How many alerts so many blocks may have says `training.rates`. It is looked at when 1, 2, 4, 8 ... blocks have passed,
each time with a smaller part of the doubt: the j-th look has 6 / (pi j)^2 of it, which sums to all of it, so that
however long a good version is watched, it is taken back with a probability of `DOUBT` at most. Only too many alerts
count: too few cannot be told from a quiet week, and the gate has asked for recall.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmstream.alerts.calibrate import MAX_RATE
from mmstream.alerts.levels import DAY_S
from mmstream.training.rates import Blocks, interval
from mmstream.types import Alert

DOUBT = 0.01
WATCHED_S = 7.0 * DAY_S
"""Afterwards a version is what the site is used to, and its calibration follows by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedFeed:
    """What a feed's threshold comes from."""

    feed_id: str
    alerts_per_day: float
    num_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of a version so far."""

    num_alerts: int
    """Opened since, told or beyond the budget; without those that an operator has called true."""
    most: int
    """More of them are no chance."""
    num_blocks: int
    """Of all feeds together; 0: too early to look."""

    @property
    def too_many(self) -> bool:
        return self.num_blocks > 0 and self.num_alerts > self.most

    @property
    def sentence(self) -> str:
        """What to say of it."""
        if not self.num_blocks:
            return "It is too early to say whether it keeps the budget."
        alerts = f"{self.num_alerts} alerts that nobody has confirmed since it is in use"
        return f"{alerts}; the budget expects at most {self.most}."


def look_at(
    alerts: Iterable[Alert], feeds: Sequence[WatchedFeed], *, since_s: float, now_s: float, block_s: float
) -> Look:
    """``alerts``: those since ``since_s``, or more. ``feeds``: those that the version judges and that run."""
    passed = math.floor((now_s - since_s) / block_s)
    if passed < 1 or not feeds:
        return Look(num_alerts=0, most=0, num_blocks=0)
    number = passed.bit_length() - 1
    until_s = since_s + 2**number * block_s
    watched = {feed.feed_id for feed in feeds}
    counted = [
        alert
        for alert in alerts
        if alert.feed_id in watched and since_s <= alert.start_s < until_s and is_counted(alert)
    ]
    level = 1.0 - 2.0 * DOUBT * 6.0 / math.pi**2 / (number + 1) ** 2  # both tails; only the upper one is used
    _, most = interval([_blocks(feed, block_s, 2**number) for feed in feeds], level=level)
    return Look(num_alerts=len(counted), most=most, num_blocks=len(feeds) * 2**number)


def is_counted(alert: Alert) -> bool:
    """Whether the threshold has let it through, and nobody has said that it was right to."""
    return alert.kind == "unusual" and alert.severity != "notice" and alert.verdict != "true"


def _blocks(feed: WatchedFeed, block_s: float, num_new: int) -> Blocks:
    """A threshold that is extrapolated from too few blocks counts as if it had just enough of them: the largest
    decides."""
    rate = min(feed.alerts_per_day * block_s / DAY_S, MAX_RATE)
    count = max(feed.num_blocks, math.ceil(1.0 / rate) - 1)
    return Blocks(rank=max(1, math.floor(rate * (count + 1))), num_calibrated=count, num_new=num_new)
