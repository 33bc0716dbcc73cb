"""When the nightly training is due: once a day at a local time, later when nobody was there, never twice."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

CATCH_UP_S = 3 * 3600.0
"""A night that was missed (the machine was off) is made up for so long; after that it waits for the next one."""


def due(now_s: float, last_s: float, at: str, *, zone: tzinfo | None = None) -> bool:
    """Whether the training of this night is to start now.

    ``last_s``: when the last nightly training was started, or since when there is anything to train. ``at``: ``HH:MM``
    in ``zone``, by default in the time of this machine.

    >>> from datetime import UTC
    >>> day = 20_000 * 86_400.0
    >>> due(day + 9_000, day - 77_400, "02:30", zone=UTC), due(day + 9_000, day + 9_000, "02:30", zone=UTC)
    (True, False)
    """
    moment_s = moment_before(now_s, at, zone=zone)
    return now_s - moment_s <= CATCH_UP_S and last_s < moment_s


def moment_before(now_s: float, at: str, *, zone: tzinfo | None = None) -> float:
    """The last time, now or before, that it was ``at`` by the clock on the wall.

    Once per date of the calendar: a time that the switch to summer leaves out comes as much later as the clock jumps,
    and of one that the switch back gives twice only the first counts (`datetime`, PEP 495, ``fold=0``).
    """
    hour, minute = map(int, at.split(":"))
    today = datetime.fromtimestamp(now_s, zone).date()
    dates = [today - timedelta(days=days) for days in range(3)]
    moments_s = [datetime(d.year, d.month, d.day, hour, minute, tzinfo=zone).timestamp() for d in dates]
    return max(moment_s for moment_s in moments_s if moment_s <= now_s)
