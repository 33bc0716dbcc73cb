"""An alert of an answer as plain values: one that would have been, one that was."""

from __future__ import annotations

from typing import Any

from mmstream.replay.engine import Replayed
from mmstream.replay.strips import Past
from mmstream.stages import Fuser
from mmstream.types import Alert, Evidence

LEAST_P = 1e-300
"""Nothing is rarer: 0 is no p-value."""


def replayed_json(past: Past, alert: Replayed, fuser: Fuser) -> dict[str, Any]:
    heights = past.heights[alert.window].tolist()
    evidence = [
        Evidence(channel=name, modality=modality, p=min(1.0, max(LEAST_P, 10.0**-height)), weight=weight)
        for (name, modality, weight), height in zip(past.aspects, heights, strict=True)
        if height == height  # NaN: missing
    ]
    _, shares = fuser.fuse(evidence)
    return {
        "feed_id": alert.feed_id,
        "start_s": alert.start_s,
        "end_s": alert.end_s,
        "severity": alert.severity,
        "surprise": round(alert.surprise, 3),
        "shares": {name: round(share, 3) for name, share in shares.items()},
        "provisional": alert.provisional,
    }


def happened_json(alert: Alert) -> dict[str, Any]:
    return {
        "alert_id": alert.alert_id,
        "feed_id": alert.feed_id,
        "kind": alert.kind,
        "cause": alert.cause,
        "start_s": alert.start_s,
        "end_s": alert.end_s,
        "severity": alert.severity,
        "surprise": round(alert.surprise, 3),
        "shares": {name: round(share, 3) for name, share in alert.shares.items()},
        "provisional": alert.provisional,
    }
