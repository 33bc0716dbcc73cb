"""What a guard reads: true, short, and the same in every language."""

from __future__ import annotations

import re
import string
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.alerts.catalogue import CATALOGUE, HEALTH_CAUSES
from mmstream.alerts.explain import percents, pitch, place, say
from mmstream.types import Alert, HealthCause

HEALTH = {"kind": "health", "shares": {}, "channels": {}}


def make_alert(**changes: Any) -> Alert:
    values: dict[str, Any] = {
        "alert_id": "yard:0",
        "feed_id": "yard",
        "start_s": 0.0,
        "end_s": 4.0,
        "state": "open",
        "severity": "alert",
        "surprise": 4.0,
        "peak_s": 1.0,
        "expected_every_s": 7200.0,
        "shares": {"picture": 0.9, "sound": 0.1},
    }
    return Alert(**(values | changes))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", CATALOGUE)
def test_every_language_has_every_text_with_the_same_placeholders(language: str) -> None:
    english, other = CATALOGUE["en"], CATALOGUE[language]
    assert other.keys() == english.keys()
    for key, text in other.items():
        assert placeholders(text) == placeholders(english[key]), key
        assert text.strip(), key


@pytest.mark.parametrize(
    ("pair", "english", "chinese"),
    [
        ("picture-sound", "Unusual mismatch of picture and sound at yard", "画面与声音不符"),
        ("picture-words", "Unusual mismatch of picture and words at yard", "画面与文字不符"),
        ("sound-words", "Unusual mismatch of sound and words at yard", "声音与文字不符"),
    ],
)
def test_a_mismatch_says_what_does_not_belong_together(pair: str, english: str, chinese: str) -> None:
    channels = {"motion": 0.5, "sound": 0.4, f"agreement:{pair}": 1e-4}
    said = say(make_alert(shares={"agreement": 0.9, "sound": 0.1}, channels=channels), learned_s=1e6)
    assert said["en"].startswith(english)
    assert chinese in said["zh"]


def test_every_fault_of_a_camera_has_its_sentence_and_its_end() -> None:
    assert set(HEALTH_CAUSES) == set(get_args(HealthCause))
    for cause in HEALTH_CAUSES:
        opened = say(make_alert(**HEALTH, cause=cause), learned_s=0.0)
        closed = say(make_alert(**HEALTH, cause=cause), learned_s=0.0, lasted_s=240.0)
        for language in CATALOGUE:
            assert "yard" in opened[language]
            assert closed[language].startswith(opened[language])
        assert "after 4 minutes." in closed["en"]
        assert "4 分钟" in closed["zh"]


def test_a_camera_that_is_gone_tells_the_guard_what_to_check() -> None:
    said = say(make_alert(**HEALTH, cause="offline"), learned_s=0.0)
    assert said["en"] == "yard is offline: nothing comes from the camera; check its power and its network."
    assert "请检查电源和网络" in said["zh"]


def test_two_modalities_of_equal_weight_are_both_named_with_where_each_is() -> None:
    alert = make_alert(
        shares={"picture": 0.5, "sound": 0.5},
        regions={"appearance": (0.0, 0.0, 0.3, 0.3), "motion": (0.9, 0.3, 1.0, 0.7)},
        channels={"motion": 1e-4, "appearance": 0.2, "sound": 1e-5},
        band_hz=(2600.0, 5200.0),
    )
    said = say(alert, learned_s=1e6)
    assert said["en"] == (
        "Unusual movement and sound at yard, at the right edge of the picture, shrill, 2.6–5.2 kHz"
        " (picture 50 %, sound 50 %): as rare as once in 2 hours here."
    )
    assert said["zh"] == (
        "yard 画面右边缘、尖锐频段（2.6–5.2 千赫）出现异常移动和声音（画面占 50%，声音占 50%）："
        "这种情况在这里大约 2 小时才会出现一次。"
    )


def test_where_is_told_only_of_the_modality_that_is_the_subject() -> None:
    alert = make_alert(shares={"sound": 0.9, "picture": 0.1}, regions={"motion": (0.0, 0.0, 0.2, 0.2)})
    assert "picture (" not in say(alert, learned_s=1e6)["en"]
    assert "left" not in say(alert, learned_s=1e6)["en"]


def test_a_channel_that_the_catalogue_does_not_know_is_called_picture() -> None:
    alert = make_alert(channels={"vision": 1e-6, "motion": 0.5, "sound_change": 1e-9})
    assert say(alert, learned_s=1e6)["en"].startswith("Unusual picture at yard")


@pytest.mark.parametrize(("motion", "noun"), [(2e-4, "movement"), (0.05, "amount of activity")])
def test_what_and_where_come_from_one_channel_unless_another_is_far_stranger(motion: float, noun: str) -> None:
    alert = make_alert(channels={"activity": 1e-5, "motion": motion}, regions={"motion": (0.0, 0.0, 0.3, 0.3)})
    assert say(alert, learned_s=1e6)["en"].startswith(f"Unusual {noun} at yard, upper left")


def test_no_rarity_is_claimed_that_the_history_cannot_tell() -> None:
    said = say(make_alert(expected_every_s=9e9), learned_s=1e6)
    assert said["en"].endswith("rarer than once in a year here.")
    assert "年" in said["zh"]


def test_a_sensor_is_called_by_its_name() -> None:
    alert = make_alert(shares={"sensor": 1.0}, channels={"sensor:oil": 1e-5, "sensor:air": 0.4, "motion": 1e-9})
    said = say(alert, learned_s=1e6)
    assert said["en"].startswith("Unusual reading of oil at yard: ")
    assert said["zh"].startswith("yard 出现异常读数（oil）：")


def test_little_history_claims_no_rarity() -> None:
    said = say(make_alert(expected_every_s=9e9, provisional=True), learned_s=3600.0)
    assert "once in" not in said["en"]
    assert "60 minutes" in said["en"]
    assert "60 分钟" in said["zh"]
    assert "一次" not in said["zh"]


@pytest.mark.parametrize(
    ("changes", "english"),
    [
        pytest.param({"number_today": 1, "alerts_per_day": 2.0}, "; alert 1 of at most 2 today.", id="within"),
        pytest.param({"number_today": 3, "alerts_per_day": 2.0}, "where 2 a day is the average", id="saved budget"),
        pytest.param({"number_today": 1, "alerts_per_day": 0.5}, "where 0.5 a day is the average", id="half a day"),
        pytest.param({"suppressed": True, "alerts_per_day": 2.0}, "the budget of 2 a day is used up.", id="suppressed"),
        pytest.param({"severity": "notice"}, "kept as a notice.", id="notice"),
        pytest.param({}, "once in 2 hours here.", id="not counted"),
    ],
)
def test_the_budget_is_told_as_it_is(changes: dict[str, Any], english: str) -> None:
    assert english in say(make_alert(**changes), learned_s=1e6)["en"]


def test_the_end_says_how_long_it_lasted_or_that_the_scene_changed() -> None:
    assert say(make_alert(), learned_s=1e6, lasted_s=12.0)["en"].endswith(" here. It lasted 12 seconds.")
    assert say(make_alert(), learned_s=1e6, lasted_s=1.0)["en"].endswith("It lasted 1 second.")
    changed = say(make_alert(), learned_s=1e6, lasted_s=1800.0, scene_changed=True)
    assert "30 minutes: the scene seems to have changed" in changed["en"]
    assert changed["zh"].endswith("。已持续 30 分钟：场景似乎已经改变，今后将视为正常。")


@given(st.floats(0.0, 1e11))
def test_durations_are_short_and_never_zero(seconds: float) -> None:
    said = say(make_alert(**HEALTH, cause="mute"), learned_s=0.0, lasted_s=seconds)
    count = re.search(r"after (\d+) (second|minute|hour|day|year)s?\.$", said["en"])
    assert count is not None
    assert 1 <= int(count[1]) <= 3171


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4))
def test_the_percents_add_up_to_a_hundred(weights: list[float]) -> None:
    shares = {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
    assert sum(percent for _, percent in percents(shares)) == 100


unit = st.floats(0.0, 1.0)


@given(unit, unit, unit, unit)
def test_every_region_has_a_name_in_every_language(left: float, top: float, right: float, bottom: float) -> None:
    region = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
    assert all(f"place.{place(region)}" in texts for texts in CATALOGUE.values())


@given(st.floats(0.0, 24_000.0), st.floats(0.0, 24_000.0))
def test_every_band_has_a_name_and_reads_in_order(one_hz: float, other_hz: float) -> None:
    band_hz = (min(one_hz, other_hz), max(one_hz, other_hz))
    assert all(f"band.{pitch(band_hz)}" in texts for texts in CATALOGUE.values())
    said = say(make_alert(shares={"sound": 1.0}, band_hz=band_hz), learned_s=1e6)["en"]
    assert "e+" not in said


def test_no_language_leaves_another_ones_words_in_its_sentences() -> None:
    alert = make_alert(channels={"motion": 1e-4}, regions={"motion": (0.4, 0.4, 0.6, 0.6)}, number_today=1)
    chinese = say(alert, learned_s=1e6, lasted_s=12.0)["zh"].replace("yard", "")
    assert not re.search(r"[A-Za-z]{2,}", chinese)
