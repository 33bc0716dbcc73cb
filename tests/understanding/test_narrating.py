"""An alert is told of by a model when it opens, again when it has grown at its close, and only if it is told at all."""

from __future__ import annotations

from mmstream.fusing import changes_of
from mmstream.shard import EvidenceDone
from mmstream.understanding.narrating import MAX_REMEMBERED, Narrator
from mmstream.understanding.ondemand import PictureAnswer, Tier
from tests.services.running import make_alert


def test_it_is_asked_about_when_it_opens_with_its_pictures_and_evidence() -> None:
    [question] = Narrator(with_pictures=True).push([make_alert(text="help")])
    assert (question.role, question.tier, question.needs_picture) == ("narration", Tier.NARRATE, False)
    assert question.at_s == (1_700_000_001.2, 1_700_000_002.2, 1_700_000_003.2)
    assert "Unusual sound, once in 11 days." in question.prompt
    assert "help" in question.prompt


def test_a_model_that_retells_is_given_no_pictures() -> None:
    [question] = Narrator(with_pictures=False).push([make_alert()])
    assert question.at_s == ()


def test_at_its_close_it_is_asked_about_again_only_if_it_grew() -> None:
    narrator = Narrator(with_pictures=True)
    assert len(narrator.push([make_alert()])) == 1
    assert narrator.push([make_alert(), make_alert(surprise=9.0)]) == []
    assert narrator.push([make_alert(state="closed")]) == []
    assert len(narrator.push([make_alert(state="closed", text="help")])) == 1
    assert len(narrator.push([make_alert(state="closed", text="help", surprise=9.0)])) == 1
    assert narrator.push([make_alert(state="closed", text="help", surprise=9.0)]) == []


def test_an_alert_that_a_restarted_process_does_not_know_is_asked_about_at_its_close() -> None:
    assert len(Narrator(with_pictures=True).push([make_alert(state="closed")])) == 1


def test_what_is_told_to_nobody_and_the_camera_itself_are_not_narrated() -> None:
    quiet = [make_alert(suppressed=True), make_alert(severity="notice"), make_alert(kind="health", cause="black")]
    assert Narrator(with_pictures=True).push(quiet) == []


def test_what_it_remembers_is_bounded() -> None:
    narrator = Narrator(with_pictures=True)
    narrator.push([make_alert(start_s=1000.0 + number) for number in range(MAX_REMEMBERED + 1)])
    assert len(narrator.push([make_alert(start_s=1000.0)])) == 1
    assert narrator.push([make_alert(start_s=1001.0 + MAX_REMEMBERED - 1)]) == []


def test_a_narration_becomes_two_fields_of_its_alert_and_silence_changes_nothing() -> None:
    alert = make_alert()
    [question] = Narrator(with_pictures=True).push([alert])
    said = PictureAnswer(
        feed_id=alert.feed_id,
        question_id=question.question_id,
        role="narration",
        text="A man fell.",
        model="tiny@1",
    )
    silent = PictureAnswer(feed_id=alert.feed_id, question_id=question.question_id, role="narration")
    confirmation = PictureAnswer(
        feed_id=alert.feed_id, question_id="rule/1", role="captions", text="Yes.", model="tiny@1"
    )
    clip = EvidenceDone(feed_id=alert.feed_id, alert_id=alert.alert_id, final=False, clip="a.mp4")
    assert changes_of([clip], [said, silent, confirmation]) == [
        (alert.alert_id, {"clip": "a.mp4"}),
        (alert.alert_id, {"narration": "A man fell.", "narrated_by": "tiny@1"}),
    ]
