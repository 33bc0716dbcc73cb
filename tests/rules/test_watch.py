"""Rules of one feed: what they tell, how often, and that they leave one another alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.alerts.levels import DAY_S
from mmstream.config import RuleConfig
from mmstream.rules.watch import RuleWatch
from mmstream.types import Alert
from mmstream.understanding.ondemand import PictureAnswer
from tests.rules.scenes import BUDGET, FIRE, HELP, Feed, picture, tell, text_vectors, watch_of

CONFIRMED = FIRE.model_copy(update={"confirm": True})


def opened(alerts: list[Alert]) -> list[Alert]:
    return [alert for alert in alerts if alert.state == "open"]


def test_what_looks_like_the_text_is_told_with_the_rules_name_and_in_two_languages() -> None:
    feed = Feed(watch_of(FIRE)).learned()
    at_s = feed.now_s
    first, last = feed.burning(120) + feed.rest(200)
    assert (first.kind, first.cause, first.severity, first.state) == ("rule", "fire", "alert", "open")
    assert first.alert_id == f"gate-3:{round(first.start_s * 1000)}-fire"
    assert at_s - 40 <= first.start_s < at_s + 60
    assert first.sentence.startswith("Rule 'fire': smoke or fire, at gate-3: ")
    assert "of at most 24 today" in first.sentence
    assert first.sentences["zh"].startswith("规则“fire”：gate-3 出现smoke or fire：")
    assert (last.alert_id, last.state) == (first.alert_id, "closed")
    assert 100 <= last.end_s - last.start_s <= 180
    assert "It lasted" in last.sentence


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_days_stay_within_the_budget(seed: int) -> None:
    feed = Feed(watch_of(FIRE), seed=seed)
    alerts = opened(feed.ordinary(DAY_S))
    told = [alert for alert in alerts if not alert.suppressed]
    assert len(told) <= 24 + 48  # the bucket
    assert len(alerts) <= 24 + 20  # the threshold by itself: 24 expected, sd about 5
    assert feed.watch.status()["fire"]["state"] == "calibrated"


def test_an_offset_of_all_cosines_changes_nothing() -> None:
    moved = text_vectors()
    moved.put("clip@1", ["smoke or fire"], 5.0 * (picture(1.0) + picture(0.0, 0.3))[None])
    feeds = [Feed(watch_of(FIRE)), Feed(watch_of(FIRE, vectors=moved))]
    rates = [len(opened(feed.ordinary(DAY_S / 2))) for feed in feeds]
    assert max(rates) <= 12 + 14


def test_nothing_is_told_before_enough_has_been_learned_and_history_teaches() -> None:
    feed = Feed(watch_of(FIRE))
    assert feed.burning(300) == []
    assert feed.watch.status()["fire"]["state"] == "learning"
    taught = Feed(watch_of(FIRE))
    assert taught.ordinary(3 * 3600.0, history=True) == []
    assert taught.watch.status()["fire"]["state"] == "calibrated"
    assert len(opened(taught.burning(60))) == 1


def test_a_phrase_is_told_at_once_and_no_more_often_than_the_budget_allows() -> None:
    feed = Feed(watch_of(HELP))
    (alert,) = feed.one(None, "Please HELP me!")
    assert (alert.kind, alert.cause, alert.text) == ("rule", "help", "Please HELP me!")
    assert alert.sentence.startswith("Rule 'help': \"help me\" was said or written at gate-3")
    assert feed.watch.status()["help"]["state"] == "listening"
    alerts = [
        a
        for _ in range(200)
        for a in (*feed.one(None, "快来人救命啊"), *[b for _ in range(30) for b in feed.one(None)])
    ]
    days = (feed.now_s - alert.start_s) / DAY_S
    told = [a for a in opened(alerts) if not a.suppressed]
    assert len(opened(alerts)) > len(told)
    assert len(told) + 1 <= 2 * days + 4
    assert feed.watch.status()["help"]["alerts_suppressed"] == len(opened(alerts)) - len(told)


def test_a_phrase_of_history_or_of_another_feed_is_not_told() -> None:
    feed = Feed(watch_of(HELP, FIRE.model_copy(update={"name": "other", "says": ("help me",), "feeds": ("gate-4",)})))
    assert feed.one(None, "help me", history=True) == []
    assert [alert.cause for alert in feed.one(None, "help me")] == ["help"]
    assert set(feed.watch.status()) == {"help"}


def test_one_rule_can_look_and_listen_with_one_budget() -> None:
    both = FIRE.model_copy(update={"says": ("fire",)})
    feed = Feed(watch_of(both)).learned()
    (heard,) = opened(feed.one(picture(), "Fire at gate 3"))
    assert heard.shares == {"words": 1.0}
    (seen,) = opened(feed.rest(400) + feed.burning(100))
    assert (seen.shares, seen.surprise > 3) == ({"picture": 1.0}, True)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 100), st.lists(st.sampled_from(["burn", "rest", "say"]), min_size=1, max_size=6))
def test_rules_do_not_disturb_one_another(seed: int, happens: list[str]) -> None:
    lying = RuleConfig(name="lying", looks_like="a person lying on the ground", alerts_per_day=3)
    alone, together = Feed(watch_of(FIRE), seed=seed), Feed(watch_of(lying, HELP, FIRE), seed=seed)
    for feed in (alone, together):
        feed.learned()
    for what in happens:
        told = []
        for feed in (alone, together):
            match what:
                case "burn":
                    alerts = feed.burning(100)
                case "rest":
                    alerts = feed.ordinary(400)
                case _:
                    alerts = feed.one(picture(0.01), "help me")
            told.append([alert for alert in alerts if alert.cause == "fire"])
        assert told[0] == told[1]


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 60), st.booleans())
def test_a_restart_at_any_moment_changes_nothing(cut: int, rules_first: bool) -> None:
    through, before = Feed(watch_of(FIRE, HELP)), Feed(watch_of(FIRE, HELP))
    for feed in (through, before):
        feed.learned()
    vectors = [picture(0.6) if 20 <= i < 26 else picture(0.01) for i in range(61)]
    texts = ["help me" if i == 40 else "" for i in range(61)]
    alerts = [a for vector, text in zip(vectors, texts, strict=True) for a in through.one(vector, text)]
    again = [a for vector, text in zip(vectors[:cut], texts[:cut], strict=True) for a in before.one(vector, text)]
    state = json.loads(json.dumps(before.watch.state()))
    names, arrays = before.watch.learned()
    after = Feed(RuleWatch("gate-3", budget=BUDGET, vectors=text_vectors()))
    if rules_first:
        after.watch.follow([FIRE, HELP])
    after.watch.load_learned(names, arrays)
    after.watch.load(state)
    if not rules_first:
        assert after.watch.state() == state  # a snapshot before the rules are known loses nothing
        after.watch.follow([FIRE, HELP])
    after.now_s = before.now_s
    again += [a for vector, text in zip(vectors[cut:], texts[cut:], strict=True) for a in after.one(vector, text)]
    assert again == alerts
    assert len(opened(alerts)) == 2


def test_what_was_kept_and_is_damaged_costs_only_that_rule() -> None:
    feed = Feed(watch_of(FIRE, HELP)).learned()
    feed.one(None, "help me")
    names, arrays = feed.watch.learned()
    after = RuleWatch("gate-3", budget=BUDGET, vectors=text_vectors())
    after.load_learned(names, {key: array for key, array in arrays.items() if "numbers" not in key})
    after.load(feed.watch.state())
    after.follow([FIRE, HELP])
    assert after.status()["fire"]["windows_learned"] == 0
    assert after.status()["help"]["alerts_today"] == 1


def test_a_rule_that_goes_closes_its_alert_and_one_that_is_reworded_keeps_its_budget() -> None:
    feed = Feed(watch_of(FIRE, HELP)).learned()
    told = feed.watch.status()["fire"]["alerts_today"]
    feed.burning(60)
    reworded = FIRE.model_copy(update={"looks_like": "a person lying on the ground"})
    (closed,) = feed.watch.follow([reworded])
    assert (closed.cause, closed.state) == ("fire", "closed")
    status = feed.watch.status()["fire"]
    assert (status["state"], status["alerts_today"], status["windows_learned"]) == ("learning", told + 1, 0)
    feed.learned()
    assert feed.watch.follow([reworded.model_copy(update={"alerts_per_day": 48.0})]) == []
    assert feed.watch.status()["fire"]["windows_learned"] > 300


def test_after_a_model_swap_the_text_is_asked_again_and_the_camera_learned_anew() -> None:
    vectors = text_vectors()
    feed = Feed(watch_of(FIRE, vectors=vectors)).learned()
    assert vectors.missing() == ("clip@1", [])
    feed.model = "clip@2"
    assert feed.ordinary(60) == []
    model, texts = vectors.missing()
    assert (model, "smoke or fire" in texts) == ("clip@2", True)
    tell(vectors, model)
    feed.ordinary(60)
    assert feed.watch.status()["fire"]["windows_learned"] == 2
    (alert,) = opened(feed.learned().burning(60))
    assert alert.models == ("clip@2",)


def test_without_an_encoder_that_knows_words_the_rule_says_so() -> None:
    vectors = text_vectors()
    vectors.trouble = "no encoder here compares pictures with words"
    watch = watch_of(FIRE, HELP, vectors=vectors)
    assert watch.status()["fire"]["trouble"] == "no encoder here compares pictures with words"
    assert watch.status()["help"]["trouble"] == ""
    assert [alert.cause for alert in Feed(watch).one(None, "help me")] == ["help"]


def held() -> tuple[Feed, str]:
    """A fire that waits for somebody to confirm it -> the feed, and the question's id."""
    feed = Feed(watch_of(CONFIRMED)).learned()
    assert opened(feed.burning(60)) == []
    (question,) = feed.watch.questions()
    assert (question.role, question.feed_id) == ("captions", "gate-3")
    assert "smoke or fire" in question.prompt
    assert feed.watch.questions() == [question]  # asked again until it is answered
    return feed, question.question_id


def answer(question_id: str, text: str, model: str = "vlm@1") -> PictureAnswer:
    return PictureAnswer(feed_id="gate-3", question_id=question_id, role="captions", text=text, model=model)


@pytest.mark.parametrize(
    ("text", "model", "words"),
    [
        ("Yes, a bin burns.", "vlm@1", "; confirmed by vlm@1"),
        ("It is hard to say.", "vlm@1", "; not confirmed, as vlm@1 could not tell"),
        ("", "", "; not confirmed, as no answer came in time"),
    ],
)
def test_a_held_alert_is_told_with_what_the_model_said(text: str, model: str, words: str) -> None:
    feed, question = held()
    assert feed.watch.answer(answer("gate-3:1-other/rule", "No.")) == []
    (alert,) = feed.watch.answer(answer(question, text, model))
    assert (alert.state, alert.suppressed) == ("open", False)
    assert words in alert.sentence
    assert feed.watch.questions() == []
    assert feed.watch.answer(answer(question, text, model)) == []
    (closed,) = feed.rest(60)
    assert (closed.alert_id, closed.state) == (alert.alert_id, "closed")
    assert words in closed.sentence


def test_what_the_model_denies_is_kept_quiet_and_counted() -> None:
    feed, question = held()
    (alert,) = feed.watch.answer(answer(question, "No."))
    assert alert.suppressed
    assert "kept silent, as vlm@1 saw nothing of the kind" in alert.sentence
    status = feed.watch.status()["fire"]
    assert (status["alerts_denied"], status["alerts_suppressed"]) == (1, 0)


def test_an_alert_that_is_over_before_the_answer_is_told_once_as_closed() -> None:
    feed, question = held()
    assert feed.rest(100) == []
    (alert,) = feed.watch.answer(answer(question, "Yes."))
    assert (alert.state, alert.suppressed) == ("closed", False)


def test_without_an_answer_it_is_told_in_the_end() -> None:
    feed, _ = held()
    (alert, *_) = feed.burning(400)
    assert "not confirmed, as no answer came in time" in alert.sentence
    waiting, _ = held()
    (ended,) = waiting.watch.flush()
    assert (ended.state, ended.suppressed) == ("closed", False)


def test_a_held_alert_survives_a_restart() -> None:
    feed, question = held()
    after = RuleWatch("gate-3", budget=BUDGET, vectors=text_vectors())
    after.load_learned(*feed.watch.learned())
    after.load(json.loads(json.dumps(feed.watch.state())))
    after.follow([CONFIRMED])
    assert after.questions() == feed.watch.questions()
    assert after.answer(answer(question, "Yes.")) == feed.watch.answer(answer(question, "Yes."))


def test_an_alert_that_somebody_confirmed_is_not_counted_against_the_threshold_and_only_once() -> None:
    feed = Feed(watch_of(FIRE)).learned()
    (alert, *_) = opened(feed.burning(60))
    true = Alert.from_json(alert.to_json() | {"verdict": "true"})
    assert feed.watch.verdict(true)
    assert not feed.watch.verdict(true)
    assert not feed.watch.verdict(Alert.from_json(alert.to_json() | {"verdict": "false_alarm"}))
