from __future__ import annotations

import numpy as np
import pytest

from mmstream.normality.hours import HourRanked, HourScaled, Ranks

HOUR_S = 3600.0
STEP_S = 4.0
DAY = int(86_400 / STEP_S)


def diurnal(num_days: int, seed: int = 0, swing: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Times and scores of a slow AR(1) with a heavy tail, whose size and level rise in the daytime."""
    random = np.random.default_rng(seed)
    times_s = np.arange(num_days * DAY) * STEP_S
    noise = random.standard_t(5, size=len(times_s))
    slow = np.zeros(len(times_s))
    for i in range(1, len(times_s)):
        slow[i] = 0.8 * slow[i - 1] + 0.6 * noise[i]
    day = 1.0 + swing * np.maximum(0.0, np.sin(2 * np.pi * (times_s / 86_400 - 0.25)))
    return times_s, day * (2.0 + slow)


def ps(ranks: Ranks, times_s: np.ndarray, scores: np.ndarray) -> np.ndarray:
    found = np.ones(len(scores))
    for i, (at_s, score) in enumerate(zip(times_s, scores, strict=True)):
        found[i] = ranks.p(float(score), float(at_s))
        ranks.add(float(score), float(at_s))
    return found


def share_by_day(p: np.ndarray, times_s: np.ndarray, count: int = 60) -> float:
    """Of the rarest moments, how many fall between 6 and 18 o'clock."""
    rarest = np.argsort(p)[:count]
    hours = times_s[rarest] // HOUR_S % 24
    return float(((hours >= 6) & (hours < 18)).mean())


def test_a_busy_day_no_longer_takes_nearly_all_alerts(monkeypatch):
    """The reference measured 95 % of alerts in the daytime without, 47 % with conditioning (one window per second;
    here every fourth, so that what is known of an hour must count half after a fourth of the windows)."""
    monkeypatch.setattr("mmstream.normality.hours.KAPPA", 150.0)
    times_s, scores = diurnal(4)
    last = len(scores) - 2 * DAY
    flat = HourScaled()
    flat_p = ps(flat, np.full(len(times_s), 12 * HOUR_S), scores)[last:]
    hourly = ps(HourScaled(), times_s, scores)[last:]
    assert share_by_day(flat_p, times_s[last:]) > 0.85
    share = share_by_day(hourly, times_s[last:])
    assert 0.3 < share < 0.7


def test_it_is_neutral_while_only_one_hour_is_known():
    times_s, scores = np.arange(600) * 5.0, np.random.default_rng(1).exponential(size=600)
    hourly, flat = HourScaled(), HourScaled()
    assert ps(hourly, times_s, scores).tolist() == ps(flat, np.zeros(600), scores).tolist()


def test_ranks_stay_uniform_when_the_table_changes_at_the_end_of_an_hour():
    """A score means the same just before and just after: all that is kept is seen anew with the new table."""
    times_s, scores = diurnal(2)
    ranks = HourScaled()
    ps(ranks, times_s[:DAY], scores[:DAY])
    worst = 0.0
    for i in range(DAY, len(scores)):
        before = ranks.p(1.0, float(times_s[i]))
        ranks.add(float(scores[i]), float(times_s[i]))
        worst = max(worst, abs(np.log10(before / ranks.p(1.0, float(times_s[i])))))
    assert worst < 0.1
    p = ps(ranks, times_s[:DAY] + 2 * 86_400, diurnal(1, seed=5)[1])
    for level in (0.5, 0.1, 0.02):
        assert (p <= level).mean() == pytest.approx(level, rel=0.35)


def test_a_night_in_which_nothing_moves_is_stretched_but_bounded():
    ranks = HourScaled()
    random = np.random.default_rng(2)
    for day in range(3):
        for hour in (3, 12):
            for i in range(400):
                score = 0.0 if hour == 3 else float(random.exponential())
                ranks.add(score, day * 86_400 + hour * HOUR_S + i * 9.0)
    assert ranks.p(1.0, 3 * HOUR_S) < 0.1 * ranks.p(1.0, 12 * HOUR_S)
    assert np.abs(ranks.state()["hours"]).max() < 2000
    assert ranks.p(0.05, 3 * HOUR_S) > 0.01


def test_a_translated_table_gives_the_same_ranks():
    times_s, scores = diurnal(2)
    ranks = HourScaled()
    ps(ranks, times_s, scores)
    asked = [(float(score), hour * HOUR_S) for hour in range(24) for score in (0.5, 2.0, 6.0)]
    before = [ranks.p(score, at_s) for score, at_s in asked]
    ranks.translate(0.5, 3.0)
    assert [ranks.p(0.5 + 3.0 * score, at_s) for score, at_s in asked] == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize("kind", [HourScaled, HourRanked])
def test_loaded_ranks_go_on_exactly_like_the_first(kind):
    times_s, scores = diurnal(2, seed=3)
    first, second = kind(), kind()
    ps(first, times_s[:40_000], scores[:40_000])
    second.load(first.state())
    assert len(first) == len(second)
    assert (
        ps(second, times_s[40_000:], scores[40_000:]).tolist() == ps(first, times_s[40_000:], scores[40_000:]).tolist()
    )


def test_a_busy_midnight_is_rare_for_its_hour_and_not_for_the_day():
    ranks = HourRanked()
    random = np.random.default_rng(4)
    for second in range(0, 4 * 86_400, 10):
        busy = 6 <= second % 86_400 / HOUR_S < 18
        ranks.add(float(random.normal(10.0 if busy else 1.0)), float(second))
    assert ranks.p(10.0, 12 * HOUR_S) > 0.2
    # what all hours say counts 600 windows beside the 1440 of this hour
    assert ranks.p(10.0, 0.0) < 0.5 * ranks.p(10.0, 12 * HOUR_S)
    assert ranks.p(20.0, 0.0) < 0.002


def test_an_hour_that_was_never_seen_is_judged_by_all_others():
    ranks = HourRanked()
    for second in range(3000):
        ranks.add(float(second % 100), float(second))
    assert ranks.p(50.0, 5 * HOUR_S) == pytest.approx(0.5, abs=0.02)


def test_what_is_inserted_counts_even_in_a_full_set():
    for ranks in (HourScaled(), HourRanked()):
        for second in range(20_000):
            ranks.add(float(second % 7), float(second))
        before = ranks.p(100.0, 20_000.0)
        for _ in range(100):
            ranks.insert(100.0, 20_000.0)
        assert ranks.p(100.0, 20_000.0) > 100 * before


def test_state_is_small():
    ranks = HourRanked()
    scaled = HourScaled()
    for second in range(0, 10 * 86_400, 5):
        ranks.add(float(second % 11), float(second))
        scaled.add(float(second % 11), float(second))
    assert sum(array.nbytes for array in ranks.state().values()) < 200_000
    assert sum(array.nbytes for array in scaled.state().values()) < 64_000


MONDAY_S = 4 * 86_400.0
EVERY_S = 20.0


def week_of(ranks: Ranks, num_days: int, *, seed: int = 0) -> None:
    """Busy (5 +- 1) from Monday to Friday, still (1 +- 1) on Saturdays and Sundays, at 11 and 12 o'clock."""
    random = np.random.default_rng(seed)
    for day in range(num_days):
        for at_s in np.arange(11 * HOUR_S, 13 * HOUR_S, EVERY_S):
            level = 1.0 if day % 7 >= 5 else 5.0
            ranks.add(level + float(random.normal()), MONDAY_S + day * 86_400.0 + float(at_s))


@pytest.mark.parametrize("kind", [HourScaled, HourRanked])
def test_what_is_usual_on_a_monday_is_rare_on_a_sunday_once_two_weeks_are_known(kind, monkeypatch):
    monkeypatch.setattr("mmstream.normality.hours.KAPPA", 60.0)  # a tenth of the windows that a feed has
    young, known = kind(), kind()
    week_of(young, 13)
    week_of(known, 20)
    sunday_s, monday_s = MONDAY_S + 20 * 86_400.0 + 12 * HOUR_S, MONDAY_S + 21 * 86_400.0 + 12 * HOUR_S
    assert young.p(5.0, sunday_s) == pytest.approx(young.p(5.0, monday_s)), "one Sunday says nothing about Sundays"
    assert known.p(5.0, sunday_s) < 0.2 * known.p(5.0, monday_s)
    assert known.p(5.0, monday_s) > 0.2


@pytest.mark.parametrize("kind", [HourScaled, HourRanked])
def test_what_is_known_of_weekends_is_kept_and_a_snapshot_of_24_hours_is_taken(kind):
    ranks, again, older = kind(), kind(), kind()
    week_of(ranks, 20)
    state = ranks.state()
    again.load(state)
    for at_s in (MONDAY_S + 20 * 86_400.0 + 12 * HOUR_S, MONDAY_S + 21 * 86_400.0 + 3 * HOUR_S):
        assert again.p(3.0, at_s) == ranks.p(3.0, at_s)
    week_of(older, 5)
    name = "hours" if "hours" in state else "counts"
    of_before = {key: array for key, array in older.state().items() if key != "calendar"}
    of_before[name] = of_before[name][..., :24]
    taken = kind()
    taken.load(of_before)
    assert taken.p(5.0, MONDAY_S + 12 * HOUR_S) == older.p(5.0, MONDAY_S + 12 * HOUR_S)
