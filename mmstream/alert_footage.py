"""Footage of an alert, made afterwards from the undecoded packets: whether a new model finds it again is tried on that.

Most alerts are over before the next burst is due, and those with a verdict are what a promotion is decided by.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mmstream.config import GateSection
from mmstream.errors import MmstreamError
from mmstream.evidence import PacketRing
from mmstream.feed_stages import FeedStages
from mmstream.recording import FOOTAGE, SPEC, FootageRecorder
from mmstream.training.footage import BURST_WINDOWS, Burst
from mmstream.training.footage_files import FootageFiles
from mmstream.types import EvidenceRequest, Packet, UInt8, Window

log = logging.getLogger(__name__)

AROUND_PEAK_S = 12.0
"""Six bursts. An alert of half an hour is recorded by the minute anyway."""


def keep_alert_footage(
    ring: PacketRing, request: EvidenceRequest, files: FootageFiles, *, gate: GateSection, background: UInt8 | None
) -> int:
    """Decode what was around the peak of an alert and keep it; -> how many bursts. ``background``: the feed's, of now.

    A second of one core. What cannot be decoded or written is logged and left out: the alert has its clip.
    """
    from_s, to_s = request.peak_s - AROUND_PEAK_S, request.peak_s + AROUND_PEAK_S
    packets = ring.packets_between(from_s, to_s)
    try:
        bursts = bursts_in(request.feed_id, packets, gate=gate, background=background)
        inside = [burst for burst in bursts if burst.start_s < to_s and burst.end_s > from_s]
        files.push_alert(inside)
    except MmstreamError as error:
        log.warning("alert %s: no footage of it is kept: %s", request.alert_id, error.sentence)
        return 0
    return len(inside)


def bursts_in(
    feed_id: str, packets: Sequence[Packet], *, gate: GateSection, background: UInt8 | None = None
) -> list[Burst]:
    """What the recorder would have kept of these, had it been told to take all.

    Raises:
        SourceError: they cannot be decoded.
    """
    bursts: list[Burst] = []
    recorder = FootageRecorder(
        feed_id, bursts.append, busy_every_s=BURST_WINDOWS, idle_every_s=BURST_WINDOWS, background=background
    )
    stages = FeedStages(feed_id, gate=gate, gated=False, live=True, pictures={FOOTAGE: SPEC})

    def take(windows: Sequence[Window]) -> None:
        for window in windows:
            recorder.push(window)

    for packet in packets:
        if packet.kind != "text":
            take(stages.push(packet))
    take(stages.flush())
    return bursts
