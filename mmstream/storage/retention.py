"""How long evidence is kept: clips and pictures go after so many days, the alerts themselves stay."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmstream.storage.base import MediaStore

DAY_S = 86_400.0

_START_MS = re.compile(r"_(-?\d+)(?:-[a-z]+)?")
"""At the end of an alert's folder; a health alert's cause follows."""


def evidence_folder(alert_id: str) -> str:
    """Where the clip and pictures of an alert lie in the media store.

    >>> evidence_folder("gate-3:1700000000250")
    'alerts/gate-3_1700000000250'
    """
    return f"alerts/{alert_id.replace(':', '_')}"


def expired(keys: Iterable[str], *, now_s: float, keep_days: float) -> list[str]:
    """Those of ``alerts/<feed>_<start in ms>/<file>`` whose alert is older; other keys are left alone.

    >>> expired(["alerts/gate-3_1000/first.mp4", "feeds/gate-3/last.jpg"], now_s=3 * DAY_S, keep_days=2)
    ['alerts/gate-3_1000/first.mp4']
    """
    oldest_ms = (now_s - keep_days * DAY_S) * 1000
    old = []
    for key in keys:
        parts = key.split("/")
        if len(parts) != 3 or parts[0] != "alerts":
            continue
        _, underscore, last = parts[1].rpartition("_")
        start_ms = _START_MS.fullmatch(underscore + last)
        if start_ms is not None and int(start_ms[1]) < oldest_ms:
            old.append(key)
    return old


def prune(media: MediaStore, *, now_s: float, keep_days: float) -> int:
    """Delete what has expired; -> how many files."""
    old = expired(media.keys("alerts/"), now_s=now_s, keep_days=keep_days)
    for key in old:
        media.delete(key)
    return len(old)
