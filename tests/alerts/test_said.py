"""Words that come late find the alert that they are about, and no other."""

from __future__ import annotations

import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st

from mmstream.alerts.said import AFTER_S, AROUND_S, MAX_CHARS, joined
from mmstream.alerts.tracker import AlertTracker
from mmstream.types import TextSpan
from tests.alerts.test_tracker import START_S, make_tracker, run


def words(text: str, at_s: float) -> TextSpan:
    return TextSpan(
        feed_id="gate-3", start_s=at_s, end_s=at_s + 2, text=text, origin="transcript", confidence=0.9, model="w@1"
    )


def closed_tracker() -> tuple[AlertTracker, float]:
    tracker = make_tracker()
    decisions = run(tracker, [1.0] * 5 + [5.0] * 6 + [1.0] * 30)
    [closed] = [alert for decision in decisions for alert in decision.alerts if alert.state == "closed"]
    return tracker, closed.end_s


def test_an_open_alert_takes_up_late_words_and_tells_of_them_once() -> None:
    tracker = make_tracker()
    run(tracker, [1.0] * 5 + [5.0] * 6)
    [alert] = tracker.take_words(words("help, over here", START_S + 6), START_S + 10)
    assert (alert.state, alert.text) == ("open", "help, over here")
    assert tracker.take_words(words("over here", START_S + 6), START_S + 10) == ()
    closed = [a for decision in run(tracker, [1.0] * 30, start_s=START_S + 11) for a in decision.alerts]
    assert closed[-1].text == "help, over here"


def test_a_suspicion_keeps_late_words_for_the_alert_that_it_becomes() -> None:
    tracker = make_tracker()
    run(tracker, [1.0, 2.7, 2.7])
    assert tracker.take_words(words("look there", START_S), START_S + 2) == ()
    [opened, *_] = [a for d in run(tracker, [5.0, 5.0], start_s=START_S + 3) for a in d.alerts]
    assert opened.text == "look there"


def test_words_within_a_minute_after_the_close_are_added_and_later_ones_are_not() -> None:
    tracker, end_s = closed_tracker()
    [alert] = tracker.take_words(words("it was only the gate", end_s - 3), end_s + AFTER_S)
    assert (alert.state, alert.text) == ("closed", "it was only the gate")
    assert tracker.take_words(words("something else", end_s - 3), end_s + AFTER_S + 1) == ()


def test_words_about_another_time_are_not_the_alerts() -> None:
    tracker, end_s = closed_tracker()
    assert tracker.take_words(words("good morning", end_s + AROUND_S + 1), end_s + 20) == ()
    assert tracker.take_words(words("good morning", START_S - 60), end_s + 20) == ()


def test_words_of_two_alerts_ago_were_lost_because_only_the_last_was_remembered() -> None:
    tracker = make_tracker(block_s=5.0)
    decisions = run(tracker, [1.0] * 5 + [5.0] * 6 + [1.0] * 10 + [5.0] * 6 + [1.0] * 10)
    first, second = [alert for decision in decisions for alert in decision.alerts if alert.state == "closed"]
    assert first.end_s < second.start_s
    [alert] = tracker.take_words(words("it fell", first.start_s), second.end_s + 5)
    assert (alert.alert_id, alert.text) == (first.alert_id, "it fell")
    span = dataclasses.replace(words("and again", first.end_s - 1), end_s=second.start_s + 1)
    told = tracker.take_words(span, second.end_s + 6)
    assert [(a.alert_id, a.text) for a in told] == [
        (first.alert_id, "it fell and again"),
        (second.alert_id, "and again"),
    ]


def test_words_of_a_closed_alert_went_to_the_next_suspicion_because_that_was_near() -> None:
    tracker = make_tracker(block_s=5.0)
    decisions = run(tracker, [1.0] * 5 + [5.0] * 6 + [1.0] * 10 + [2.96] * 3)
    [closed] = [alert for decision in decisions for alert in decision.alerts if alert.state == "closed"]
    assert tracker.episode[0] not in ("", closed.alert_id)
    [alert] = tracker.take_words(words("it fell", closed.end_s - 2), START_S + 30)
    assert (alert.alert_id, alert.text) == (closed.alert_id, "it fell")


def test_an_alert_that_has_closed_is_remembered_over_a_restart() -> None:
    tracker, end_s = closed_tracker()
    restored = make_tracker()
    restored.load(json.loads(json.dumps(tracker.state())))
    [alert] = restored.take_words(words("help", end_s - 1), end_s + 5)
    assert alert.text == "help"


def test_a_state_from_before_late_words_is_read() -> None:
    state = closed_tracker()[0].state()
    del state["just_closed"]
    restored = make_tracker()
    restored.load(state)
    assert restored.take_words(words("help", START_S + 5), START_S + 20) == ()


said = st.lists(st.sampled_from(["fire", "at", "gate", "3", "有人打架"]), max_size=8).map(" ".join)


@given(st.lists(said, max_size=12))
def test_words_stay_bounded_and_the_same_again_changes_nothing(pieces: list[str]) -> None:
    text = ""
    for piece in pieces:
        text = joined(text, piece)
        assert len(text) <= MAX_CHARS
        if len(text) < MAX_CHARS:
            assert joined(text, piece) == text
