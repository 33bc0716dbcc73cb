"""What was said or written, as a hashed bag of words and pieces of words. Needs no language, no model."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from mmstream.types import Channel, Embedding, Window

MAX_CHARS = 4000
"""Of one window: a flood of text must not stop the pictures."""
_WORD = re.compile(r"\w+")
_SCATTER = 0x9E3779B1


class WordsEncoder:
    """Words and their 3- to 5-letter pieces, hashed into signed buckets (Weinberger et al. 2009).

    Pieces carry what words share: endings, compounds, spelling mistakes, and scripts without spaces,
    where a run of letters is cut every way (Bojanowski et al. 2017). A word and all its pieces weigh
    the same. The vector (dim,) has length 1; `Embedding.text` is what was said, in order of time.
    """

    channel: ClassVar[Channel] = Channel(name="words", modality="words", normality="bank", density=False)

    def __init__(self, *, dim: int = 256) -> None:
        if dim < 16:
            raise ValueError(f"WordsEncoder: want at least 16 dimensions, got {dim}")
        self.model = f"hashed-pieces-{dim}@1"
        self.dim = dim

    def encode(self, window: Window) -> Embedding | None:
        """None without words."""
        text = " ".join(span.text.strip() for span in window.texts).strip()[:MAX_CHARS]
        words = words_of(text)
        if not words:
            return None
        vector = np.zeros(self.dim, np.float64)
        for word in words:
            self._add(vector, word, 1.0)
            pieces = list(pieces_of(word))
            for piece in pieces:
                self._add(vector, piece, len(pieces) ** -0.5)
        length = float(np.linalg.norm(vector))
        if length == 0.0:  # every bucket cancelled out: possible, if hardly
            return None
        return Embedding(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            channel=self.channel.name,
            vector=(vector / length).astype(np.float32),
            model=self.model,
            text=text,
        )

    def _add(self, vector: np.ndarray[tuple[int], np.dtype[np.float64]], token: str, weight: float) -> None:
        # A CRC is linear: without the multiplication similar tokens would fall into related buckets.
        number = zlib.crc32(token.encode()) * _SCATTER & 0xFFFFFFFF
        vector[(number >> 8) % self.dim] += weight if number >> 31 else -weight


def words_of(text: str) -> list[str]:
    """Case, width and ligatures do not matter; signs count only where there are no letters.

    >>> words_of("Fire at GATE-3!"), words_of("🔥 🔥")
    (['fire', 'at', 'gate', '3'], ['🔥', '🔥'])
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(plain) or plain.split()


def pieces_of(word: str) -> Iterator[str]:
    """Every run of 3 to 5 letters, with marks where the word begins and ends.

    >>> list(pieces_of("火事"))
    ['<火事', '火事>', '<火事>']
    """
    marked = f"<{word}>"
    for length in (3, 4, 5):
        for start in range(len(marked) - length + 1):
            yield marked[start : start + length]
