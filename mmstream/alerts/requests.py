"""Which clips have been asked for and not come yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmstream.alerts.explain import shown_region
from mmstream.types import Alert, EvidenceRequest, Region

MAX_WAITING = 6
"""Alerts whose clip is waited for at most; beyond that the oldest is given up and counted."""


class EvidenceRequests:
    """One unanswered request per alert: the first when it opens, replaced by the final when it closes."""

    def __init__(self, feed_id: str, *, pre_roll_s: float, post_roll_s: float) -> None:
        self._feed_id = feed_id
        self._pre_roll_s = pre_roll_s
        self._post_roll_s = post_roll_s
        self._waiting: dict[str, EvidenceRequest] = {}
        self.num_given_up = 0

    def opened(self, alert: Alert, window_s: float) -> None:
        # the alert may have opened some windows after it started: the clip shows what opened it
        self._ask(alert, max(alert.start_s + window_s, alert.end_s), final=False)

    def closed(self, alert: Alert) -> None:
        self._ask(alert, alert.end_s + self._post_roll_s, final=True)

    def done(self, alert_id: str, final: bool) -> None:
        """An answer to the first request does not answer the final one."""
        waiting = self._waiting.get(alert_id)
        if waiting is not None and (final or not waiting.final):
            del self._waiting[alert_id]

    def wanted(self) -> list[EvidenceRequest]:
        return list(self._waiting.values())

    def state(self) -> list[list[Any]]:
        return [
            [r.alert_id, r.start_s, r.end_s, r.peak_s, r.spectrogram, r.final, r.region, r.band_hz]
            for r in self._waiting.values()
        ]

    def load(self, state: Sequence[Sequence[Any]]) -> None:
        self._waiting = {
            name: EvidenceRequest(
                feed_id=self._feed_id,
                alert_id=name,
                start_s=start_s,
                end_s=end_s,
                peak_s=peak_s,
                spectrogram=spectrogram,
                final=final,
                region=_region(region),
                band_hz=(band_hz[0], band_hz[1]) if band_hz is not None else None,
            )
            for name, start_s, end_s, peak_s, spectrogram, final, region, band_hz in state
        }

    def _ask(self, alert: Alert, end_s: float, *, final: bool) -> None:
        self._waiting.pop(alert.alert_id, None)
        self._waiting[alert.alert_id] = EvidenceRequest(
            feed_id=self._feed_id,
            alert_id=alert.alert_id,
            start_s=alert.start_s - self._pre_roll_s,
            end_s=end_s,
            peak_s=alert.peak_s,
            spectrogram="sound" in alert.shares,
            final=final,
            region=shown_region(alert),
            band_hz=alert.band_hz,
        )
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self.num_given_up += 1


def _region(corners: Sequence[float] | None) -> Region | None:
    return None if corners is None else (corners[0], corners[1], corners[2], corners[3])
