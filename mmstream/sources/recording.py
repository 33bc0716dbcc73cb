"""What is special about files: when they were recorded, whether they are whole, how fast they play."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from av.container import InputContainer

from mmstream.errors import Damaged
from mmstream.types import Packet

_TS_DISCONT = 0x0200
"""AVFMT_TS_DISCONT of FFmpeg's avformat.h: time stamps start anywhere and may jump."""
WHOLE = 0.9
"""A file that delivers less than this share of what it promises has been cut off."""


def origin_of(container: InputContainer, epoch_s: float | None) -> float:
    """Unix time of ``pts`` 0: from the caller, else from the ``creation_time`` tag, else 0.

    Transport streams count from a number of their own, so there second 0 is the first packet.
    """
    if epoch_s is None:
        epoch_s = _created_s(container.metadata.get("creation_time", ""))
    return epoch_s - counts_from_s(container)


def counts_from_s(container: InputContainer) -> float:
    """The ``pts`` at which the recording begins, in seconds."""
    if container.format.flags & _TS_DISCONT and container.start_time is not None:
        return float(container.start_time / 1e6)
    return 0.0


def _created_s(tag: str) -> float:
    try:
        created_at = datetime.fromisoformat(tag)
    except ValueError:
        return 0.0
    if created_at.tzinfo is None:
        created_at = created_at.replace(tzinfo=UTC)
    return max(0.0, created_at.timestamp())


class Extent:
    """What a file has delivered so far, against what it promised."""

    def __init__(self) -> None:
        self._spans: dict[int, tuple[float, float]] = {}

    def measured(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The packets as they are, measured as they pass."""
        for packet in packets:
            first_s, last_s = self._spans.get(packet.stream.index, (packet.start_s, packet.end_s))
            self._spans[packet.stream.index] = (min(first_s, packet.start_s), max(last_s, packet.end_s))
            yield packet

    @property
    def length_s(self) -> float:
        """From the first start to the last end, over all streams."""
        first_s = min(first_s for first_s, _ in self._spans.values())
        return max(last_s for _, last_s in self._spans.values()) - first_s

    def check(self, container: InputContainer, indices: tuple[int, ...]) -> None:
        """Raises Damaged when the file is cut off. Only MP4 says exactly how long each stream is."""
        self.check_not_empty()
        if not container.format.name.startswith("mov"):
            return
        for stream in (container.streams[index] for index in indices):
            if stream.duration is None or stream.time_base is None or stream.type not in ("video", "audio"):
                continue
            promised_s = float(stream.duration * stream.time_base)
            first_s, last_s = self._spans.get(stream.index, (0.0, 0.0))
            if last_s - first_s < WHOLE * promised_s:
                raise Damaged(
                    f"the file is cut off: {last_s - first_s:.1f} of {promised_s:.1f} s of {stream.type}; copy it again"
                )

    def check_not_empty(self) -> None:
        """Raises Damaged when nothing has been delivered at all."""
        if not self._spans:
            raise Damaged("the file holds no picture and no sound; record or copy it again")


def paced(packets: Iterator[Packet], now: Callable[[], float], stopping: threading.Event) -> Iterator[Packet]:
    """Each packet once its time has come on ``now``, as a camera would send it; ends when ``stopping``."""
    for packet in packets:
        early_s = packet.end_s - now()
        if early_s > 0 and stopping.wait(early_s):
            return
        yield packet
