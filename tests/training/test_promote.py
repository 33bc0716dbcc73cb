"""The gate lets a better model through and refuses a damaged one for the right reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mmstream.alerts.beta import beta_binomial_interval
from mmstream.training.promote import Trial, judge
from mmstream.training.rates import Blocks


def events(found: int, count: int = 40) -> dict[str, bool]:
    return {f"event-{number}": number < found for number in range(count)}


BLOCKS = Blocks(rank=28, num_calibrated=4032, num_new=1152)
LONG = dataclasses.replace(BLOCKS, num_new=4032)
OLD = Trial(
    found=events(30),
    confirmed=events(20, 20),
    absorbed=events(0, 10),
    num_alerts=8,
    blocks=(BLOCKS,),
    window_s=0.004,
    memory_bytes=4_000_000,
)


def failed(**changes: Any) -> list[str]:
    ruling = judge(OLD, dataclasses.replace(OLD, **changes))
    assert ruling.promoted == (not [c for c in ruling.conditions if not c.holds])
    return [condition.name for condition in ruling.conditions if not condition.holds]


def test_the_same_model_again_and_a_better_one_are_promoted() -> None:
    assert failed() == []
    assert failed(found=events(36)) == []


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"found": events(20)}, "recall", "finds 50% of 40 events"),
        ({"num_alerts": 40}, "rate", "raises 40 alerts on normal held-out days"),
        ({"num_alerts": 0, "blocks": (LONG,)}, "rate", "raises 0 alerts"),
        ({"confirmed": events(18, 20)}, "confirmed", "18 of the 20 alerts that operators have confirmed"),
        ({"absorbed": events(3, 10)}, "absorbed", "3 of the 10 false alarms"),
        ({"window_s": 0.0050}, "time", "0.005 s a window"),
        ({"memory_bytes": 4_500_000}, "memory", "4.5e+06 bytes"),
    ],
)
def test_each_damage_is_refused_for_its_own_reason_in_words(changes: dict[str, Any], reason: str, words: str) -> None:
    assert failed(**changes) == [reason]
    assert words in judge(OLD, dataclasses.replace(OLD, **changes)).reason


def test_at_the_edge_of_what_is_allowed_it_passes() -> None:
    assert failed(confirmed=events(19, 20), absorbed=events(2, 10), window_s=0.0044, memory_bytes=4_400_000) == []


def test_a_gain_on_average_that_may_as_well_be_a_loss_is_not_trusted() -> None:
    """20 events are found that were not, 20 are lost: as many draws show a loss as a gain."""
    old = dataclasses.replace(OLD, found=events(20))
    new = dataclasses.replace(OLD, found={name: not found for name, found in events(20).items()})
    assert not judge(old, new).promoted


def test_without_any_event_nothing_is_promoted() -> None:
    empty = dataclasses.replace(OLD, found={})
    assert "no event to find" in judge(empty, empty).reason


def test_without_verdicts_only_the_rest_counts() -> None:
    quiet = dataclasses.replace(OLD, confirmed={}, absorbed={})
    assert judge(quiet, quiet).promoted


def test_trials_on_different_days_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same days"):
        judge(OLD, dataclasses.replace(OLD, found=events(3, 4)))


@given(count=st.integers(1, 400), a=st.floats(0.5, 40), b=st.floats(0.5, 4000), level=st.sampled_from([0.9, 0.99]))
def test_the_interval_holds_what_it_promises(count: int, a: float, b: float, level: float) -> None:
    least, most = beta_binomial_interval(count, a, b, level=level)
    law = stats.betabinom(count, a, b)
    tail = (1 - level) / 2
    assert law.cdf(least - 1) <= tail + 1e-9
    assert law.sf(most) <= tail + 1e-9
    assert law.cdf(least) > tail - 1e-9
    assert most == 0 or law.sf(most - 1) > tail - 1e-9


def test_a_calibrated_model_is_refused_for_its_rate_once_in_a_hundred_trials() -> None:
    """Thresholds from 4032 exchangeable blocks, 1152 held out: the interval is exact, so refusals are rare."""
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(400):
        scores = random.random(4032 + 1152)
        threshold = np.sort(scores[:4032])[-28]
        num_alerts = int((scores[4032:] >= threshold).sum())
        refused += "rate" in failed(num_alerts=num_alerts)
    assert refused <= stats.binom.ppf(0.9995, 400, 0.01)
