"""What happened beside what would have happened: kept, appeared, vanished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmstream.replay.engine import Replayed
from mmstream.types import Alert

SLACK_S = 2.0
"""A window: so far apart two alerts are still about the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Of one feed. An alert that overlaps one of the other side is the same."""

    kept: tuple[tuple[Alert, Replayed], ...]
    appeared: tuple[Replayed, ...]
    vanished: tuple[Alert, ...]


def compare(now: Sequence[Alert], then: Sequence[Replayed]) -> Compared:
    """``now``: alerts that were told; ``then``: those that would have been told."""
    kept = []
    left = sorted(then, key=lambda alert: alert.start_s)
    vanished = []
    for alert in sorted(now, key=lambda alert: alert.start_s):
        match = next((other for other in left if _overlap(alert, other)), None)
        if match is None:
            vanished.append(alert)
        else:
            left.remove(match)
            kept.append((alert, match))
    return Compared(kept=tuple(kept), appeared=tuple(left), vanished=tuple(vanished))


def _overlap(alert: Alert, other: Replayed) -> bool:
    return alert.start_s <= other.end_s + SLACK_S and other.start_s <= alert.end_s + SLACK_S
