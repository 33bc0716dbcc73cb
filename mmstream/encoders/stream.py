"""What the coder spent: it knows of every picture, also of those that nobody decodes, and whatever the codec."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import numpy as np

from mmstream.types import Channel, Embedding, Window

FILLED = 0.7
"""Share of a window between its first and its last picture, at least."""


class StreamEncoder:
    """The vector (4,), all in powers of two, so that a change of one is a doubling:

    0 bytes a second of pictures that are no key frames; 1 size of the last key frame; 2 pictures a second;
    3 the longest pause between two pictures, in tenths of a second. About 0.03 ms per window.
    """

    channel: ClassVar[Channel] = Channel(
        name="stream", modality="picture", normality="bank", density=False, least=0.25, weight=0.1, aspect="stream"
    )

    def __init__(self) -> None:
        self.model = "spent-bytes@1"
        self.dim = 4
        self._key_bytes = 0

    def encode(self, window: Window) -> Embedding | None:
        """None while no key frame has come, and where pictures do not fill the window: at the ends of a recording
        and after a pause there is nothing to compare."""
        packets = sorted(window.packets)
        self._key_bytes = next((size for _, size, is_key in reversed(packets) if is_key), self._key_bytes)
        times_s = [at_s for at_s, _, _ in packets]
        if (
            len(packets) < 2
            or not self._key_bytes
            or times_s[-1] - times_s[0] < FILLED * (window.end_s - window.start_s)
        ):
            return None
        pause_s = max(after - before for before, after in itertools.pairwise(times_s))
        length_s = max(window.end_s - window.start_s, 1e-3)
        spent = sum(size for _, size, is_key in packets if not is_key)
        numbers = (1.0 + spent / length_s, 1.0 + self._key_bytes, len(packets) / length_s, 1.0 + 10.0 * pause_s)
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=np.array([math.log2(number) for number in numbers], np.float32),
            model=self.model,
        )
