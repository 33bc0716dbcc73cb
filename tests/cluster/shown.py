"""An edge encoder that sees what a file tells it to: ordinary moments, or one of two things that are far from them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from mmstream.types import Channel, Embedding, Window

DIM = 8
FAR = 30.0
THINGS = {"ladder": slice(0, 4), "van": slice(4, 8)}
"""What may be shown -> the numbers that say so."""


class ShownEncoder:
    """``file`` holds the name of what is to be seen now; every window that showed it is a line in ``file``.seen."""

    channel: ClassVar[Channel] = Channel(name="shown", modality="picture", normality="bank", density=False)
    model = "shown@1"
    dim = DIM

    def __init__(self, *, file: str) -> None:
        self._file = Path(file)
        self._random = np.random.default_rng(0)

    def encode(self, window: Window) -> Embedding:
        vector = self._random.normal(size=DIM).astype(np.float32)
        thing = self._file.read_text() if self._file.exists() else ""
        if thing:
            vector[THINGS[thing]] += FAR
            with self._file.with_suffix(".seen").open("a") as seen:
                seen.write(f"{thing} {window.start_s} {window.end_s}\n")
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=vector,
            model=self.model,
        )
