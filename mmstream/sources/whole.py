"""The pictures of a recording as they are, for whoever edits them: no motion vectors, nothing small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmstream.config import FeedConfig
from mmstream.errors import Damaged
from mmstream.sources.decode import Pace
from mmstream.sources.media import MediaSource
from mmstream.sources.pictures import Scaler
from mmstream.sources.timed_decoder import Timed, TimedDecoder
from mmstream.types import Packet, Status, StreamParameters, UInt8


def packets_of(path: Path, *, audio: bool = False) -> Iterator[Packet]:
    """Every packet of a file, from second 0.

    Raises:
        Damaged: it cannot be read.
    """
    for item in MediaSource(FeedConfig(id="recording", url=str(path), audio=audio), epoch_s=0.0):
        if isinstance(item, Status) and item.state == "failed":
            raise Damaged(f"{path}: {item.sentence.partition(': ')[2]}")
        if isinstance(item, Packet):
            yield item


def pictures_of(path: Path, *, fps: float, max_width_px: int) -> Iterator[UInt8]:
    """(height, width, 3) RGB each, at most so many a second and so wide, the sides even.

    Raises:
        Damaged: it cannot be read.
        UnsupportedCodec: there is no decoder for it.
    """
    decoder: TimedDecoder | None = None
    scaler, pace, size_px = Scaler("rgb24"), Pace(fps), (2, 2)

    def taken(shown: list[Timed]) -> list[UInt8]:
        return [scaler(frame, *size_px) for frame, at_s, _ in shown if not frame.is_corrupt and pace.due(at_s)]

    for packet in packets_of(path):
        if packet.kind != "video":
            continue
        if decoder is None:
            decoder, size_px = TimedDecoder(packet.stream), _even_size_px(packet.stream, max_width_px)
        yield from taken(decoder.push(packet))
    yield from taken(decoder.flush()) if decoder is not None else []


def _even_size_px(stream: StreamParameters, max_width_px: int) -> tuple[int, int]:
    scale = min(1.0, max_width_px / max(1, stream.width_px))
    return max(2, round(stream.width_px * scale / 2) * 2), max(2, round(stream.height_px * scale / 2) * 2)
