"""How much of a feed to decode: while nothing happens, one key frame in two seconds or so.

Asleep, only key packets pass; the others wait in a ring. Two cheap signs wake a feed: a key frame
that differs from the one before *and* from the slow background by more than its own noise, and
packets that have grown (the encoder had more to tell). Key frames carry the recall where they come
every 1-2 s; packet sizes shorten the delay, and say nothing under constant bit rate.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from mmstream.types import Float32, Frame, Packet, UInt8

GRID = (36, 64)
TOP_CELLS = 6
"""A quarter of a percent of the picture: the smallest thing that shall wake a feed."""
MAX_GOP_S = 4.2
"""Key frames further apart than 4 s show too little to sleep on."""
KEY_EVERY_S = 0.9
"""Key frames closer together than this need not all be decoded ..."""
MJPEG_EVERY_S = 1.9
"""... and where every picture is one, one in two seconds is enough."""
MAX_STEP_S = 30.0
"""A larger step between packets, or one of 5 s back, is another clock: start over."""


class Gate:
    """Decides for every packet of one feed whether it is decoded. One object per feed, one caller.

    Give the packets that `push` returns to the decoder, and every `Frame` that comes out to `observe`.
    What `observe` returns, and any list of more than one video packet from `push`, is a replay of the
    ring: it begins with a key packet that may have been decoded before, and wants a fresh decoder.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        analysed_fps: float,
        hold_s: float,
        learn_s: float,
        key_threshold: float,
        packet_threshold: float,
        max_ring_s: float = 10.0,
        max_ring_bytes: int = 4_000_000,
    ) -> None:
        self._enabled = enabled
        self._analysed_every_s = 1.0 / analysed_fps
        self._hold_s, self._learn_s = hold_s, learn_s
        self._key_threshold, self._packet_threshold = key_threshold, packet_threshold
        self._ring = _Ring(max_ring_s, max_ring_bytes)
        self.awake = True
        self.counters: dict[str, float] = dict.fromkeys(
            (
                *("packets_seen", "packets_decoded", "replayed_packets", "ring_cuts"),
                *("wakes_key", "wakes_packets", "wakes_long_gop"),
                *("asleep_s", "awake_s", "long_gop_s"),
            ),
            0.0,
        )
        """Video packets only. ``long_gop_s``: kept awake because key frames are more than 4 s apart."""
        self._start_over(None)

    def _start_over(self, packet: Packet | None) -> None:
        """A new connection or another clock: nothing that was learned holds."""
        self._epoch = packet.stream.epoch if packet is not None else -1
        self._now_s = packet.start_s if packet is not None else 0.0
        self.awake = True
        self._awake_until_s = self._now_s + self._learn_s
        self._last_key_s = self._now_s
        self._gops_s: deque[float] = deque([math.inf, math.inf], maxlen=2)
        self._all_keys = False
        self._was_key = False
        self._sampled_s = -math.inf
        self._due_s = -math.inf
        self._waits_for_key = False
        self._ring.clear()
        self._sizes = _PacketSizes(self._packet_threshold)
        self._forget_picture(())

    def _forget_picture(self, shape: tuple[int, ...]) -> None:
        self._luma_shape = shape
        self._scene = _Scene()
        self._scored_s = -math.inf
        self._recent: deque[tuple[float, Float32]] = deque()

    @property
    def replay_from_s(self) -> float:
        """No frame from before this moment will come any more; asleep, up to two GOPs ago."""
        start_s = None if self.awake else self._ring.start_s
        return self._now_s if start_s is None else start_s

    # -- packets ------------------------------------------------------------------------------------

    def push(self, packet: Packet) -> list[Packet]:
        """What to decode now, in order. Sound and text always pass."""
        if packet.stream.kind != "video":
            return [packet]
        counters = self.counters
        counters["packets_seen"] += 1
        if not self._enabled:
            counters["packets_decoded"] += 1
            return [packet]
        self._follow_clock(packet)
        if packet.is_key:
            self._follow_keys(packet.start_s)
        self._was_key = packet.is_key
        if not packet.is_key and self._sizes.push(packet.start_s, packet.size_bytes) and not self.awake:
            self._ring.append(packet, False)
            return self._wake("wakes_packets")
        if self._all_keys and not self._is_due(packet.start_s):
            return []
        decoded = self._pass(packet)
        if len(decoded) == 1:
            counters["packets_decoded"] += 1
        return decoded

    def _pass(self, packet: Packet) -> list[Packet]:
        now_s = packet.start_s
        every_s = MJPEG_EVERY_S if self._all_keys else KEY_EVERY_S
        sampled = packet.is_key and now_s - self._sampled_s >= every_s
        if sampled:
            self._sampled_s = now_s
        if not self._ring.append(packet, sampled):
            self.counters["ring_cuts"] += 1
        long_gop = max(*self._gops_s, now_s - self._last_key_s) > MAX_GOP_S
        if not self.awake:
            if long_gop:
                return self._wake("wakes_long_gop") or [packet]
            return [packet] if sampled else []
        if now_s >= self._awake_until_s:
            if not long_gop:
                return self._sleep(packet, sampled)
            self.counters["long_gop_s"] += max(0.0, min(1.0, now_s - self._awake_until_s))
            self._awake_until_s = now_s
        self._waits_for_key = self._waits_for_key and not packet.is_key and not long_gop
        return [] if self._waits_for_key else [packet]

    def _follow_clock(self, packet: Packet) -> None:
        step_s = packet.start_s - self._now_s
        if packet.stream.epoch != self._epoch or not -5.0 < step_s < MAX_STEP_S:
            self._start_over(packet)
        elif step_s > 0:
            self.counters["awake_s" if self.awake else "asleep_s"] += step_s
            self._now_s = packet.start_s

    def _follow_keys(self, now_s: float) -> None:
        if self._sampled_s > -math.inf:
            self._gops_s.append(now_s - self._last_key_s)
        self._last_key_s = now_s
        self._all_keys = self._was_key

    def _is_due(self, now_s: float) -> bool:
        """Where every packet is a picture of its own, only those that are analysed need decoding."""
        if now_s < self._due_s - 0.1 * self._analysed_every_s:
            return False
        late_s = now_s - self._due_s
        self._due_s = (self._due_s if late_s < self._analysed_every_s else now_s) + self._analysed_every_s
        return True

    # -- pictures -----------------------------------------------------------------------------------

    def observe(self, frame: Frame) -> list[Packet]:
        """Look at a decoded picture; may wake the feed and return the ring to be decoded."""
        if not self._enabled:
            return []
        if frame.luma.shape != self._luma_shape:
            self._forget_picture(frame.luma.shape)
        small = area_reduced(frame.luma, *GRID)
        hit = self._differs(frame.start_s, small) if self.awake else False
        if frame.is_key and frame.start_s >= self._scored_s + KEY_EVERY_S:
            self._scored_s = frame.start_s
            hit = self._scene.score_key(small) > self._key_threshold or hit
        if not hit:
            return []
        if not self.awake:
            return self._wake("wakes_key")
        self._awake_until_s = max(self._awake_until_s, frame.start_s + self._hold_s)
        return []

    def _differs(self, at_s: float, small: Float32) -> bool:
        """Against the picture of two analysed steps ago: slow things need the time to move."""
        recent = self._recent
        if recent and at_s < recent[-1][0] + 0.9 * self._analysed_every_s:
            return False
        hit = bool(recent) and self._scene.difference(small, recent[0][1]) > self._key_threshold
        recent.append((at_s, small))
        if len(recent) > 2:
            recent.popleft()
        return hit

    # -- waking and sleeping --------------------------------------------------------------------------

    def _wake(self, reason: str) -> list[Packet]:
        self.counters[reason] += 1
        self.awake = True
        self._awake_until_s = self._now_s + self._hold_s
        self._recent.clear()
        replay = self._ring.packets()
        self._waits_for_key = not replay
        if len(replay) < 2:  # the key that woke it has just been decoded: the same decoder goes on
            return []
        self.counters["replayed_packets"] += len(replay)
        self.counters["packets_decoded"] += len(replay)
        return replay

    def _sleep(self, packet: Packet, sampled: bool) -> list[Packet]:
        if self._scene.num_keys < 3:
            return [packet]
        self.awake = False
        self._ring.forget_previous()  # it has been decoded: only what follows can be missed
        self._sizes.disarm()
        return [packet] if sampled else []


class _Ring:
    """The packets since the sampled key before last: where a replay begins."""

    def __init__(self, max_s: float, max_bytes: int) -> None:
        self._max_s, self._max_bytes = max_s, max_bytes
        self.clear()

    def clear(self) -> None:
        self._previous: list[Packet] = []
        self._current: list[Packet] = []
        self._previous_bytes = self._current_bytes = 0

    def forget_previous(self) -> None:
        self._previous, self._previous_bytes = [], 0

    @property
    def start_s(self) -> float | None:
        oldest = self._previous or self._current
        return oldest[0].start_s if oldest else None

    def packets(self) -> list[Packet]:
        return self._previous + self._current

    def append(self, packet: Packet, begins_group: bool) -> bool:
        """False: the ring was full, and lost its older group, or both until the next key."""
        if begins_group:
            self._previous, self._previous_bytes = self._current, self._current_bytes
            self._current, self._current_bytes = [], 0
        elif not self._current:
            return True
        self._current.append(packet)
        self._current_bytes += packet.size_bytes
        if self._fits(packet, self._previous, self._previous_bytes):
            return True
        self.forget_previous()
        if not self._fits(packet, self._current, 0):
            self.clear()
        return False

    def _fits(self, packet: Packet, oldest: list[Packet], other_bytes: int) -> bool:
        if self._current_bytes + other_bytes > self._max_bytes:
            return False
        return not oldest or packet.start_s - oldest[0].start_s <= self._max_s


class _PacketSizes:
    """How far the packets' mean log size of one second is above its own last two minutes.

    Robust z: median and 1.4826 MAD of the lower half (activity only ever makes packets larger).
    """

    BASELINE_S = 120
    MIN_BASELINE_S = 20
    MIN_SCALE = 0.02
    MAX_PER_SECOND = 240
    """A camera whose clock stands still must not fill the memory."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._second: deque[tuple[float, float]] = deque()
        self._sum = 0.0
        self._means: deque[float] = deque(maxlen=self.BASELINE_S)
        self._noted_s = -math.inf
        self._limit = math.inf
        self._armed = True

    def disarm(self) -> None:
        """Wake only on the next rise: the noise may have grown for good, and the median follows."""
        self._armed = False

    def push(self, at_s: float, size_bytes: int) -> bool:
        """Take one non-key packet; -> True when it is time to wake."""
        second = self._second
        value = math.log2(size_bytes + 1)
        second.append((at_s, value))
        self._sum += value
        while second[0][0] <= at_s - 1.0 or len(second) > self.MAX_PER_SECOND:
            self._sum -= second.popleft()[1]
        mean = self._sum / len(second)
        if at_s - self._noted_s >= 1.0:
            self._note(at_s, mean)
        if mean <= self._limit:
            self._armed = True
            return False
        return self._armed and at_s - second[0][0] > 0.5

    def _note(self, at_s: float, mean: float) -> None:
        """Once a second: renew the limit from the seconds before this one."""
        self._noted_s = at_s
        self._sum = sum(value for _, value in self._second)  # running sums gather rounding errors
        if len(self._means) >= self.MIN_BASELINE_S:
            means = sorted(self._means)
            median = means[len(means) // 2]
            spread = median - means[len(means) // 4]  # the median of the lower half's distances
            self._limit = median + self._threshold * max(1.4826 * spread, self.MIN_SCALE)
        self._means.append(mean)


class _Scene:
    """What the picture looks like when nothing happens, on a coarse grid, and how noisy each cell is.

    A cell's noise is the running median of its change from key to key: steps of a fixed ratio, up
    or down, so that something that moves less than half of the time does not count as noise. Along
    the upper and lower edge it is at least the root mean square: there cameras write the time, and a
    digit that changes once a minute must not wake anybody.
    """

    MIN_NOISE = 1.0
    BACKGROUND_RATE = 0.05
    FIRST_KEYS = 20
    CAPTION_ROWS = 4
    CAPTION_RATE = 0.02

    def __init__(self) -> None:
        self.num_keys = 0
        self._previous: Float32 | None = None
        self._background: Float32 | None = None
        self._median: Float32 = np.full(GRID, self.MIN_NOISE, np.float32)
        self._noise: Float32 = np.full(GRID, 2 * self.MIN_NOISE, np.float32)
        self._captions: Float32 = np.zeros((2 * self.CAPTION_ROWS, GRID[1]), np.float32)
        """Mean square change of the outermost rows."""

    def difference(self, small: Float32, reference: Float32) -> float:
        """Mean of the strongest cells' differences, in units of their own noise."""
        return self._strongest(np.abs(small - _in_light_of(reference, small)))

    def score_key(self, small: Float32) -> float:
        """Against the key frame before and against the background, the smaller; then learn it.

        The first finds what came, and what left; the second leaves out what left.
        """
        previous, background = self._previous, self._background
        self._previous = small
        self.num_keys += 1
        if previous is None or background is None:
            self._background = small.copy()
            return 0.0
        change = np.abs(small - _in_light_of(previous, small))
        background = _in_light_of(background, small)
        away = small - background
        score = min(self._strongest(change), self._strongest(np.abs(away)))
        limit = 10 * self._noise
        self._background = background + self.BACKGROUND_RATE * np.clip(away, -limit, limit)
        self._learn_noise(change)
        return score

    def _learn_noise(self, change: Float32) -> None:
        rows = self.CAPTION_ROWS
        step = np.float32(1.1 if self.num_keys <= self.FIRST_KEYS else 1.02)
        self._median = np.clip(np.where(change > self._median, self._median * step, self._median / step), 0.25, 50)
        # 1.4826: from a median of sizes to the standard deviation of a Gaussian
        self._noise = np.maximum(np.float32(1.4826) * self._median, np.float32(self.MIN_NOISE))
        edges = np.concatenate([change[:rows], change[-rows:]])
        self._captions += max(self.CAPTION_RATE, 1.0 / self.num_keys) * (edges**2 - self._captions)
        self._noise[:rows] = np.maximum(self._noise[:rows], np.sqrt(self._captions[:rows]))
        self._noise[-rows:] = np.maximum(self._noise[-rows:], np.sqrt(self._captions[rows:]))

    def _strongest(self, change: Float32) -> float:
        scaled = (change / self._noise).ravel()
        return float(np.partition(scaled, -TOP_CELLS)[-TOP_CELLS:].mean())


def _in_light_of(reference: Float32, small: Float32) -> Float32:
    """``reference`` with the gain and offset that match its quartiles to ``small``'s: a lamp or a
    cloud is no activity."""
    low_r, middle_r, high_r = np.percentile(reference, (25, 50, 75))
    low, middle, high = np.percentile(small, (25, 50, 75))
    gain = np.float32(min(2.0, max(0.5, (high - low + 1.0) / (high_r - low_r + 1.0))))
    matched: Float32 = gain * (reference - np.float32(middle_r)) + np.float32(middle)
    return matched


def area_reduced(luma: UInt8, rows: int, cols: int) -> Float32:
    """(H, W) uint8 -> (rows, cols) float32: means over cells of whole pixels that cover the picture.

    >>> area_reduced(np.arange(8, dtype=np.uint8).reshape(2, 4), 1, 2)
    array([[2.5, 4.5]], dtype=float32)
    """
    height, width = luma.shape
    row_edges = np.arange(rows + 1) * height // rows
    col_edges = np.arange(cols + 1) * width // cols
    sums = np.add.reduceat(luma, row_edges[:-1], axis=0, dtype=np.uint32)
    sums = np.add.reduceat(sums, col_edges[:-1], axis=1)
    # a picture smaller than the grid has empty cells, for which reduceat gives the next pixel
    areas = np.outer(np.maximum(np.diff(row_edges), 1), np.maximum(np.diff(col_edges), 1))
    means: Float32 = (sums / areas).astype(np.float32)
    return means
