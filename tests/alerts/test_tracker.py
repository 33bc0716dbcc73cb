from __future__ import annotations

import json

import pytest

from mmstream.alerts.calibrate import Calibrator
from mmstream.alerts.tracker import AlertTracker, Decision
from mmstream.types import Alert, Evidence, Score

BLOCK_S = 60.0
START_S = 120_000.0


def make_tracker(alerts_per_day: float = 100.0, block_s: float = BLOCK_S) -> AlertTracker:
    """Block maxima between 2 and 3, budget 100 a day: alert above 2.93, over below 2.65, suspect from 2.5."""
    calibrator = Calibrator(alerts_per_day=alerts_per_day, block_s=block_s, history_days=14.0, warmup_s=0.0)
    for block in range(2000):
        calibrator.observe(
            2.0 + (block * 617 % 2000) / 2000, start_s=block * block_s, end_s=(block + 1) * block_s - 1e-3
        )
    return AlertTracker("gate-3", calibrator=calibrator)


def make_score(end_s: float, surprise: float, **changes: object) -> Score:
    values = {"shares": {"sound": 0.9, "picture": 0.1}, "text": ""} | changes
    evidence = (Evidence(channel="sound", modality="sound", p=1e-4, model="sound@1"),)
    return Score(feed_id="gate-3", start_s=end_s - 2, end_s=end_s, surprise=surprise, evidence=evidence, **values)  # type: ignore[arg-type]


def run(tracker: AlertTracker, surprises: list[float], *, start_s: float = START_S) -> list[Decision]:
    return [tracker.push(make_score(start_s + i, surprise)) for i, surprise in enumerate(surprises)]


def told(decisions: list[Decision]) -> list[Alert]:
    return [alert for decision in decisions for alert in decision.alerts]


def test_an_event_opens_one_alert_and_closes_it_after_the_quiet_time():
    decisions = run(make_tracker(), [1.0] * 5 + [5.0] * 6 + [1.0] * 30)
    opened, closed = told(decisions)
    assert (opened.state, closed.state) == ("open", "closed")
    assert opened.alert_id == closed.alert_id == f"gate-3:{round((START_S + 5 - 2) * 1000)}"
    assert decisions[5].opened
    # the debounce keeps the level one window longer
    assert closed.end_s == START_S + 11
    assert [i for i, decision in enumerate(decisions) if decision.discard_from_s is not None] == [26]
    assert decisions[26].discard_from_s == closed.start_s


def test_one_window_alone_is_not_enough_unless_it_is_ten_times_rarer():
    assert not any(decision.opened for decision in run(make_tracker(), [1.0, 3.9, 1.0, 1.0, 1.0, 1.0, 1.0]))
    assert len(told(run(make_tracker(), [1.0, 4.1, 1.0]))) == 1


def test_an_alert_starts_with_the_first_suspect_window():
    [opened, *_] = told(run(make_tracker(), [1.0, 2.7, 2.7, 5.0, 5.0]))
    assert opened.start_s == START_S + 1 - 2


def test_a_suspicion_holds_learning_back_until_it_is_over():
    decisions = run(make_tracker(), [1.0, 2.7, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert [decision.hold for decision in decisions] == [False, True, True, True, True, False, False, False]
    assert told(decisions) == []


def test_an_episode_that_passed_only_the_notice_level_is_kept_once_at_its_end():
    decisions = run(make_tracker(), [1.0, 2.7, 2.7, 2.7, 1.0, 1.0, 1.0, 1.0, 1.0] + [2.7] * 5 + [1.0] * 90 + [2.7] * 3)
    [notice] = told(decisions)
    assert decisions[8].alerts == (notice,)
    assert (notice.severity, notice.state, notice.alerts_per_day, notice.number_today) == ("notice", "closed", 0.0, 0)
    assert (notice.start_s, notice.end_s) == (START_S - 1, START_S + 4)
    assert notice.sentence
    assert not any(decision.opened or decision.discard_from_s is not None for decision in decisions)


def test_the_end_of_the_feed_keeps_a_notice_too():
    tracker = make_tracker()
    run(tracker, [2.7] * 3)
    [notice] = tracker.flush().alerts
    assert notice.severity == "notice"
    assert tracker.flush().alerts == ()


def test_a_gap_ends_a_suspicion_and_what_follows_is_its_own_alert():
    tracker = make_tracker()
    run(tracker, [2.7] * 3)
    notice, opened = told(run(tracker, [5.0], start_s=START_S + 3600))
    assert (notice.severity, opened.severity) == ("notice", "critical")
    assert opened.start_s == START_S + 3600 - 2


def test_there_are_at_most_ten_times_as_many_notices_as_alerts_a_day():
    tracker = make_tracker(alerts_per_day=2.0)
    day = ([2.99] * 3 + [0.0] * 117) * 720
    kept = told(run(tracker, day))
    assert all(alert.severity == "notice" for alert in kept)
    assert 20 <= len(kept) <= 24


def test_a_suspicion_that_goes_on_is_taken_as_normal():
    decisions = run(make_tracker(), [2.7] * 200)
    assert {alert.severity for alert in told(decisions)} == {"notice"}
    assert not all(decision.hold for decision in decisions)


def test_a_clearly_higher_peak_is_told_again():
    alerts = told(run(make_tracker(), [4.0, 4.0, 4.2, 4.3, 6.0, 6.1, 4.0]))
    assert [round(alert.surprise, 1) for alert in alerts] == [4.0, 6.0]
    assert alerts[1].peak_s == START_S + 4 - 1


def test_no_second_alert_within_a_block_of_the_first():
    assert len({alert.alert_id for alert in told(run(make_tracker(), ([5.0] * 3 + [0.0] * 20) * 3))}) == 1
    decisions = run(make_tracker(), ([5.0] * 3 + [0.0] * 97) * 3)
    assert sum(decision.opened for decision in decisions) == 3


def test_what_finds_the_bucket_empty_is_kept_and_marked():
    tracker = make_tracker(alerts_per_day=2.0)
    decisions = run(tracker, ([3.1] * 3 + [0.0] * 97) * 7)
    alerts = {alert.alert_id: alert for alert in told(decisions)}
    assert [alert.suppressed for alert in alerts.values()] == [False] * 4 + [True] * 3
    assert [alert.number_today for alert in alerts.values()] == [1, 2, 3, 4, 0, 0, 0]
    assert {(alert.state, alert.alerts_per_day) for alert in alerts.values()} == {("closed", 2.0)}
    assert tracker.num_suppressed == 3
    assert tracker.alerts_on(START_S) == 4
    assert sum(decision.discard_from_s is not None for decision in decisions) == 7


def test_a_critical_alert_overdraws_the_bucket_by_half():
    tracker = make_tracker(alerts_per_day=2.0)
    decisions = run(tracker, ([9.0] * 3 + [0.0] * 97) * 8)
    alerts = {alert.alert_id: alert for alert in told(decisions)}
    assert {alert.severity for alert in alerts.values()} == {"critical"}
    assert [alert.suppressed for alert in alerts.values()] == [False] * 6 + [True] * 2


def test_a_suppressed_alert_that_becomes_critical_is_told_after_all():
    tracker = make_tracker(alerts_per_day=2.0)
    run(tracker, ([3.1] * 3 + [0.0] * 97) * 4)
    suppressed, critical, *_ = told(run(tracker, [3.1] * 3 + [9.0] * 3, start_s=START_S + 400))
    assert (suppressed.suppressed, critical.suppressed) == (True, False)
    assert suppressed.alert_id == critical.alert_id
    assert (critical.severity, critical.number_today) == ("critical", 5)
    assert tracker.num_suppressed == 0


def test_a_confirmed_alert_is_no_part_of_what_is_ordinary():
    tracker = make_tracker()
    closed = told(run(tracker, [5.0] * 3 + [1.0] * 60))[1]
    before = tracker._calibrator.num_blocks
    tracker.confirm(closed)
    assert tracker._calibrator.num_blocks == before - 2  # it began in the block before
    assert tracker._calibrator.state()["controller"][1] == 0


def test_half_an_hour_of_it_is_a_changed_scene_and_is_learned():
    decisions = run(make_tracker(), [5.0] * 1900)
    opened, closed = told(decisions)[:2]
    assert (opened.state, closed.state) == ("open", "closed")
    assert "scene" in closed.sentence
    assert all(decision.discard_from_s is None for decision in decisions)
    assert not decisions[1810].hold


def test_a_gap_in_the_feed_closes_the_alert():
    tracker = make_tracker()
    run(tracker, [5.0] * 4)
    [closed] = told(run(tracker, [5.0], start_s=START_S + 3600))
    assert closed.state == "closed"
    assert closed.end_s == START_S + 3


def test_the_end_of_the_feed_closes_the_alert():
    tracker = make_tracker()
    run(tracker, [5.0] * 4)
    [closed] = tracker.flush().alerts
    assert closed.state == "closed"
    assert tracker.flush().alerts == ()


def test_history_never_alerts_and_leaves_no_suspicion():
    tracker = make_tracker()
    decisions = [tracker.push(make_score(START_S + i, 9.0, history=True)) for i in range(10)]
    tracker.start_live()
    decisions += run(tracker, [1.0, 1.0], start_s=START_S + 10)
    assert told(decisions) == []
    assert not any(decision.hold for decision in decisions)


def test_severity_is_critical_for_a_tenth_of_the_budget():
    assert told(run(make_tracker(), [2.97, 2.97, 2.97]))[0].severity == "alert"
    assert told(run(make_tracker(), [9.0, 9.0]))[0].severity == "critical"


def test_the_alert_says_what_was_heard_why_and_by_which_model():
    tracker = make_tracker()
    tracker.push(make_score(START_S, 5.0, text="help"))
    tracker.push(make_score(START_S + 1, 5.0, text="help"))
    [closed] = tracker.flush().alerts
    assert closed.text == "help"
    assert closed.models == ("sound@1",)
    assert closed.channels == {"sound": 1e-4}
    assert closed.sentence.startswith("Unusual sound at gate-3 (sound 90 %, picture 10 %): as rare as once in ")


@pytest.mark.parametrize("cut", range(0, 60, 4))
def test_a_tracker_loaded_at_any_moment_goes_on_exactly_like_the_first(cut):
    surprises = [1.0] * 5 + [2.7] * 4 + [5.0] * 6 + [7.0] + [1.0] * 44
    first = make_tracker()
    run(first, surprises[:cut])
    second = make_tracker()
    second.load(json.loads(json.dumps(first.state())))
    assert run(second, surprises[cut:], start_s=START_S + cut) == run(first, surprises[cut:], start_s=START_S + cut)
