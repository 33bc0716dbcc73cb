"""What comes of a night of learning: how far it is while it goes on, and what it says of every model at its end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mmstream.training.loop import Epoch
from mmstream.training.promote import Ruling, Trial

Phase = Literal["fitting", "trying", "deciding", "done"]
Outcome = Literal["promoted", "refused", "waiting", "failed", "cancelled"]
"""``waiting``: the gate lets it through, and somebody has to promote it."""
Plain = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the night has come."""

    subject: str
    phase: Phase
    number: int
    """From 1: the so-manieth model of ``of``."""
    of: int
    epoch: Epoch | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What came of one model."""

    kind: str
    subject: str
    outcome: Outcome
    sentence: str
    """Why, in words."""
    version: str = ""
    parent: str = ""
    """The version that was in use; empty: none."""
    figures: Mapping[str, float] = field(default_factory=dict)
    epochs: Sequence[Mapping[str, float]] = ()
    """Figures of every epoch, for curves."""
    old: Trial | None = None
    new: Trial | None = None
    ruling: Ruling | None = None

    def to_json(self) -> Plain:
        value = dataclasses.asdict(self)
        value["figures"] = {name: finite(number) for name, number in self.figures.items()}
        value["epochs"] = [{name: finite(number) for name, number in epoch.items()} for epoch in self.epochs]
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class NightReport:
    """What came of all of them."""

    started_s: float
    ended_s: float
    entries: tuple[Entry, ...]
    cancelled: bool = False
    num_bursts: int = 0
    """Of footage to learn from; counted only when it was too little."""

    @property
    def sentence(self) -> str:
        if not self.entries and self.cancelled:
            return "Cancelled before anything was learned."
        if not self.entries:
            return (
                f"There was too little to learn from, {self.num_bursts} bursts of footage; let the site watch for some "
                "hours more."
            )
        told = "; ".join(f"{entry.subject}: {entry.outcome}" for entry in self.entries)
        return ("Cancelled. " if self.cancelled else "") + told + "."

    def to_json(self) -> Plain:
        """Plain values only; what is not finite becomes None."""
        return {
            "started_s": self.started_s,
            "ended_s": self.ended_s,
            "cancelled": self.cancelled,
            "sentence": self.sentence,
            "entries": [entry.to_json() for entry in self.entries],
        }


def finite(number: float) -> float | None:
    """JSON knows no NaN."""
    return float(number) if math.isfinite(number) else None
