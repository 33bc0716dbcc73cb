"""Cuts everything that a feed shows, sounds and says into windows on the wall-clock grid."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import numpy as np

from mmstream.types import MAX_WINDOW_CHARS, AudioChunk, Float32, Frame, MediaItem, Reading, TextSpan, Window

Kind = Literal["video", "audio", "text", "sensor"]
MEDIA: tuple[Kind, ...] = ("video", "audio")

WINDOW_S = 2.0
HOP_S = 1.0
MAX_FORWARD_S = 60.0
"""A step of the clock, not a pause: what is open is given out and counting starts again."""
MAX_BACK_S: dict[Kind, float] = {"video": 12.0, "audio": 2.0, "text": 60.0, "sensor": 60.0}
"""The same for steps back. Pictures may go back that far in a replay of the gate's ring (10 s)."""
DECODER_DELAY_S = 0.5
"""A packet that has come may still be inside its decoder (B pictures, resampling)."""
MAX_JITTER_S = 0.06
MAX_FRAMES = 256
MAX_SPOKEN = 1024
MAX_CHARS_PER_S = MAX_WINDOW_CHARS // 2
"""Of words that begin in one second: a window of two then holds no more than is read of it."""
MAX_LATE_S = 60.0
"""Words may come so long after their last window has closed: they are evidence still."""
_ROUNDING_S = 1e-3


class Windower:
    """`MediaItem`s of one feed -> `Window`s that start at multiples of ``hop_s``.

    A window closes when pictures and sound, if the feed has them, have passed its end, or when the
    further of the two is ``max_skew_s`` past it: a stalled kind must not hold back the other. Words
    and readings go into every window that they overlap, but only close windows of a feed that has
    nothing else and whose time nobody tells (`advance`): what somebody dates wrongly must not move the
    clock of the feed. A frame counts at its ``start_s``; two within a millisecond are the same frame.

    Words whose windows have all closed join the oldest one that is open, up to ``MAX_LATE_S``, with the
    times that they have (``num_late_joined``); no window ever waits for them. Readings do not: a
    number is judged by the moment it was measured at, and by the one before.

    Memory: ``window_s + max_skew_s + hop_s`` of sound, and of pictures at most ``MAX_FRAMES`` (a
    camera with a broken clock would otherwise pile them up); at most ``MAX_SPOKEN`` words and
    readings, of which the oldest go, and ``MAX_CHARS_PER_S`` of words, or one piece, that begin in a
    second, of which the first stay (``num_crowded_out``).
    """

    def __init__(
        self, feed_id: str, *, window_s: float = WINDOW_S, hop_s: float = HOP_S, max_skew_s: float = 1.5
    ) -> None:
        if not 0 < hop_s <= window_s:
            raise ValueError(f"Windower: need 0 < hop_s <= window_s, got {hop_s = }, {window_s = }")
        self.feed_id = feed_id
        self._window_s, self._hop_s, self._max_skew_s = window_s, hop_s, max_skew_s
        self.counters: dict[str, float] = {
            "num_windows": 0,
            "num_late": 0,
            "num_late_joined": 0,
            "num_crowded_out": 0,
            "num_clock_jumps": 0,
            "gap_s": 0.0,
        }
        self._is_told = False
        """Somebody tells a feed of words alone how far it has come."""
        self._start_again()

    def _start_again(self) -> None:
        self._next: int | None = None
        """Number of the first window that is still open: it starts at ``number * hop_s``."""
        self._has_closed = False
        self._progress: dict[Kind, float] = {}
        self._frames: dict[int, Frame] = {}
        self._spoken: deque[TextSpan | Reading] = deque()
        self._joined: list[TextSpan] = []
        """Late words that wait for the next window to close."""
        self._num_chars: dict[int, int] = {}
        """Second -> how much was said that begins in it."""
        self._sound = _Sound()

    def push(self, item: MediaItem) -> list[Window]:
        """Take one item; -> the windows that are complete now, in order."""
        kind = _kind_of(item)
        moves_clock = kind in MEDIA or not (self._is_told or self._has_media())
        windows = self._follow_clock(kind, item.start_s) if moves_clock else []
        self._begin(kind, math.floor(item.start_s / self._hop_s))
        if not self._keep(item):
            self.counters["num_late"] += 1
        if kind in MEDIA or not self._is_told:
            self._note(kind, item.end_s if kind in MEDIA else item.start_s)
        return windows + self._close(self._reached_s())

    def advance(self, kind: Kind, until_s: float) -> list[Window]:
        """``kind`` has come this far, though nothing of it was decoded (the gate is asleep) or nothing was said."""
        self._is_told |= kind == "text"
        windows = self._follow_clock(kind, until_s)
        self._note(kind, until_s - DECODER_DELAY_S)
        return windows + self._close(self._reached_s())

    def flush(self) -> list[Window]:
        """Give out every window that has begun."""
        newest_s = max(self._relevant().values(), default=0.0)
        # pictures and sound are told by their ends: a window that starts there has not begun
        begun_s = newest_s - 2 * _ROUNDING_S
        if not self._has_media():
            said_s = (item.start_s for item in self._spoken if item.start_s <= newest_s + MAX_FORWARD_S)
            begun_s = max([newest_s, *said_s])
        windows = self._close(begun_s + self._window_s)
        self._start_again()
        return windows

    def _follow_clock(self, kind: Kind, at_s: float) -> list[Window]:
        before_s = self._progress.get(kind)
        newest_s = max(self._relevant().values(), default=at_s)
        forward = at_s > newest_s + MAX_FORWARD_S
        back = before_s is not None and at_s < before_s - MAX_BACK_S[kind]
        if not (forward or back):
            return []
        self.counters["num_clock_jumps"] += 1
        return self.flush()

    def _begin(self, kind: Kind, first: int) -> None:
        """Until a window has closed the first one may still be an earlier one: sound may begin before the pictures."""
        begun = self._next is not None
        if self._has_closed or (begun and kind not in MEDIA and self._has_media()):
            return
        if kind not in MEDIA and self._progress:  # a report of last year must not begin a year of windows
            first = max(first, math.floor((self._reached_s() - MAX_LATE_S) / self._hop_s))
        self._next = first if self._next is None else min(first, self._next)

    def _has_media(self) -> bool:
        return "video" in self._progress or "audio" in self._progress

    def _relevant(self) -> dict[Kind, float]:
        """How far each kind has come, of those that may close windows."""
        if not self._has_media():
            return self._progress
        return {kind: at_s for kind, at_s in self._progress.items() if kind in ("video", "audio")}

    def _note(self, kind: Kind, at_s: float) -> None:
        self._progress[kind] = max(at_s, self._progress.get(kind, -math.inf))

    def _reached_s(self) -> float:
        progress = self._relevant().values()
        if not progress:
            return -math.inf
        if not self._has_media():
            return max(progress)
        return max(min(progress), max(progress) - self._max_skew_s)

    def _keep(self, item: MediaItem) -> bool:
        """Put it where windows find it; False when every window that it belongs to is closed."""
        assert self._next is not None
        open_s = self._next * self._hop_s
        if isinstance(item, AudioChunk):
            gap_s = self._sound.append(item)
            self.counters["gap_s"] += gap_s
            return item.end_s > open_s
        if isinstance(item, Frame):
            if item.start_s < open_s:
                return False
            _keep_richer(self._frames, item)
            return not self._overfull_frames()
        is_late = item.start_s < open_s and item.end_s <= open_s
        if is_late and (isinstance(item, Reading) or open_s - item.end_s > MAX_LATE_S):
            return False
        if isinstance(item, TextSpan) and not self._has_room(item, max(math.floor(item.start_s), math.floor(open_s))):
            self.counters["num_crowded_out"] += 1
        elif is_late and isinstance(item, TextSpan):
            self.counters["num_late_joined"] += 1
            self._joined.append(item)
        else:
            self._spoken.append(item)
        if len(self._spoken) > MAX_SPOKEN:
            self._spoken.popleft()
            self.counters["num_crowded_out"] += 1
        return True

    def _has_room(self, span: TextSpan, second: int) -> bool:
        num_chars = self._num_chars.get(second, 0)
        if num_chars and num_chars + len(span.text) > MAX_CHARS_PER_S:
            return False
        self._num_chars[second] = num_chars + max(1, len(span.text))
        return True

    def _overfull_frames(self) -> bool:
        if len(self._frames) <= MAX_FRAMES:
            return False
        del self._frames[min(self._frames)]
        return True

    def _close(self, reached_s: float) -> list[Window]:
        if self._next is None or reached_s == -math.inf:
            return []
        last = math.floor((reached_s + _ROUNDING_S - self._window_s) / self._hop_s)
        windows = []
        while self._next <= last:
            window = self._cut(self._next * self._hop_s)
            if window.frames or window.samples.size or window.texts or window.readings:
                windows.append(window)
            self._next += 1
            self._has_closed = True
            self._forget(self._next * self._hop_s)
        self.counters["num_windows"] += len(windows)
        return windows

    def _cut(self, start_s: float) -> Window:
        end_s = start_s + self._window_s
        frames = sorted((f for f in self._frames.values() if start_s <= f.start_s < end_s), key=lambda f: f.start_s)
        spoken = [s for s in self._spoken if _overlaps(s, start_s, end_s)]
        spoken = sorted([*self._joined, *spoken], key=lambda s: s.start_s)
        self._joined = []
        samples = self._sound.cut(start_s, end_s)
        return Window(
            feed_id=self.feed_id,
            start_s=start_s,
            end_s=end_s,
            frames=tuple(frames),
            samples=samples,
            sample_rate_hz=self._sound.rate_hz if samples.size else 0,
            texts=tuple(s for s in spoken if isinstance(s, TextSpan)),
            readings=tuple(s for s in spoken if isinstance(s, Reading)),
        )

    def _forget(self, before_s: float) -> None:
        self._frames = {key: frame for key, frame in self._frames.items() if frame.start_s >= before_s}
        self._spoken = deque(s for s in self._spoken if s.start_s >= before_s or s.end_s > before_s)
        self._num_chars = {second: count for second, count in self._num_chars.items() if second >= before_s - 1.0}
        self._sound.forget(before_s)


class _Sound:
    """Chunks of sound on a grid of sample numbers that counts from the Unix epoch."""

    def __init__(self) -> None:
        self.rate_hz = 0
        self._chunks: deque[tuple[int, Float32]] = deque()
        self._end = 0

    def append(self, chunk: AudioChunk) -> float:
        """Place the chunk; -> seconds of silence that were left before it.

        Arrival times tremble: a chunk within ``MAX_JITTER_S`` of where the last one ended continues it.
        """
        first = round(chunk.start_s * chunk.sample_rate_hz)
        if chunk.sample_rate_hz != self.rate_hz:
            self.rate_hz = chunk.sample_rate_hz
            self._chunks.clear()
            self._end = first
        jump = first - self._end
        if abs(jump) < MAX_JITTER_S * self.rate_hz:
            jump = 0
        samples = chunk.samples[max(0, -jump) :]
        if samples.size:
            at = self._end + max(0, jump)
            self._chunks.append((at, samples))
            self._end = at + samples.size
        return max(0, jump) / self.rate_hz

    def cut(self, start_s: float, end_s: float) -> Float32:
        """(n,) with zeros in the gaps; n = 0 when less than half of the interval was heard."""
        first = round(start_s * self.rate_hz)
        samples = np.zeros(round(end_s * self.rate_hz) - first, np.float32)
        heard = 0
        for at, chunk in self._chunks:
            left, right = max(at - first, 0), min(at + chunk.size - first, samples.size)
            if left < right:
                samples[left:right] = chunk[left + first - at : right + first - at]
                heard += right - left
        return samples if 2 * heard >= samples.size else np.zeros(0, np.float32)

    def forget(self, before_s: float) -> None:
        first = round(before_s * self.rate_hz)
        while self._chunks and self._chunks[0][0] + self._chunks[0][1].size <= first:
            self._chunks.popleft()


def _kind_of(item: MediaItem) -> Kind:
    match item:
        case Frame():
            return "video"
        case AudioChunk():
            return "audio"
        case TextSpan():
            return "text"
        case Reading():
            return "sensor"


def _keep_richer(frames: dict[int, Frame], frame: Frame) -> None:
    """A replay gives moments again: keep the frame that more was measured on, else the first."""
    key = round(frame.start_s * 1000)
    known = frames.get(key)
    if known is None or _richness(frame) > _richness(known):
        frames[key] = frame


def _richness(frame: Frame) -> tuple[bool, int]:
    return frame.motion is not None, len(frame.pictures)


def _overlaps(item: TextSpan | Reading, start_s: float, end_s: float) -> bool:
    return item.start_s < end_s and (item.start_s >= start_s or item.end_s > start_s)
