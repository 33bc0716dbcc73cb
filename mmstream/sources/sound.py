"""From sound packets to mono samples at one rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av
import numpy as np

from mmstream.errors import UnsupportedCodec
from mmstream.sources.timed_decoder import Timed, TimedDecoder, newest_run
from mmstream.types import AudioChunk, Float32, Packet

GROUP_S = 0.2
"""Packets of 20 to 64 ms are handed on together: each chunk costs as much as decoding it."""
MAX_JITTER_S = 0.03
"""A packet that begins further than this from where the last one ended does not continue it."""


class SoundDecoder:
    """Packets of one connection -> `AudioChunk`, mono float32 at ``rate_hz``, each of about ``GROUP_S``.

    Never raises: what cannot be decoded is counted in ``num_damaged`` and is a gap in time.
    """

    def __init__(self, feed_id: str, rate_hz: int) -> None:
        self.feed_id = feed_id
        self.rate_hz = rate_hz
        self.num_damaged = 0
        self.decoded_s = 0.0
        self._decoder: TimedDecoder | None = None
        self._refused_epoch = -1
        self._resampler: Any = None
        self._source: tuple[str, str, int] | None = None
        self._inside_s = 0.0
        """Sound that is inside the resampler."""
        self._group: list[Float32] = []
        """What came out of it and has not been handed on; it begins at ``_group_from_s``."""
        self._group_from_s = 0.0
        self._end_s = 0.0

    def push(self, packet: Packet) -> list[AudioChunk]:
        chunks = []
        if self._decoder is None or self._decoder.parameters.epoch != packet.stream.epoch:
            chunks = self.flush()
            if not self._open(packet):
                return chunks
        assert self._decoder is not None
        try:
            for timed in self._decoder.push(packet):
                chunks += self._convert(timed)
        except av.error.FFmpegError:
            self.num_damaged += 1
        return chunks

    def flush(self) -> list[AudioChunk]:
        """What decoder and resampler held back. A later packet starts afresh."""
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            return []
        chunks: list[AudioChunk] = []
        try:
            for timed in decoder.flush():
                chunks += self._convert(timed)
            chunks += self._drain()
        except av.error.FFmpegError:
            self.num_damaged += 1
        return chunks

    def _open(self, packet: Packet) -> bool:
        if packet.stream.epoch == self._refused_epoch:
            return False
        try:
            self._decoder = TimedDecoder(packet.stream)
        except UnsupportedCodec:
            self.num_damaged += 1
            self._refused_epoch = packet.stream.epoch
        return self._decoder is not None

    def _convert(self, timed: Timed) -> list[AudioChunk]:
        frame, start_s, _ = timed
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        chunks: list[AudioChunk] = []
        if source != self._source:  # AAC may find its second half of the spectrum after a few packets
            chunks = self._drain()
            self._source = source
            self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=self.rate_hz)
        from_s = start_s - self._inside_s
        self._inside_s += frame.samples / frame.sample_rate
        return chunks + self._gather(self._resampler.resample(frame), from_s)

    def _drain(self) -> list[AudioChunk]:
        if self._resampler is None:
            return []
        resampler, self._resampler, self._source = self._resampler, None, None
        chunks = self._gather(resampler.resample(None), self._end_s) if self._inside_s > 0 else []
        self._inside_s = 0.0
        return chunks + self._hand_on()

    def _gather(self, frames: Sequence[Any], from_s: float) -> list[AudioChunk]:
        arrays = [np.frombuffer(frame.planes[0], np.float32)[: frame.samples] for frame in frames if frame.samples]
        if not arrays:
            return []
        chunks = [] if abs(from_s - self._end_s) < MAX_JITTER_S else self._hand_on()
        if not self._group:
            self._group_from_s = self._end_s = from_s
        self._group += arrays
        seconds = sum(map(len, arrays)) / self.rate_hz
        self._inside_s = max(0.0, self._inside_s - seconds)
        self._end_s += seconds
        return chunks if self._end_s - self._group_from_s < GROUP_S else chunks + self._hand_on()

    def _hand_on(self) -> list[AudioChunk]:
        if not self._group:
            return []
        # Damaged sound decodes to anything; fmax and fmin also replace NaN.
        samples: Float32 = np.fmin(np.fmax(np.concatenate(self._group), np.float32(-1)), np.float32(1))
        self._group = []
        self.decoded_s += len(samples) / self.rate_hz
        return [
            AudioChunk(
                feed_id=self.feed_id,
                start_s=self._group_from_s,
                end_s=self._group_from_s + len(samples) / self.rate_hz,
                samples=samples,
                sample_rate_hz=self.rate_hz,
            )
        ]


def sound_of(packets: Sequence[Packet], rate_hz: int) -> tuple[Float32, float]:
    """-> ((n,) mono samples of the newest connection, start_s). Gaps are zeros; n = 0: no sound."""
    audio = newest_run([packet for packet in packets if packet.kind == "audio"])
    if not audio:
        return np.zeros(0, np.float32), 0.0
    decoder = SoundDecoder(audio[0].feed_id, rate_hz)
    chunks = [chunk for packet in audio for chunk in decoder.push(packet)] + decoder.flush()
    if not chunks:
        return np.zeros(0, np.float32), 0.0
    start_s = min(chunk.start_s for chunk in chunks)
    samples = np.zeros(round((max(chunk.end_s for chunk in chunks) - start_s) * rate_hz), np.float32)
    at = 0
    for chunk in chunks:
        wanted = round((chunk.start_s - start_s) * rate_hz)
        if abs(wanted - at) > rate_hz // 10:  # a gap, not the jitter of arrival times
            at = wanted
        part = chunk.samples[: max(0, len(samples) - at)]
        samples[at : at + len(part)] = part
        at += len(part)
    return samples, start_s
