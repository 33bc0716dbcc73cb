"""Captions in the file, and files beside it, land on the seconds that they are about, through the real feed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mmstream.beside import read_beside
from mmstream.config import EncoderSection, FeedConfig, SiteConfig
from mmstream.feed import FeedRunner
from mmstream.types import EncodedWindow
from tests.rtsp.clips import make_clip

SRT = "1\n00:00:01,200 --> 00:00:01,800\nFire in hall three\n\n2\n00:00:xx,000 --> 00:00:04,000\nbroken\n"
SITE = SiteConfig(encoders=EncoderSection(edge=("words",), replicas=()))


def texts_by_window(feed: FeedConfig) -> tuple[dict[float, str], dict[str, float]]:
    """-> (start of each window with words -> the words, counters), once the feed has been read to its end."""
    runner = FeedRunner(feed, SITE, inputs={})
    found: dict[float, str] = {}
    runner.start()
    deadline = time.monotonic() + 120
    while not runner.drained:
        assert time.monotonic() < deadline, runner.status()["sentence"]
        found |= {w.start_s: " ".join(e.text for e in w.embeddings) for w in windows_of(runner.take(100))}
        threading.Event().wait(0.01)
    counters = dict(runner.status()["counters"])
    assert runner.status()["state"] == "ended"
    runner.stop()
    return {start_s: text for start_s, text in found.items() if text}, counters


def windows_of(items: Sequence[object]) -> list[EncodedWindow]:
    return [item for item in items if isinstance(item, EncodedWindow)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=5.0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_a_file_of_captions_counts_from_the_start_of_the_feed(tmp_path: Path, clip: Path, encoding: str) -> None:
    path = tmp_path / "clip.srt"
    path.write_text(SRT, encoding=encoding)
    texts, counters = texts_by_window(FeedConfig(id="cam", url=str(clip), captions=str(path)))
    assert texts == {0.0: "Fire in hall three", 1.0: "Fire in hall three"}
    assert (counters["beside_damaged"], counters["beside_failed"]) == (1, 0)


def test_files_beside_a_camera_that_cannot_be_read_do_not_keep_it_from_being_watched(
    tmp_path: Path, clip: Path
) -> None:
    (tmp_path / "readings.csv").write_bytes(b"\x00\x01 no table")
    feed = FeedConfig(
        id="cam", url=str(clip), captions=str(tmp_path / "none.srt"), readings=str(tmp_path / "readings.csv")
    )
    texts, counters = texts_by_window(feed)
    assert texts == {}
    assert counters["beside_failed"] == 2
    assert counters["windows"] >= 4


def test_captions_and_readings_come_in_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(SRT)
    (tmp_path / "a.csv").write_text("time,co2\n0.5,400\n2,410\n")
    feed = FeedConfig(id="cam", url="x.mp4", captions=str(tmp_path / "a.srt"), readings=str(tmp_path / "a.csv"))
    assert [item.start_s for item in read_beside(feed, epoch_s=1000.0).items] == [1000.5, 1001.2, 1002.0]


@pytest.mark.footage
def test_the_captions_inside_a_file_with_two_tracks_of_everything_land_on_their_seconds(footage: Path) -> None:
    feed = FeedConfig(id="nasa", url=str(footage / "clips" / "nasa_13013.mp4"))
    texts, counters = texts_by_window(feed)
    # spoken at 0.21-4.26, 4.26-8.35, 8.35-12.47 and from 12.47 on
    assert sorted(texts) == [float(second) for second in range(14)]
    first, second, third, fourth = (texts[start_s].split("\n")[-1] for start_s in (1.0, 6.0, 10.0, 12.0))
    for line, words in (
        (first, "segment of the Webb"),
        (second, "cleanrooms"),
        (third, "Goddard"),
        (fourth, "element"),
    ):
        assert words in line
    assert texts[1.0] == first
    assert texts[3.0].split("\n") == [first, second]
    assert texts[5.0] == second
    assert texts[7.0].split("\n") == [second, third]
    assert texts[9.0] == third
    assert counters["packets_text"] == 5
    assert counters["damaged_texts"] == 0


@pytest.mark.footage
@pytest.mark.parametrize(
    ("name", "count"), [("bom-utf-16-le.srt", 2), ("no-indexes.srt", 2), ("utf-8.srt", 1), ("windows-1252.srt", 1)]
)
def test_real_files_beside_a_real_clip_are_heard_in_every_encoding(footage: Path, name: str, count: int) -> None:
    feed = FeedConfig(
        id="cam", url=str(footage / "clips" / "nasa_13013.mp4"), captions=str(footage / "subtitles" / name)
    )
    texts, counters = texts_by_window(feed)
    assert counters["beside_failed"] == 0
    wanted = [item for item in read_beside(feed, epoch_s=0.0).items if item.start_s < 12.5]
    assert len(wanted) == count
    for item in wanted:
        words = " ".join(getattr(item, "text", "").split())
        inside = [start_s for start_s, text in texts.items() if words in text]
        assert inside
        assert all(start_s < item.end_s and start_s + 2.0 > item.start_s for start_s in inside)
