"""Cutting a feed into windows: the grid, lateness, gaps, replays and clocks that jump."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.types import MAX_WINDOW_CHARS, AudioChunk, Frame, MediaItem, Reading, TextSpan, Window
from mmstream.windowing import MAX_FRAMES, MAX_SPOKEN, Windower

RATE_HZ = 1000
LUMA = np.zeros((4, 4), np.uint8)


def make_frame(start_s: float, *, level: int = 0, moving: bool = False) -> Frame:
    motion = np.zeros((2, 2, 2), np.float32) if moving else None
    return Frame(
        feed_id="cam", start_s=start_s, end_s=start_s + 0.2, is_key=False, luma=LUMA + np.uint8(level), motion=motion
    )


def make_chunk(start_s: float, seconds: float = 0.1, value: float = 1.0) -> AudioChunk:
    samples = np.full(round(seconds * RATE_HZ), value, np.float32)
    return AudioChunk(feed_id="cam", start_s=start_s, end_s=start_s + seconds, samples=samples, sample_rate_hz=RATE_HZ)


def make_text(start_s: float, end_s: float, text: str = "word") -> TextSpan:
    return TextSpan(feed_id="cam", start_s=start_s, end_s=end_s, text=text, origin="caption")


def make_reading(start_s: float, value: float = 1.0) -> Reading:
    return Reading(feed_id="cam", start_s=start_s, end_s=start_s, sensor="door", value=value)


def video(first_s: float, last_s: float) -> list[MediaItem]:
    return [make_frame(first_s + 0.2 * n) for n in range(round((last_s - first_s) / 0.2))]


def audio(first_s: float, last_s: float) -> list[MediaItem]:
    return [make_chunk(first_s + 0.1 * n) for n in range(round((last_s - first_s) / 0.1))]


def together(*kinds: list[MediaItem]) -> list[MediaItem]:
    return sorted((item for kind in kinds for item in kind), key=lambda item: item.start_s)


def push_all(windower: Windower, items: Iterable[MediaItem]) -> list[Window]:
    return [window for item in items for window in windower.push(item)]


def starts(windows: Iterable[Window]) -> list[float]:
    return [window.start_s for window in windows]


def test_windows_lie_on_the_wall_clock_grid_and_hold_all_that_belongs_to_them() -> None:
    windower = Windower("cam")
    windows = push_all(windower, together(video(100.0, 106.0), audio(100.0, 106.0)))
    assert starts(windows) == [100.0, 101.0, 102.0, 103.0, 104.0]
    for window in windows:
        assert window.end_s == window.start_s + 2.0
        assert len(window.frames) == 10
        assert window.samples.shape == (2 * RATE_HZ,)
        assert (window.samples == 1.0).all()
        assert window.sample_rate_hz == RATE_HZ
    assert windower.counters["num_windows"] == 5
    assert windower.counters["num_late"] == 0


def test_a_window_waits_for_every_kind_to_pass_its_end() -> None:
    windower = Windower("cam")
    assert starts(push_all(windower, together(video(0.0, 2.0), audio(0.0, 1.5)))) == []
    assert starts(push_all(windower, audio(1.5, 2.0))) == [0.0]


def test_a_stalled_kind_holds_the_others_back_no_longer_than_the_skew() -> None:
    windower = Windower("cam", max_skew_s=1.5)
    push_all(windower, together(video(0.0, 0.6), audio(0.0, 0.6)))
    windows = push_all(windower, audio(0.6, 10.0))
    assert starts(windows) == [float(number) for number in range(7)]
    assert [len(window.frames) for window in windows] == [3, 0, 0, 0, 0, 0, 0]


def test_a_sleeping_gate_lets_windows_go_by_telling_how_far_it_has_come() -> None:
    windower = Windower("cam", max_skew_s=1000.0)
    push_all(windower, together(video(0.0, 0.6), audio(0.0, 6.0)))
    assert starts(windower.advance("video", 3.0)) == [0.0]
    assert starts(windower.advance("video", 6.0)) == [1.0, 2.0, 3.0]


def test_frames_of_a_replay_are_sorted_in_and_no_moment_is_there_twice() -> None:
    windower = Windower("cam")
    first = [make_frame(0.0), make_frame(1.6)]
    replay = [make_frame(0.2 * n, moving=True) for n in range(9)]
    windows = push_all(windower, [*first, *replay, make_frame(1.8, moving=True), make_frame(2.0)])
    assert starts(windows) == [0.0]
    times = [frame.start_s for frame in windows[0].frames]
    assert times == sorted(times)
    assert len(times) == 10
    assert all(frame.motion is not None for frame in windows[0].frames)
    assert windower.counters["num_late"] == 0


def test_frames_for_closed_windows_are_dropped_and_counted() -> None:
    windower = Windower("cam")
    push_all(windower, video(0.0, 8.0))
    assert push_all(windower, [make_frame(3.0), make_frame(5.9)]) == []
    assert windower.counters["num_late"] == 2
    assert len(windower.push(make_frame(8.9))[0].frames) == 6


@pytest.mark.parametrize("tremble_s", [0.0, 0.05])
def test_jitter_makes_neither_gaps_nor_overlaps(tremble_s: float) -> None:
    shake = random.Random(3)
    chunks = [
        AudioChunk(
            feed_id="cam",
            start_s=(at_s := 0.1 * n + shake.uniform(-tremble_s, tremble_s) * (n > 0)),
            end_s=at_s + 0.1,
            samples=np.arange(100 * n, 100 * n + 100, dtype=np.float32),
            sample_rate_hz=RATE_HZ,
        )
        for n in range(80)
    ]
    windower = Windower("cam")
    windows = push_all(windower, chunks)
    assert len(windows) >= 5
    for window in windows:
        np.testing.assert_array_equal(window.samples, np.arange(2000) + 1000 * window.start_s)
    assert windower.counters["gap_s"] == 0.0


def test_larger_gaps_are_zeros_and_counted() -> None:
    windower = Windower("cam")
    windows = push_all(windower, [*audio(0.0, 1.0), *audio(1.5, 4.0)])
    assert (windows[0].samples[:1000] == 1).all()
    assert (windows[0].samples[1000:1500] == 0).all()
    assert (windows[0].samples[1500:] == 1).all()
    assert windower.counters["gap_s"] == pytest.approx(0.5)


def test_a_window_that_heard_less_than_half_has_no_sound() -> None:
    windower = Windower("cam")
    windows = push_all(windower, together(video(0.0, 8.0), audio(0.0, 2.9), audio(6.0, 8.0)))
    assert [window.samples.size > 0 for window in windows] == [True, True, False, False, False, True, True]
    assert windows[2].sample_rate_hz == 0


def test_words_and_readings_are_in_every_window_they_overlap() -> None:
    windower = Windower("cam")
    spoken: list[MediaItem] = [make_text(1.5, 3.5), make_reading(2.0), make_reading(3.0)]
    windows = push_all(windower, [*video(0.0, 1.0), *spoken, *video(1.0, 8.0)])
    assert [window.start_s for window in windows if window.texts] == [0.0, 1.0, 2.0, 3.0]
    assert [[r.start_s for r in window.readings] for window in windows[:4]] == [[], [2.0], [2.0, 3.0], [3.0]]


def test_words_ahead_of_time_neither_close_windows_nor_get_lost() -> None:
    windower = Windower("cam")
    assert push_all(windower, [make_frame(0.0), make_text(40.0, 41.0), make_text(500.0, 501.0)]) == []
    windows = push_all(windower, video(0.2, 45.0))
    assert [window.start_s for window in windows if window.texts] == [39.0, 40.0]


def test_a_feed_of_words_alone_has_windows_too() -> None:
    windower = Windower("cam")
    windows = push_all(windower, [make_text(0.5, 0.5), make_text(3.1, 3.1), make_reading(9.0)])
    assert starts(windows) == [0.0, 2.0, 3.0]
    assert starts(windower.advance("text", 12.0)) == [8.0, 9.0]


def test_late_words_join_the_oldest_open_window_with_their_own_times() -> None:
    windower = Windower("cam")
    push_all(windower, [*video(0.0, 8.0), make_text(1.0, 2.0, "late")])
    windows = push_all(windower, video(8.0, 11.0))
    assert [(w.start_s, [(t.text, t.start_s, t.end_s) for t in w.texts]) for w in windows] == [
        (7.0, [("late", 1.0, 2.0)]),
        (8.0, []),
        (9.0, []),
    ]
    assert (windower.counters["num_late_joined"], windower.counters["num_late"]) == (1, 0)


def test_words_later_than_a_minute_and_late_readings_are_dropped_and_counted() -> None:
    windower = Windower("cam")
    push_all(windower, [*video(0.0, 70.0), make_text(1.0, 2.0), make_text(20.0, 21.0), make_reading(60.0)])
    assert windower.counters["num_late"] == 2
    assert windower.counters["num_late_joined"] == 1


def test_words_of_another_year_begin_no_year_of_windows() -> None:
    windower = Windower("cam")
    windower.advance("text", 1.7e9)
    assert windower.push(make_text(0.0, 0.0)) == []
    assert windower.advance("text", 1.7e9 + 10.0) == []
    assert windower.counters["num_late"] == 1
    camera = Windower("cam")
    camera.push(make_frame(1.7e9))
    camera.push(make_text(5.0, 6.0))
    assert len(push_all(camera, video(1.7e9 + 0.2, 1.7e9 + 4.0))) <= 3


def test_words_dated_in_the_future_wait_and_do_not_move_the_clock_of_a_feed_of_words() -> None:
    windower = Windower("cam")
    windower.advance("text", 1000.0)
    windower.push(make_text(4000.0, 4000.0, "ahead"))
    windower.push(make_text(1001.5, 1001.5, "now"))
    windows = windower.advance("text", 1004.0)
    assert [[t.text for t in w.texts] for w in windows] == [["now"]]
    assert windower.counters["num_clock_jumps"] == 0
    later = [window for second in range(1005, 4010) for window in windower.advance("text", float(second))]
    assert [(w.start_s, [t.text for t in w.texts]) for w in later] == [(3999.0, ["ahead"]), (4000.0, ["ahead"])]


@pytest.mark.parametrize("item", [make_text(1000.5, 1002.0, "early"), make_reading(1000.5)])
def test_a_caption_before_the_first_decoded_picture_ended_the_feed_again_and_again(item: TextSpan | Reading) -> None:
    windower = Windower("cam")
    windower.advance("video", 1001.0)  # packets have come, but no picture yet
    windower.push(item)
    [first, *_] = push_all(windower, video(1001.0, 1005.0))
    assert item in (*first.texts, *first.readings)


def test_a_flood_of_words_is_cut_to_what_is_read_and_every_piece_of_it_is_counted() -> None:
    windower = Windower("cam")
    push_all(windower, video(0.0, 1.0))
    push_all(windower, [make_text(1.0 + n / 2000, 1.0 + n / 2000, f"line {n:04} of a flood") for n in range(2000)])
    windows = push_all(windower, video(1.0, 8.0))
    read = {text.text for window in windows for text in window.texts}
    assert len(read) + windower.counters["num_crowded_out"] == 2000
    assert all(sum(len(text.text) for text in window.texts) <= MAX_WINDOW_CHARS for window in windows)
    assert len(read) >= 100


def test_one_piece_of_any_length_has_room() -> None:
    windower = Windower("cam")
    windows = push_all(windower, [make_frame(0.0), make_text(0.5, 0.5, "w" * 4000), *video(0.2, 4.0)])
    assert len(windows[0].texts[0].text) == 4000


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.floats(-100, 100), st.floats(0, 8), st.integers(1, 900)), max_size=40)
)
def test_words_never_delay_a_window_and_each_piece_is_in_one_or_counted(
    words: list[tuple[int, float, float, int]],
) -> None:
    """``words``: after how many frames they come, how much they are late, how long they last, how much is said.

    At least one frame comes first: until then a feed may be one of words alone, whose windows words do close.
    """
    frames = video(1000.0, 1040.0)
    spoken, silent = Windower("cam"), Windower("cam")
    seen: set[str] = set()
    for number, frame in enumerate(frames):
        for name, (at, late_s, length_s, size) in enumerate(words):
            if at == number:
                start_s = frame.start_s - late_s
                seen |= texts_of(spoken.push(make_text(start_s, start_s + length_s, f"{name}:{'w' * size}")))
        with_words, without = spoken.push(frame), silent.push(frame)
        seen |= texts_of(with_words)
        assert [(w.start_s, len(w.frames)) for w in with_words if w.start_s >= 1000.0] == [
            (w.start_s, len(w.frames)) for w in without
        ]
    waiting = texts_of(spoken.flush())
    lost = spoken.counters["num_late"] + spoken.counters["num_crowded_out"]
    came = sum(at < len(frames) for at, *_ in words)
    ahead = sum(frames[at].start_s - late_s > 1038.0 for at, late_s, *_ in words if at < len(frames))
    assert came - ahead <= len(seen | waiting) + lost <= came


def texts_of(windows: Iterable[Window]) -> set[str]:
    return {text.text for window in windows for text in window.texts}


def test_flush_gives_what_has_begun_and_nothing_beyond() -> None:
    windower = Windower("cam")
    push_all(windower, together(video(0.0, 3.0), audio(0.0, 3.0)))
    assert starts(windower.push(make_text(2.0, 5000.0))) == []
    assert starts(windower.flush()) == [2.0]
    assert windower.flush() == []


def test_flush_keeps_a_last_window_that_is_half_full() -> None:
    windower = Windower("cam")
    push_all(windower, video(0.0, 2.6))
    assert [len(window.frames) for window in windower.flush()] == [8, 3]


@pytest.mark.parametrize("to_s", [3600.0, 1.7e9, 900.0, -3600.0])
def test_a_clock_that_jumps_gives_what_is_open_and_starts_again(to_s: float) -> None:
    windower = Windower("cam")
    before = push_all(windower, together(video(1000.0, 1004.0), audio(1000.0, 1004.0)))
    after = push_all(windower, together(video(to_s, to_s + 4.0), audio(to_s, to_s + 4.0)))
    windows = before + after + windower.flush()
    assert len(windows) <= 12
    assert {w.start_s for w in windows if w.start_s >= 999.0 and w.start_s < 1100} == {1000.0, 1001.0, 1002.0, 1003.0}
    assert {w.start_s for w in windows} >= {to_s + 1.0, to_s + 2.0}
    assert windower.counters["num_clock_jumps"] >= 1


def test_sound_that_steps_back_two_seconds_starts_again() -> None:
    windower = Windower("cam")
    push_all(windower, audio(100.0, 106.0))
    windows = push_all(windower, audio(103.0, 107.0))
    assert starts(windows)[-2:] == [104.0, 105.0]
    assert windower.counters["num_clock_jumps"] == 1


def test_a_pause_shorter_than_a_minute_emits_no_empty_windows() -> None:
    windower = Windower("cam")
    windows = push_all(windower, [*video(0.0, 4.0), *video(50.0, 54.0)])
    assert starts(windows) == [0.0, 1.0, 2.0, 3.0, 49.0, 50.0, 51.0, 52.0]


def test_memory_is_bounded_when_a_clock_stands_still() -> None:
    windower = Windower("cam")
    for number in range(5000):
        windower.push(make_frame(number * 1e-3 * 0.3))
        windower.push(make_text(0.1, 0.2))
    window = windower.flush()[0]
    assert len(window.frames) <= MAX_FRAMES
    assert len(window.texts) <= MAX_SPOKEN
    assert windower.counters["num_late"] > 0
    assert windower.counters["num_crowded_out"] > 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["v", "a", "t", "r"]), st.floats(0, 30), st.floats(0, 5)), min_size=1, max_size=120
    )
)
def test_whatever_comes_windows_are_on_the_grid_in_order_unique_and_true(items: list[tuple[str, float, float]]) -> None:
    windower = Windower("cam")
    windows: list[Window] = []
    jumps_at: list[int] = []
    for kind, at_s, length_s in items:
        item: MediaItem
        match kind:
            case "v":
                item = make_frame(at_s)
            case "a":
                item = make_chunk(at_s)
            case "t":
                item = make_text(at_s, at_s + length_s)
            case _:
                item = make_reading(at_s)
        before = windower.counters["num_clock_jumps"]
        windows += windower.push(item)
        if windower.counters["num_clock_jumps"] > before:
            jumps_at.append(len(windows))
    windows += windower.flush()
    if not jumps_at:
        assert starts(windows) == sorted(set(starts(windows)))
    assert len(windows) <= 40 * (1 + len(jumps_at))
    for window in windows:
        assert window.start_s == round(window.start_s)
        assert all(window.start_s <= frame.start_s < window.end_s for frame in window.frames)
        assert all(text.start_s < window.end_s for text in window.texts)
        assert window.frames or window.samples.size or window.texts or window.readings


def test_a_hop_longer_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="hop_s"):
        Windower("cam", window_s=1.0, hop_s=2.0)
