"""Which moments are kept: everything unusual, words, and the ordinary thinned out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmstream import archiving, moments
from mmstream.analysis import Judgement
from mmstream.archive_pictures import tiny_jpeg, with_pictures
from mmstream.archiving import Archivist, is_kept
from mmstream.encoders import EDGE_ENCODERS
from mmstream.stages import load
from mmstream.storage.media import FolderMediaStore
from mmstream.types import Channel, Embedding, Evidence, Moment, Score, TextSpan
from tests.services.running import make_jpeg
from tests.storage.moments import make_moment

CHANNELS = {
    "vision": Channel(name="vision", modality="picture"),
    "activity": Channel(name="activity", modality="picture", normality="value"),
}


def make_judgement(start_s: float, *, moving: float = 0.0, text: str = "", **changes: Any) -> Judgement:
    feed_id = changes.pop("feed_id", "gate")
    surprise = changes.pop("surprise", 0.2)
    end_s = start_s + 2.0
    where: dict[str, Any] = {"feed_id": feed_id, "start_s": start_s, "end_s": end_s}
    vectors = {"vision": np.full(8, 70_000.0, np.float32), "activity": np.array([moving], np.float32)}
    settings: dict[str, Any] = {
        **where,
        "score": Score(
            **where,
            surprise=surprise,
            shares={"picture": 1.0},
            evidence=(Evidence(channel="vision", modality="picture", p=0.4),),
            text=text,
        ),
        "alerts": (),
        "phase": "calibrated",
        "history": False,
        "embeddings": tuple(
            Embedding(**where, channel=name, vector=vector, model=f"{name}@1") for name, vector in vectors.items()
        ),
    }
    return Judgement(**(settings | changes))


def kept(judgements: list[Judgement]) -> list[Moment]:
    archivist = Archivist(CHANNELS)
    for judgement in judgements:
        archivist.push(judgement)
    return sorted(archivist.take(100_000), key=lambda moment: moment.start_s)


# --- which -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moving", "surprise", "every_s"), [(0.0, 0.2, 60), (0.05, 0.2, 10), (0.0, 1.5, 10)])
def test_an_idle_feed_keeps_one_a_minute_a_busy_one_one_in_ten_seconds(
    moving: float, surprise: float, every_s: int
) -> None:
    hour = [make_judgement(float(at_s), moving=moving, surprise=surprise) for at_s in range(3600)]
    starts_s = [moment.start_s for moment in kept(hour)]
    assert starts_s == [float(at_s) for at_s in range(0, 3600, every_s)]


def test_every_window_of_a_suspicion_and_of_an_alert_is_kept() -> None:
    judgements = [make_judgement(float(at_s)) for at_s in range(10)]
    judgements += [make_judgement(10.0, suspect=True, episode="gate:10000")]
    judgements += [make_judgement(float(at_s), suspect=True, episode="gate:10000", alerting=True) for at_s in (11, 12)]
    found = kept(judgements)
    assert [(moment.start_s, moment.state, moment.alert_id) for moment in found] == [
        (0.0, "normal", ""),
        (10.0, "suspect", "gate:10000"),
        (11.0, "alert", "gate:10000"),
        (12.0, "alert", "gate:10000"),
    ]


def test_new_words_are_kept_once_though_windows_overlap() -> None:
    said = ["", "fire in", "fire in the hall", "fire in the hall", "the hall", "", "all clear", "all clear"]
    found = kept([make_judgement(float(at_s), text=text) for at_s, text in enumerate(said)])
    assert [moment.text for moment in found if moment.text] == ["fire in the hall", "all clear"]


def test_a_flood_of_words_is_bounded_by_the_clock() -> None:
    found = kept([make_judgement(float(at_s), text=f"line {at_s}") for at_s in range(600)])
    assert len(found) == 300


def test_history_and_the_end_of_a_feed_are_not_kept() -> None:
    ending = make_judgement(5.0, end_s=5.0)
    assert kept([make_judgement(1.0, history=True, suspect=True), ending]) == []


def test_a_clock_that_was_set_back_does_not_stop_keeping() -> None:
    assert [moment.start_s for moment in kept([make_judgement(9000.0), make_judgement(100.0)])] == [100.0, 9000.0]


def test_a_moment_holds_what_it_was_judged_by_in_half_precision() -> None:
    (moment,) = kept([make_judgement(5.0)])
    assert (moment.p, moment.shares, moment.models) == ({"vision": 0.4}, {"picture": 1.0}, {"vision": "vision@1"})
    assert moment.vectors["vision"].dtype == np.float16
    assert np.isfinite(moment.vectors["vision"]).all()  # float16 ends at 65504


def test_of_the_edge_features_those_are_kept_whose_neighbours_look_or_sound_alike() -> None:
    found = {name for name in EDGE_ENCODERS if is_kept(load(EDGE_ENCODERS, name).channel)}
    assert found == {"appearance", "sound"}


# --- strips ------------------------------------------------------------------------------------------------


def aspects(look: float = 0.4) -> tuple[Evidence, ...]:
    return (Evidence(channel="looks", modality="picture", p=look),)


def test_the_first_moment_kept_after_a_block_brings_its_strip() -> None:
    archivist = Archivist(CHANNELS, block_s=30.0)
    for at_s in range(100):
        archivist.push(make_judgement(float(at_s), aspects=aspects(0.01 if at_s in (40, 41) else 0.4)))
    by_start = {moment.start_s: moment.strips for moment in archivist.take(9)}
    assert {at_s: [strip.start_s for strip in strips] for at_s, strips in by_start.items()} == {0: [], 60: [0.0, 30.0]}
    assert by_start[60.0][1].windows[:, 4].max() == pytest.approx(2.0)


def test_a_feed_that_ends_or_leaves_keeps_its_last_window_with_the_block_under_way() -> None:
    for leave in (Archivist.finish, Archivist.forget):
        archivist = Archivist(CHANNELS, block_s=30.0)
        for at_s in range(12):
            archivist.push(make_judgement(float(at_s), aspects=aspects()))
        leave(archivist, "gate")
        leave(archivist, "gate")
        first, last = archivist.take(9)
        assert (first.start_s, first.strips, last.start_s) == (0.0, (), 11.0)
        assert [strip.start_s for strip in last.strips] == [0.0]


def test_history_is_in_no_strip() -> None:
    archivist = Archivist(CHANNELS, block_s=30.0)
    for at_s in range(40):
        archivist.push(make_judgement(float(at_s), aspects=aspects(), history=True))
    archivist.finish("gate")
    assert archivist.take(9) == []


def test_a_moment_names_the_aspects_that_are_no_single_channel() -> None:
    together = (*aspects(0.02), Evidence(channel="alone", modality="picture", p=0.4))
    (moment,) = kept([make_judgement(5.0, aspects=together)])
    assert moment.aspects == {"looks": 0.02}  # the channel vision has the other one


def test_strips_that_wait_for_a_moment_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "MAX_STRIPS", 2)
    archivist = Archivist(CHANNELS, block_s=5.0)
    for at_s in range(70):
        archivist.push(make_judgement(float(at_s), aspects=aspects()))
    assert [[strip.start_s for strip in moment.strips] for moment in archivist.take(9)] == [[], [50.0, 55.0]]


# --- waiting -----------------------------------------------------------------------------------------------


def test_words_that_come_late_join_the_moments_they_are_about() -> None:
    archivist = Archivist(CHANNELS)
    for at_s in (0.0, 10.0, 20.0):
        archivist.push(make_judgement(at_s, moving=0.1))
    archivist.hear(TextSpan(feed_id="gate", start_s=11.0, end_s=13.0, text="help!", origin="transcript"))
    archivist.hear(TextSpan(feed_id="yard", start_s=0.0, end_s=30.0, text="elsewhere", origin="transcript"))
    assert [moment.text for moment in archivist.take(9)] == ["", "help!", ""]


def test_when_nobody_fetches_ordinary_moments_go_first_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "MAX_WAITING", 4)
    archivist = Archivist(CHANNELS)
    for number in range(3):
        archivist.push(make_judgement(100.0 * number))
    for number in range(6):
        archivist.push(make_judgement(1000.0 + number, suspect=True))
    assert [moment.start_s for moment in archivist.take(9)] == [1002.0, 1003.0, 1004.0, 1005.0]
    assert archivist.summary("gate") == {"moments_kept": 9, "moments_thinned": 0, "moments_dropped": 5}


def test_what_the_archive_did_not_take_waits_again() -> None:
    archivist = Archivist(CHANNELS)
    archivist.push(make_judgement(0.0))
    archivist.push(make_judgement(1.0, suspect=True))
    taken = archivist.take(1)
    assert [moment.start_s for moment in taken] == [1.0]
    archivist.give_back(taken)
    assert (len(archivist), [moment.start_s for moment in archivist.take(9)]) == (2, [1.0, 0.0])


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5), st.sampled_from(["", "a", "b c"])), max_size=200))
def test_every_window_is_kept_or_thinned_and_the_rate_is_bounded(windows: list[tuple[bool, float, str]]) -> None:
    archivist = Archivist(CHANNELS)
    for at_s, (suspect, surprise, text) in enumerate(windows):
        archivist.push(make_judgement(float(at_s), suspect=suspect, surprise=surprise, text=text))
    counts = archivist.summary("gate")
    assert counts["moments_kept"] + counts["moments_thinned"] == len(windows)
    ordinary = [moment.start_s for moment in archivist.take(1000) if moment.state == "normal"]
    assert all(later - sooner >= 2.0 for sooner, later in itertools.pairwise(ordinary))
    assert sum(suspect for suspect, _, _ in windows) <= counts["moments_kept"]


# --- pictures ----------------------------------------------------------------------------------------------


def test_a_moment_is_given_the_picture_nearest_to_it(tmp_path: Path) -> None:
    media = FolderMediaStore(tmp_path)
    for at_ms in (0, 10_000):
        media.put(moments.key("gate", at_ms), make_jpeg())
    asked = [make_moment(start_s=8.0), make_moment(start_s=9.0), make_moment(start_s=9.5, state="alert")]
    named, jpegs, num_failed = with_pictures([*asked, make_moment(start_s=40.0)], media)
    assert [moment.picture for moment in named] == [moments.key("gate", 10_000)] * 3 + [""]
    assert set(jpegs) == {"gate:8000", "gate:9500"}  # one copy, and one with each unusual moment
    assert num_failed == 0


def test_a_damaged_picture_costs_nothing_but_itself(tmp_path: Path) -> None:
    media = FolderMediaStore(tmp_path)
    media.put(moments.key("gate", 1000), b"no picture")
    named, jpegs, num_failed = with_pictures([make_moment(start_s=1.0)], media)
    assert (len(named), jpegs, num_failed) == (1, {}, 1)


def test_the_copy_of_the_busiest_picture_is_4_kb_at_most(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (360, 640, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.jpg", quality=95)
    small = tiny_jpeg((tmp_path / "noise.jpg").read_bytes())
    assert len(small) <= 4096
    (tmp_path / "small.jpg").write_bytes(small)
    with Image.open(tmp_path / "small.jpg") as image:
        assert max(image.size) >= 64
