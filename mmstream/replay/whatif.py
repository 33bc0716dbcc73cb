"""The question of a replay, checked where it comes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmstream.config import RuleConfig
from mmstream.replay.refuse import RULES
from mmstream.types import MODALITIES

MAX_DAYS = 31.0
DEFAULT_DAYS = 7.0
DAY_S = 86_400.0
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0
MAX_RULES = 16


class Changes(BaseModel):
    """What to change; what is left out stays as it is. Nothing at all: the days as they were, for comparing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alerts_per_day: float | None = Field(None, gt=0, le=10_000, description="Budget of every feed asked about")
    budgets: dict[str, float] = Field(default_factory=dict, description="Feed -> budget of its own")
    weights: dict[str, float] = Field(default_factory=dict, description="Modality -> how much it counts")
    fusion: str | None = Field(None, description=f"Another fusion rule: {', '.join(RULES)}")
    rules: tuple[RuleConfig, ...] = Field((), max_length=MAX_RULES, description="Rules of phrases to try")
    without_rules: tuple[str, ...] = Field((), max_length=MAX_RULES, description="Rules to take away")
    feeds: tuple[str, ...] = Field((), max_length=10_000, description="Of these feeds only")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fusion is not None and self.fusion not in RULES:
            raise ValueError(f"there is no fusion rule {self.fusion!r} to replay; choose one of {', '.join(RULES)}")
        unknown = sorted(set(self.weights) - set(MODALITIES))
        if unknown:
            raise ValueError(f"there is no modality {unknown[0]!r}; choose from {', '.join(MODALITIES)}")
        for name, weight in self.weights.items():
            if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
                raise ValueError(f"the weight of {name} must be from {LEAST_WEIGHT} to {MOST_WEIGHT:g}, got {weight}")
        for feed_id, budget in self.budgets.items():
            if not 0 < budget <= 10_000:
                raise ValueError(f"the budget of {feed_id} must be above 0 and at most 10000 a day, got {budget}")
        if any(rule.looks_like.strip() or not rule.says for rule in self.rules):
            raise ValueError(
                "replay tries rules of phrases (says); what a picture looks like is judged window by window"
            )
        return self

    def budget_of(self, feed_id: str, now: float) -> float:
        """Alerts a day of a feed that has ``now``."""
        return self.budgets.get(feed_id, self.alerts_per_day if self.alerts_per_day is not None else now)

    def fusion_of(self, rule: str, weights: Mapping[str, float]) -> tuple[str, dict[str, float]]:
        """Rule and weights, of a site that has these."""
        return self.fusion or rule, {**weights, **self.weights}


class WhatIf(Changes):
    """The same, and the days it is about."""

    since_s: float
    until_s: float

    @model_validator(mode="after")
    def _check_days(self) -> Self:
        if not 0 < self.until_s - self.since_s <= MAX_DAYS * DAY_S:
            raise ValueError(f"since must be before until, by at most {MAX_DAYS:g} days")
        return self
