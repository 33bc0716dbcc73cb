"""Whether a newly trained model may replace the one in use.

Both are replayed on days that neither was trained on, each with its own banks and thresholds learned from the days
before. Every condition is answered in words; one that fails is enough to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmstream.training.rates import Blocks, interval

RECALL_LOSS = 0.01
"""A recall lower by so much is not a loss."""
DOUBT = 0.05
"""Refused when a greater loss is this probable, events drawn again."""
RATE_LEVEL = 0.99
CONFIRMED_FOUND = 0.95
ABSORBED_RAISED = 0.20
COST = 1.10
"""Time and memory may grow by a tenth."""
NUM_DRAWS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one model did on the held-out days, at the site's budget."""

    found: Mapping[str, bool]
    """Event (injected, or confirmed on those days) -> whether an alert opened for it."""
    confirmed: Mapping[str, bool]
    """Alert that an operator called true -> whether it was raised again."""
    absorbed: Mapping[str, bool]
    """Alert that an operator called false -> whether it was raised again."""
    num_alerts: int
    """Blocks of the held-out normal days with an alert."""
    blocks: tuple[Blocks, ...]
    """Of each camera: what its threshold comes from, and the blocks of those days."""
    window_s: float
    """Computing one window takes so many seconds, 95th percentile."""
    memory_bytes: int
    normal_above: tuple[float, ...] = ()
    """How far each normal held-out burst was above its camera's threshold, in surprise; for figures, not judged by."""
    events_above: tuple[float, ...] = ()
    """The same of every event, in the order of ``found``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One of the gate's conditions, and what it found."""

    name: str
    holds: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The gate's answer."""

    conditions: tuple[Condition, ...]

    @property
    def promoted(self) -> bool:
        return all(condition.holds for condition in self.conditions)

    @property
    def reason(self) -> str:
        """Why it was refused, or what it has shown: one sentence per condition that says so."""
        failed = [condition.sentence for condition in self.conditions if not condition.holds]
        return " ".join(failed or [condition.sentence for condition in self.conditions])


def judge(old: Trial, new: Trial, *, seed: int = 0) -> Ruling:
    """May ``new`` replace ``old``? Both were given the same events and verdicts.

    Raises:
        ValueError: they were not, so that nothing can be compared.
    """
    for kind in ("found", "confirmed", "absorbed"):
        if getattr(old, kind).keys() != getattr(new, kind).keys():
            raise ValueError(f"the two trials saw different cases in {kind!r}: replay both on the same days")
    return Ruling(
        conditions=(
            _recall(old, new, np.random.default_rng(seed)),
            _rate(new),
            _confirmed(new),
            _absorbed(new),
            _cost("time", "s a window", old.window_s, new.window_s),
            _cost("memory", "bytes", old.memory_bytes, new.memory_bytes),
        )
    )


def _recall(old: Trial, new: Trial, random: np.random.Generator) -> Condition:
    """Paired bootstrap over events (Efron and Tibshirani 1993, 16.4): the same draw of events for both."""
    if not old.found:
        return Condition(name="recall", holds=False, sentence="There was no event to find: inject some, or wait.")
    gains = np.array([float(new.found[event]) - float(old.found[event]) for event in old.found])
    draws = random.integers(0, gains.size, (NUM_DRAWS, gains.size))
    doubt = float(np.mean(gains[draws].mean(axis=1) < -RECALL_LOSS))
    before, after = np.mean(list(old.found.values())), np.mean(list(new.found.values()))
    return Condition(
        name="recall",
        holds=bool(gains.mean() >= -RECALL_LOSS and doubt <= DOUBT),
        sentence=f"It finds {after:.0%} of {gains.size} events, the model in use {before:.0%} "
        f"(a loss of more than {RECALL_LOSS:.0%} has a probability of {doubt:.0%}).",
    )


def _rate(new: Trial) -> Condition:
    """Exact, for blocks that can be exchanged (`training.rates`)."""
    least, most = interval(new.blocks, level=RATE_LEVEL)
    return Condition(
        name="rate",
        holds=least <= new.num_alerts <= most,
        sentence=f"It raises {new.num_alerts} alerts on normal held-out days; the budget expects {least} to {most}.",
    )


def _confirmed(new: Trial) -> Condition:
    num_found, count = sum(new.confirmed.values()), len(new.confirmed)
    return Condition(
        name="confirmed",
        holds=num_found >= CONFIRMED_FOUND * count,
        sentence=f"It finds {num_found} of the {count} alerts that operators have confirmed; "
        f"{CONFIRMED_FOUND:.0%} are asked for.",
    )


def _absorbed(new: Trial) -> Condition:
    num_raised, count = sum(new.absorbed.values()), len(new.absorbed)
    return Condition(
        name="absorbed",
        holds=num_raised <= ABSORBED_RAISED * count,
        sentence=f"It raises {num_raised} of the {count} false alarms again that operators have reported; "
        f"at most {ABSORBED_RAISED:.0%} may be.",
    )


def _cost(name: str, unit: str, before: float, after: float) -> Condition:
    return Condition(
        name=name,
        holds=after <= COST * before,
        sentence=f"It takes {after:.3g} {unit}, the model in use {before:.3g}; at most {COST:.0%} of that is allowed.",
    )
