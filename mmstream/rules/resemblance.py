"""How much a picture looks like what a text says: cosines in the space of a model that knows both.

A cosine alone says little: one camera's pictures lie nearer to all texts than another's, and every text has an offset
of its own. So a text is measured against a few that say nothing in particular, and what the difference means on one
camera is left to that camera's own past (`rules.tracker`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmstream.types import Float32

NEUTRAL_TEXTS = ("a scene", "an empty scene", "a photo of a place", "a picture of a scene in daylight")
"""Every picture of every camera is like these."""

MAX_MODELS = 2
"""The one in use and the one that is being swapped in."""


class TextVectors:
    """The vectors of the rules' texts, by model version: asked for once, and again when the model changes.

    Nothing is asked here: `missing` tells the caller what to ask, `put` takes the answer. Until it is there `margin`
    knows nothing.
    """

    def __init__(self) -> None:
        self._texts: tuple[str, ...] = ()
        self._by_model: dict[str, dict[str, Float32]] = {}
        self._latest = ""
        self.trouble = ""
        """Why texts cannot be compared with pictures, as a sentence; set by whoever asks for their vectors."""

    def want(self, texts: Sequence[str]) -> None:
        """Texts that margins will be asked for, beside the neutral ones; others are forgotten."""
        self._texts = tuple(dict.fromkeys(texts))
        wanted = {*self._texts, *NEUTRAL_TEXTS}
        for vectors in self._by_model.values():
            for text in vectors.keys() - wanted:
                del vectors[text]

    def missing(self) -> tuple[str, list[str]]:
        """(model version that pictures were last seen by, texts to ask it for); no texts when nothing is missing."""
        known = self._by_model.get(self._latest)
        if not self._texts or known is None:
            return self._latest, []
        return self._latest, [text for text in (*self._texts, *NEUTRAL_TEXTS) if text not in known]

    def expect(self, model: str) -> None:
        """Pictures will be seen by this model; said by `margin`, too."""
        self._latest = model
        if model not in self._by_model:
            self._by_model[model] = {}
            while len(self._by_model) > MAX_MODELS:
                del self._by_model[next(iter(self._by_model))]

    def put(self, model: str, texts: Sequence[str], vectors: Float32) -> None:
        """What ``model`` made of the texts: (N, D), one row per text. Of a model that nobody expects: left out.

        Raises:
            ValueError: another number of rows, or rows that are not finite.
        """
        if len(texts) != len(vectors) or not np.isfinite(vectors).all():
            raise ValueError(f"want {len(texts)} finite text vectors, got {vectors.shape}")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
        if model in self._by_model:
            self._by_model[model].update(zip(texts, unit, strict=True))

    def margin(self, model: str, text: str, vector: Float32) -> float | None:
        """Cosine with ``text`` less the mean cosine with the neutral texts, in [-2, 2]; None while it is not known.

        ``vector`` (D,) is what ``model`` said of a picture. A model not seen before is wanted from now on.
        """
        self.expect(model)
        known = self._by_model[model]
        if text not in known or any(neutral not in known for neutral in NEUTRAL_TEXTS):
            return None
        length = float(np.linalg.norm(vector))
        if length == 0.0 or known[text].shape != vector.shape:
            return None
        neutral = sum(float(known[each] @ vector) for each in NEUTRAL_TEXTS) / len(NEUTRAL_TEXTS)
        return (float(known[text] @ vector) - neutral) / length
