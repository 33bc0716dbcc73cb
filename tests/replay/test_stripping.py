"""What is kept of a block's windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mmstream import stripping
from mmstream.alerts.debounce import Debounce
from mmstream.analysis import Judgement
from mmstream.stripping import Stripper
from mmstream.types import Evidence, Score, Strip

BLOCK_S = 30.0


def make_judgement(
    start_s: float, heights: dict[str, float], *, surprise: float | None = None, **changes: Any
) -> Judgement:
    aspects = tuple(
        Evidence(channel=name, modality="sound" if name == "sound" else "picture", p=math.pow(10.0, -height))
        for name, height in heights.items()
    )
    evidence = changes.pop("evidence", aspects)
    where: dict[str, Any] = {"feed_id": changes.pop("feed_id", "gate"), "start_s": start_s, "end_s": start_s + 2.0}
    fused = max(heights.values(), default=0.0) if surprise is None else surprise
    shares = {"picture": 1.0} if heights else {}
    score = Score(**where, surprise=fused, shares=shares, evidence=evidence)
    settings = {"score": score, "alerts": (), "phase": "calibrated", "history": False, "aspects": aspects}
    return Judgement(**{**where, **settings, **changes})


def stripped(judgements: list[Judgement], block_s: float = BLOCK_S) -> list[Strip]:
    stripper = Stripper(block_s=block_s)
    found = [strip for judgement in judgements if (strip := stripper.push(judgement)) is not None]
    last = stripper.finish("gate")
    return found + ([last] if last is not None else [])


def ends(strip: Strip) -> list[float]:
    return strip.windows[:, 1].tolist()  # type: ignore[no-any-return]


def test_of_quiet_windows_the_highest_of_the_block_and_of_each_aspect_stay() -> None:
    quiet = [make_judgement(float(at_s), {"look": 0.3, "sound": 0.2}) for at_s in range(27)]
    quiet[10:13] = [make_judgement(float(at_s), {"look": 0.6, "sound": 0.1}) for at_s in (10, 11, 12)]
    quiet[20:23] = [make_judgement(float(at_s), {"look": 0.1, "sound": 0.5}) for at_s in (20, 21, 22)]
    (strip,) = stripped(quiet)
    assert (strip.start_s, strip.end_s, strip.covered_s) == (0.0, 30.0, pytest.approx(28.0))
    assert ends(strip) == [13.0, 23.0]  # debounced: the second of three is as high as the third
    assert strip.aspects == (("look", "picture", 1.0), ("sound", "sound", 1.0))
    np.testing.assert_allclose(strip.windows[:, 3:], [[0.6, 0.6, 0.1], [0.5, 0.1, 0.5]])


def test_all_windows_of_a_suspicion_stay_with_their_debounced_scores() -> None:
    heights = [0.1, 0.4, 3.0, 2.0, 4.5, 0.2, 0.2, 0.1]
    judgements = [
        make_judgement(float(at_s), {"look": height}, suspect=2 <= at_s <= 6) for at_s, height in enumerate(heights)
    ]
    (strip,) = stripped(judgements)
    debounce = Debounce()
    values = [debounce.push(height) for height in heights]
    assert ends(strip) == [4.0, 5.0, 6.0, 7.0, 8.0]
    assert strip.windows[:, 2].tolist() == pytest.approx(heights[2:7])
    assert strip.windows[:, 3].tolist() == pytest.approx(values[2:7])


def test_every_stretch_of_a_block_keeps_its_highest_if_that_was_unusual() -> None:
    judgements = [make_judgement(float(at_s), {"look": 0.2}) for at_s in range(28)]
    for at_s in (5, 6, 15, 16, 25, 26):
        judgements[at_s] = make_judgement(float(at_s), {"look": 1.5})
    (strip,) = stripped(judgements)
    assert ends(strip) == [8.0, 18.0, 28.0]


def test_a_new_block_gives_the_one_before_and_gaps_are_not_covered() -> None:
    times_s = [0.0, 1.0, 2.0, 20.0, 31.0, 95.0]
    first, second, third = stripped([make_judgement(at_s, {"look": 0.5}) for at_s in times_s])
    assert (first.start_s, second.start_s, third.start_s) == (0.0, 30.0, 90.0)
    assert [strip.covered_s for strip in (first, second, third)] == [6.0, 2.0, 2.0]


def test_where_there_are_only_readings_they_speak_for_the_time_since_the_ones_before() -> None:
    rare = (Evidence(channel="sensor:oil", modality="sensor", p=0.5),)
    first, second = stripped([make_judgement(at_s, {"sensor": 0.3}, evidence=rare) for at_s in (8.0, 28.5)])
    assert (first.covered_s, second.covered_s) == (30.0, 20.5)


def test_a_window_without_evidence_covers_nothing_and_is_not_kept() -> None:
    (strip,) = stripped([make_judgement(0.0, {"look": 0.3}), make_judgement(1.0, {})])
    assert (ends(strip), strip.covered_s) == ([2.0], 2.0)
    assert stripped([make_judgement(0.0, {})]) == []


def test_an_aspect_that_is_missing_from_a_window_is_not_a_number() -> None:
    seen = [make_judgement(float(at_s), {"look": 0.9}) for at_s in range(3)]
    (strip,) = stripped([*seen, make_judgement(3.0, {"look": 0.1, "sound": 0.4})])
    assert ends(strip) == [3.0, 5.0]
    np.testing.assert_array_equal(strip.windows[:, 5], [np.nan, 0.0])


def test_feeds_do_not_know_of_one_another_and_leave_nothing_behind() -> None:
    stripper = Stripper(block_s=BLOCK_S)
    assert stripper.push(make_judgement(0.0, {"look": 0.2})) is None
    assert stripper.push(make_judgement(40.0, {"look": 0.2}, feed_id="yard")) is None
    assert stripper.finish("gate") is not None
    assert stripper.finish("gate") is None
    assert stripper.finish("nobody") is None


def test_a_block_keeps_a_bounded_number_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripping, "MAX_WINDOWS", 50)
    flood = [make_judgement(at_s / 100.0, {"look": 2.0}, suspect=True) for at_s in range(2000)]
    (strip,) = stripped(flood)
    assert len(strip.windows) <= 50 + 15 + 2
