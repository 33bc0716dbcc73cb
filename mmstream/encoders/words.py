"""What was said or written, as a hashed bag of words and pieces of words. Needs no language, no model."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from mmstream.types import MAX_WINDOW_CHARS, Channel, Embedding, Window

LONGEST_WORD = 30
_WORD = re.compile(r"\w+")
_SCATTER = 0x9E3779B1


class WordsEncoder:
    """Words and their 3- to 5-letter pieces, hashed into signed buckets (Weinberger et al. 2009).

    Pieces carry what words share: endings, compounds, spelling mistakes (Bojanowski et al. 2017). A
    word and all its pieces weigh the same. In scripts without spaces a run of letters is a sentence:
    it is cut into pieces of 1 to 3 signs, and the whole counts for nothing. The vector (dim,) has
    length 1: what is alike is near, for search. How rare it is here is told by `Embedding.text`, what was said in order
    of time, each piece a line.
    """

    channel: ClassVar[Channel] = Channel(name="words", modality="words", normality="rarity", density=False)

    def __init__(self, *, dim: int = 256) -> None:
        if dim < 16:
            raise ValueError(f"WordsEncoder: want at least 16 dimensions, got {dim}")
        self.model = f"hashed-pieces-{dim}@1"
        self.dim = dim

    def encode(self, window: Window) -> Embedding | None:
        """None without words."""
        words = words_of(window.text)
        if not words:
            return None
        vector = np.zeros(self.dim, np.float64)
        for word in words:
            for token, weight in tokens_of(word):
                self._add(vector, token, weight)
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
            text=lines_of(window),
        )

    def _add(self, vector: np.ndarray[tuple[int], np.dtype[np.float64]], token: str, weight: float) -> None:
        # A CRC is linear: without the multiplication similar tokens would fall into related buckets.
        number = zlib.crc32(token.encode()) * _SCATTER & 0xFFFFFFFF
        vector[(number >> 8) % self.dim] += weight if number >> 31 else -weight


def lines_of(window: Window) -> str:
    """A line for each piece of text that something new was said in, cut at `MAX_WINDOW_CHARS`."""
    return "\n".join(dict.fromkeys(" ".join(span.text.split()) for span in window.texts)).strip()[:MAX_WINDOW_CHARS]


def words_of(text: str) -> list[str]:
    """Case, width and ligatures do not matter; signs count only where there are no letters.

    >>> words_of("Fire at GATE-3!"), words_of("🔥 🔥")
    (['fire', 'at', 'gate', '3'], ['🔥', '🔥'])
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(plain) or plain.split()


def tokens_of(word: str) -> Iterator[tuple[str, float]]:
    """Each with its weight. Words of letters get marks where they begin and end.

    >>> [token for token, _ in tokens_of("fire")]
    ['fire', '<fi', 'fir', 'ire', 're>', '<fir', 'fire', 'ire>', '<fire', 'fire>']
    >>> [token for token, _ in tokens_of("火事だ")]
    ['火', '事', 'だ', '火事', '事だ', '火事だ']
    """
    if is_run(word):
        yield from ((piece, 0.5) for piece in pieces_of(word, (1, 2, 3)))
        return
    yield word, 1.0
    pieces = pieces_of(f"<{word}>", (3, 4, 5))
    yield from ((piece, len(pieces) ** -0.5) for piece in pieces)


def is_run(word: str) -> bool:
    """Chinese, Japanese, Korean signs, or too long for a word (Thai, Khmer and others without spaces)."""
    return len(word) > LONGEST_WORD or any(unicodedata.east_asian_width(sign) == "W" for sign in word)


def pieces_of(text: str, lengths: Sequence[int]) -> list[str]:
    return [text[start : start + length] for length in lengths for start in range(len(text) - length + 1)]
