"""What is gone through again beside what alerted in earnest, over made days."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from mmstream.alerts.calibrate import Calibrator
from mmstream.config import BudgetSection
from mmstream.replay.compare import compare
from mmstream.replay.engine import Replayed, known_before, replay
from mmstream.replay.refuse import fused
from mmstream.replay.strips import Past, past_of
from mmstream.storage.strip_rows import strip_rows, unpacked_rows
from mmstream.types import Alert, Float64
from tests.replay.days import BEGIN_S, Days, ordinary
from tests.services.running import make_alert
from tests.storage.moments import make_moment

BUDGET = BudgetSection(block_s=30.0, warmup_s=120.0)
PER_DAY = 60.0
"""Of blocks of half a minute: exact after 48 of them."""
SECONDS = 4 * 3600


def past_of_days(days: Days) -> Past:
    """Through the rows of the archive, as a replay gets it."""
    table = strip_rows([make_moment(strips=tuple(days.strips))])
    assert table is not None
    return past_of(days.feed_id, unpacked_rows(days.feed_id, table))


def gone_through(
    past: Past,
    *,
    alerts_per_day: float = PER_DAY,
    value: Float64 | None = None,
    since_s: float = BEGIN_S,
    confirmed: Sequence[Alert] = (),
) -> list[Replayed]:
    scores = past.value if value is None else value
    return replay(
        past,
        value=scores,
        surprise=past.surprise if value is None else value,
        since_s=since_s,
        until_s=np.inf,
        alerts_per_day=alerts_per_day,
        budget=BUDGET,
        known=known_before(past, scores, until_s=since_s, budget=BUDGET),
        confirmed=confirmed,
    )


@pytest.fixture(scope="module")
def lived() -> tuple[Days, Past]:
    days = Days(BUDGET, PER_DAY)
    days.live(ordinary(SECONDS))
    days.end()
    return days, past_of_days(days)


def spans(alerts: Sequence[object]) -> list[tuple[float, float, str]]:
    return [(round(a.start_s, 2), round(a.end_s, 2), a.severity) for a in alerts]  # type: ignore[attr-defined]


def test_with_nothing_changed_the_same_alerts_come_at_the_same_seconds(lived: tuple[Days, Past]) -> None:
    days, past = lived
    assert len(days.told) >= 5
    then = [alert for alert in gone_through(past) if not alert.suppressed]
    assert spans(then) == spans(sorted(days.told, key=lambda alert: alert.start_s))


def test_a_past_is_a_small_part_of_the_windows(lived: tuple[Days, Past]) -> None:
    days, past = lived
    assert len(past) < 0.25 * days.num_windows


def test_what_another_budget_gives_is_what_it_would_have_given_in_earnest(lived: tuple[Days, Past]) -> None:
    _, past = lived
    for alerts_per_day in (20.0, 200.0):
        other = Days(BUDGET, alerts_per_day)
        other.live(ordinary(SECONDS))
        other.end()
        then = [alert for alert in gone_through(past, alerts_per_day=alerts_per_day) if not alert.suppressed]
        found = compare(other.told, then)
        assert len(found.appeared) + len(found.vanished) <= 0.15 * len(other.told)
        assert len(found.kept) >= 4


def test_more_weight_for_the_sound_brings_what_was_only_heard(lived: tuple[Days, Past]) -> None:
    days, past = lived
    weights = {"picture": 0.01, "sound": 1.0}
    then = gone_through(past, value=fused("harmonic", past.heights, past.aspects, weights))
    sound = [name for name, _, _ in past.aspects].index("sound")
    appeared = compare(days.told, then).appeared
    assert appeared
    assert all(np.nanargmax(past.heights[alert.window]) == sound for alert in appeared)


def test_a_later_beginning_knows_what_came_before_it(lived: tuple[Days, Past]) -> None:
    days, past = lived
    half_s = BEGIN_S + SECONDS / 2
    then = gone_through(past, since_s=half_s)
    assert all(not alert.provisional for alert in then)
    late = [alert for alert in days.told if alert.start_s >= half_s]
    found = compare(late, [alert for alert in then if not alert.suppressed])
    assert len(found.kept) >= len(late) - 1
    assert len(found.appeared) <= 1


def test_blocks_that_a_calibrator_kept_stand_in_for_what_the_archive_has_not(lived: tuple[Days, Past]) -> None:
    days, past = lived
    half_s = BEGIN_S + SECONDS / 2
    cut = int(np.searchsorted(past.blocks_s, half_s))
    late = past.first[cut]
    of_late = dataclasses.replace(
        past,
        blocks_s=past.blocks_s[cut:],
        covered_s=past.covered_s[cut:],
        first=past.first[cut:] - late,
        start_s=past.start_s[late:],
        end_s=past.end_s[late:],
        surprise=past.surprise[late:],
        value=past.value[late:],
        heights=past.heights[late:],
    )
    kept = days.calibrator.state()["blocks"]
    ours = known_before(past, past.value, until_s=half_s, budget=BUDGET)
    theirs = known_before(of_late, of_late.value, until_s=half_s, budget=BUDGET, older=kept)
    assert ours.rows["number"].tolist() == theirs.rows["number"].tolist()
    np.testing.assert_allclose(ours.rows["maximum"], theirs.rows["maximum"], atol=1e-4)
    assert np.abs(ours.rows["cells"].astype(int) - theirs.rows["cells"])[theirs.rows["cells"] >= 4097].max() <= 1


def test_a_block_that_was_hardly_watched_says_nothing(lived: tuple[Days, Past]) -> None:
    _, past = lived
    dim = dataclasses.replace(past, covered_s=past.covered_s * 0.5)
    assert not len(known_before(dim, dim.value, until_s=np.inf, budget=BUDGET).rows)
    assert gone_through(dim) == []


def test_what_an_operator_called_true_does_not_lift_the_threshold(lived: tuple[Days, Past]) -> None:
    days, past = lived
    half_s = BEGIN_S + SECONDS / 2
    early = [make_alert(start_s=a.start_s, end_s=a.end_s) for a in days.told if a.end_s < half_s]
    late = [
        [alert for alert in gone_through(past, confirmed=confirmed) if alert.start_s >= half_s]
        for confirmed in ((), early)
    ]
    assert min(alert.surprise for alert in late[1]) < min(alert.surprise for alert in late[0])


def test_aspects_that_came_later_are_missing_before() -> None:
    days = Days(BUDGET, PER_DAY)
    rows = ordinary(300)
    days.live([[row[0], row[1], float("nan")] for row in rows[:150]] + rows[150:])
    days.end()
    past = past_of_days(days)
    assert [name for name, _, _ in past.aspects] == ["motion", "look", "sound"]
    assert np.all(np.diff(past.end_s) > 0)
    assert np.isnan(past.heights[past.end_s < BEGIN_S + 150, 2]).all()
    assert not np.isnan(past.heights[past.end_s > BEGIN_S + 180, 2]).any()


def test_the_work_grows_with_the_windows_and_not_faster(
    lived: tuple[Days, Past], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, past = lived
    observed = []
    observe = Calibrator.observe
    monkeypatch.setattr(Calibrator, "observe", lambda *args, **named: (observed.append(1), observe(*args, **named)))
    counts = []
    for until_s in (BEGIN_S + SECONDS / 2, np.inf):
        observed.clear()
        blocks = int(np.searchsorted(past.blocks_s, until_s))
        replay(
            past,
            value=past.value,
            surprise=past.surprise,
            since_s=BEGIN_S,
            until_s=until_s,
            alerts_per_day=PER_DAY,
            budget=BUDGET,
            known=known_before(past, past.value, until_s=BEGIN_S, budget=BUDGET),
        )
        counts.append((len(observed), blocks + int(past.first[blocks])))
    assert [seen for seen, _ in counts] == [steps for _, steps in counts]
