"""A feed whose pictures look more or less like a rule's text, without any model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmstream.config import BudgetSection, RuleConfig
from mmstream.rules.resemblance import NEUTRAL_TEXTS, TextVectors
from mmstream.rules.watch import RuleWatch
from mmstream.types import Alert, AlignedWindow, Embedding, Float32

DIM = 8
MODEL = "clip@1"
START_S = 1_700_006_400.0  # midnight
BUDGET = BudgetSection(warmup_s=600.0)
FIRE = RuleConfig(name="fire", looks_like="smoke or fire", alerts_per_day=24)
"""Its budget is exact after an hour, so that tests need not live through days."""
HELP = RuleConfig(name="help", says=("help me", "救命"), alerts_per_day=2)
TEXTS = ("smoke or fire", "a person lying on the ground")


def text_vectors(model: str = MODEL, texts: Sequence[str] = TEXTS) -> TextVectors:
    """Text i is the i-th axis, all neutral texts are the last one."""
    vectors = TextVectors()
    vectors.want(texts)
    vectors.expect(model)
    tell(vectors, model)
    return vectors


def tell(vectors: TextVectors, model: str = MODEL) -> None:
    asked = vectors.missing()[1]
    rows = [np.eye(DIM, dtype=np.float32)[DIM - 1 if text in NEUTRAL_TEXTS else TEXTS.index(text)] for text in asked]
    vectors.put(model, asked, np.stack(rows))


def picture(*likeness: float) -> Float32:
    """How much it is like each of `TEXTS`."""
    vector = np.zeros(DIM, np.float32)
    vector[DIM - 2] = 1.0
    vector[: len(likeness)] = likeness
    return vector


class Feed:
    """Windows of ``step_s`` one after another into a `RuleWatch`."""

    def __init__(self, watch: RuleWatch, *, seed: int = 0, step_s: float = 30.0, model: str = MODEL) -> None:
        self.watch, self.model, self.now_s = watch, model, START_S
        self._step_s = step_s
        self._rng = np.random.default_rng(seed)
        self._level = 0.0

    def one(self, vector: Float32 | None, text: str = "", *, history: bool = False) -> list[Alert]:
        start_s, self.now_s = self.now_s, self.now_s + self._step_s
        at: dict[str, Any] = {"feed_id": "gate-3", "start_s": start_s, "end_s": self.now_s}
        seen = () if vector is None else (Embedding(**at, channel="vision", vector=vector, model=self.model),)
        window = AlignedWindow(**at, embeddings=seen, history=history)
        return self.watch.push(window, text)

    def ordinary(self, duration_s: float, *, history: bool = False) -> list[Alert]:
        """Likeness to everything wanders a little, as autocorrelated noise does."""
        alerts: list[Alert] = []
        for _ in range(round(duration_s / self._step_s)):
            self._level = 0.8 * self._level + 0.6 * self._rng.normal()
            alerts += self.one(picture(0.02 * self._level, 0.02 * self._rng.normal()), history=history)
        return alerts

    def learned(self) -> Feed:
        """Three hours of ordinary life, and long enough of nothing for whatever that raised to be over."""
        self.ordinary(3 * 3600.0)
        self.rest(400)
        return self

    def rest(self, duration_s: float) -> list[Alert]:
        return [alert for _ in range(round(duration_s / self._step_s)) for alert in self.one(picture(0.0))]

    def burning(self, duration_s: float) -> list[Alert]:
        return [alert for _ in range(round(duration_s / self._step_s)) for alert in self.one(picture(0.6))]


def watch_of(*rules: RuleConfig, vectors: TextVectors | None = None, budget: BudgetSection = BUDGET) -> RuleWatch:
    watch = RuleWatch("gate-3", budget=budget, vectors=vectors or text_vectors())
    watch.follow(rules)
    return watch
