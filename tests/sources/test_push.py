from __future__ import annotations

import threading

import pytest

from mmstream.config import FeedConfig
from mmstream.sources.push import PushSource
from mmstream.types import Reading, SourceItem, Status, TextSpan

FEED = FeedConfig(id="desk", url="push:")


def make_source(max_queued: int = 1000) -> PushSource:
    return PushSource(FEED, max_queued=max_queued)


def test_words_and_readings_come_out_in_the_order_they_were_pushed() -> None:
    source = make_source()
    source.push_text("smoke in hall 3", start_s=10.0, end_s=12.0)
    source.push_reading("temperature", 61.5, at_s=11.0)
    source.push_text("all clear", start_s=13.0)
    source.push(Reading(feed_id="desk", start_s=14.0, end_s=14.0, sensor="gas", value=1.0))
    source.stop()
    first, second, third, fourth = list(source)
    assert isinstance(first, TextSpan)
    assert (first.feed_id, first.start_s, first.end_s, first.origin) == ("desk", 10.0, 12.0, "pushed")
    assert isinstance(second, Reading)
    assert (second.sensor, second.value, second.start_s, second.end_s) == ("temperature", 61.5, 11.0, 11.0)
    assert third.end_s == third.start_s == 13.0
    assert fourth.start_s == 14.0


def test_when_nobody_reads_more_is_refused_and_counted_and_what_was_taken_stays() -> None:
    source = make_source(max_queued=3)
    taken = [source.push_reading("t", number, at_s=number) for number in range(10)]
    assert taken == [True] * 3 + [False] * 7
    assert source.counters["pushed_refused"] == 7
    source.stop()
    assert [item.start_s for item in source] == [0, 1, 2]


def test_stop_wakes_a_reader_that_waits() -> None:
    source = make_source()
    got: list[SourceItem] = []
    first = threading.Event()

    def read() -> None:
        for item in source:
            if isinstance(item, Status):
                continue
            got.append(item)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    source.push_text("one", start_s=1.0)
    assert first.wait(10)
    source.stop()
    reader.join(10)
    assert not reader.is_alive()
    assert len(got) == 1


def test_time_goes_on_while_nobody_says_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmstream.sources.push.TICK_S", 0.001)
    moments = iter(range(100, 200))
    source = PushSource(FEED, now=lambda: float(next(moments)))
    ticks = []
    for item in source:
        assert isinstance(item, Status)
        ticks.append((item.state, item.start_s))
        if len(ticks) == 3:
            source.stop()
    assert ticks == [("live", 100.0), ("live", 101.0), ("live", 102.0)]


def test_time_goes_on_in_a_flood() -> None:
    now_s = 100.0
    source = PushSource(FEED, now=lambda: now_s)
    ticks = []
    for item in source:
        if isinstance(item, Status):
            ticks.append(item.start_s)
        now_s += 0.125
        if now_s > 103.0:
            source.stop()
        source.push_text("more", start_s=now_s)  # somebody always says something before the next tick
    assert ticks == [100.0, 101.0, 102.0, 103.0]


def test_pushing_after_stop_is_refused() -> None:
    source = make_source()
    source.stop()
    assert not source.push_text("too late", start_s=1.0)
    assert not source.push_reading("t", 1.0, at_s=1.0)
    assert list(source) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_where_they_come_in(value: float) -> None:
    source = make_source()
    with pytest.raises(ValueError, match="value: want a finite number"):
        source.push_reading("t", value, at_s=1.0)
    with pytest.raises(ValueError, match="start_s: want a finite number"):
        source.push_text("x", start_s=value)


def test_many_writers_lose_nothing_while_there_is_room() -> None:
    source = make_source(max_queued=400)
    writers = [
        threading.Thread(target=lambda: [source.push_reading("t", n, at_s=n) for n in range(100)]) for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    source.stop()
    assert len(list(source)) == 400
    assert source.counters["pushed_refused"] == 0
