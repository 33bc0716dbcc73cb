"""How long evidence is kept: clips and pictures go after so many days, the alerts themselves stay."""

from __future__ import annotations

from collections.abc import Iterable

from mmstream.storage.base import MediaStore

DAY_S = 86_400.0


def expired(keys: Iterable[str], *, now_s: float, keep_days: float) -> list[str]:
    """Those of ``alerts/<feed>_<start in ms>/<file>`` whose alert is older; other keys are left alone.

    >>> expired(["alerts/gate-3_1000/first.mp4", "feeds/gate-3/last.jpg"], now_s=3 * DAY_S, keep_days=2)
    ['alerts/gate-3_1000/first.mp4']
    """
    oldest_ms = (now_s - keep_days * DAY_S) * 1000
    old = []
    for key in keys:
        parts = key.split("/")
        start_ms = parts[1].rpartition("_")[2] if len(parts) == 3 and parts[0] == "alerts" else ""
        if start_ms.lstrip("-").isdigit() and int(start_ms) < oldest_ms:
            old.append(key)
    return old


def prune(media: MediaStore, *, now_s: float, keep_days: float) -> int:
    """Delete what has expired; -> how many files."""
    old = expired(media.keys("alerts/"), now_s=now_s, keep_days=keep_days)
    for key in old:
        media.delete(key)
    return len(old)
