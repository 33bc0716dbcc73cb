"""What a feed's sensors say, as one vector of fixed size whatever they are called."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mmstream.types import Channel, Embedding, Reading, Window

NUM_SLOTS = 16
PER_SENSOR = 3
MAX_SIZE = 1e12
"""Readings are kept inside plus and minus this: float32 must be able to square them."""


class ReadingsEncoder:
    """Mean, last value and change of every sensor; a sensor that is silent keeps its last value.

    The vector (48,): 16 slots of (mean in the window, last, last minus the value before the
    window, or minus the first one ever). A sensor's slot comes from its name's hash; if another
    sensor has it, the next free one, and it stays. Of several new sensors the first by name chooses
    first. From the 17th sensor on, slots are shared, and what is in one slot counts as one sensor.
    Slots without a sensor are 0.
    """

    channel: ClassVar[Channel] = Channel(name="readings", modality="sensor", normality="bank")

    def __init__(self) -> None:
        self.model = "slots@1"
        self.dim = NUM_SLOTS * PER_SENSOR
        self._slots: dict[str, int] = {}
        self._known: dict[int, list[tuple[float, float]]] = {}
        """Slot -> (start_s, value) of the last reading before the newest window, and of those in it."""

    def encode(self, window: Window) -> Embedding | None:
        """None without a (finite) reading."""
        readings = [reading for reading in window.readings if math.isfinite(reading.value)]
        if not readings:
            return None
        for sensor in sorted({reading.sensor for reading in readings}):
            self._remember(self._slot_of(sensor), [r for r in readings if r.sensor == sensor])
        vector = np.zeros((NUM_SLOTS, PER_SENSOR), np.float32)
        for slot, known in self._known.items():
            vector[slot] = _describe(known, window.start_s)
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=vector.reshape(-1),
            model=self.model,
        )

    def _slot_of(self, sensor: str) -> int:
        if sensor not in self._slots:
            wanted = zlib.crc32(sensor.encode()) % NUM_SLOTS
            if len(self._slots) >= NUM_SLOTS:
                return wanted
            taken = set(self._slots.values())
            order = ((wanted + step) % NUM_SLOTS for step in range(NUM_SLOTS))
            self._slots[sensor] = next(slot for slot in order if slot not in taken)
        return self._slots[sensor]

    def _remember(self, slot: int, readings: Sequence[Reading]) -> None:
        """Windows overlap, so only what is newer than before; before it, the one value to compare with."""
        known = self._known.setdefault(slot, [])
        first_s = readings[0].start_s
        earlier = [entry for entry in known if entry[0] < first_s]
        now = [(reading.start_s, min(MAX_SIZE, max(-MAX_SIZE, reading.value))) for reading in readings]
        self._known[slot] = earlier[-1:] + now


def _describe(known: Sequence[tuple[float, float]], start_s: float) -> tuple[float, float, float]:
    inside = [value for at_s, value in known if at_s >= start_s]
    before = [value for at_s, value in known if at_s < start_s]
    last = known[-1][1]
    mean = sum(inside) / len(inside) if inside else last
    change = last - (before[-1] if before else known[0][1])
    return mean, last, change if inside else 0.0
