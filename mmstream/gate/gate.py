"""How much of a feed to decode: while nothing happens, one key frame in two seconds or so.

Asleep, only key packets pass; the others wait in a ring. Two cheap signs wake a feed: a key frame
that differs from the one before *and* from the slow background by more than its own noise, and
packets that have grown (the encoder had more to tell). Key frames carry the recall where they come
every 1-2 s; packet sizes shorten the delay, and say nothing under constant bit rate.
"""

from __future__ import annotations

import math
from collections import deque

from mmstream.downscale import area_reduced
from mmstream.gate.packet_sizes import PacketSizes
from mmstream.gate.ring import GopRing
from mmstream.gate.scene import GRID, Scene
from mmstream.types import Float32, Frame, Packet

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
    ring: it begins with a key packet that may have been decoded before, and wants a fresh decoder. While
    not ``awake``, only key packets pass, and nothing is built on them.
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
        self._ring = GopRing(max_ring_s, max_ring_bytes)
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
        self._sizes = PacketSizes(self._packet_threshold)
        self._forget_picture(())

    def _forget_picture(self, shape: tuple[int, ...]) -> None:
        self._luma_shape = shape
        self._scene = Scene()
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
            self._sizes.begin_group()
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
