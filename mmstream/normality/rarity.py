"""How rare what was said is for this site: words that are new to it, or that never stand beside each other here."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.normality.grams import Grams
from mmstream.normality.lessons import under
from mmstream.types import Float32
from mmstream.units import lines_of

AGAIN_S = 3.0
"""Windows overlap: a line that the last one had, so long ago at most, is the same line and learned once."""
MAX_RECENT = 512


class Rarity:
    """How strange the strangest line of a window is, by `Grams`. Vectors are lists of units (`mmstream.units`).

    Bounded by what `Grams` may keep, 640 KiB, with 8 KiB beside it; nothing is kept before the first words.
    """

    def __init__(self, *, dim: int, density: bool = False) -> None:
        if dim < 2:
            raise ValueError(f"a channel of words needs vectors of at least two numbers, got {dim = }")
        del density  # the same keywords as `bank.Bank`; words have no distance
        self._grams = Grams()
        self._learned = 0
        self._recent: deque[float] = deque(maxlen=MAX_RECENT)
        self._last: tuple[Float32, float] = np.zeros(0, np.float32), -np.inf

    @property
    def num_rows(self) -> int:
        """Different words known."""
        return self._grams.num_known

    @property
    def num_rescaled(self) -> int:
        """Grows whenever what has been read doubles: the more words are known, the more a new one says."""
        return self._grams.num_doubled

    def __len__(self) -> int:
        """How many windows have been learned."""
        return self._learned

    def score(self, vector: Float32) -> float:
        """0.0 while nothing is known."""
        return max(self._grams.strangeness(lines_of(vector)), default=0.0)

    def learn(self, vector: Float32, at_s: float) -> None:
        """Lines that the window before had too count once; the same window taught again counts again."""
        self._learned += 1
        last, last_s = self._last
        said = {line.tobytes() for line in lines_of(last)} if 0.0 < at_s - last_s <= AGAIN_S else set()
        fresh = [line for line in lines_of(vector) if line.tobytes() not in said]
        self._recent.extend(self._grams.strangeness(fresh))
        self._grams.learn(fresh)
        self._last = np.array(vector, np.float32), at_s

    def self_scores(self) -> Float32:
        """What the newest lines scored before they were learned."""
        return np.array(self._recent, np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        vector, at_s = self._last
        grams = {f"grams.{name}": array for name, array in self._grams.state().items()}
        numbers = np.array([self._learned, at_s], np.float64)
        return {"numbers": numbers, "recent": np.array(self._recent, np.float64), "last": vector.copy(), **grams}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises KeyError, ValueError: the arrays are not those of words."""
        learned, at_s = state["numbers"].tolist()
        self._learned = int(learned)
        self._recent = deque(state["recent"].tolist(), MAX_RECENT)
        self._last = np.array(state["last"], np.float32), at_s
        self._grams.load(under(state, "grams."))
