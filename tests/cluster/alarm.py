"""An edge encoder whose camera has something to show every ten seconds, each time more than ever before."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmstream.types import Channel, Embedding, Window

EVERY_S, LASTS_S = 10.0, 3.0


class AlarmEncoder:
    channel: ClassVar[Channel] = Channel(
        name="alarm", modality="picture", normality="value", weight=10.0, aspect="alarm"
    )
    model = "alarm@1"
    dim = 1

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._began_s: float | None = None

    def encode(self, window: Window) -> Embedding:
        self._began_s = window.start_s if self._began_s is None else self._began_s
        passed_s = window.start_s - self._began_s
        value = float(self._random.random())
        if passed_s >= 2 * EVERY_S and passed_s % EVERY_S < LASTS_S:
            value += 10.0 + passed_s
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=np.array([value], np.float32),
            model=self.model,
        )
