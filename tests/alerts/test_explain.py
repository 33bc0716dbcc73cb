from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmstream.alerts.explain import closing, duration, sentence


def test_two_modalities_of_equal_weight_are_both_named():
    said = sentence(
        "yard", shares={"picture": 0.5, "sound": 0.5}, expected_every_s=7200.0, learned_s=1e6, provisional=False
    )
    assert said == "Unusual picture and sound at yard (picture 50 %, sound 50 %): as rare as once in 2 hours here."


def test_little_history_claims_no_rarity():
    said = sentence("yard", shares={"sound": 1.0}, expected_every_s=9e9, learned_s=3600.0, provisional=True)
    assert "days" not in said
    assert "60 minutes" in said


def test_the_end_says_how_long_it_lasted_or_that_the_scene_changed():
    assert closing(12.0, scene_changed=False) == " It lasted 12 seconds."
    assert "scene seems to have changed" in closing(1800.0, scene_changed=True)


@given(st.floats(0.0, 1e12))
def test_durations_are_short_and_never_zero(seconds):
    count, unit = duration(seconds).split()
    assert int(count) >= 1
    assert unit.rstrip("s") in ("second", "minute", "hour", "day")


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4))
def test_the_percents_add_up_to_a_hundred(weights):
    shares = {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
    said = sentence("yard", shares=shares, expected_every_s=60.0, learned_s=60.0, provisional=False)
    if "%" in said:
        percents = [int(word) for word, sign in zip(said.split(), said.split()[1:], strict=False) if sign[:1] == "%"]
        assert sum(percents) == 100
