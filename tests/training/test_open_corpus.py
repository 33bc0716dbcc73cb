"""A corpus is what a site has seen, split by time, with what was found in it; or a folder of clips."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mmstream.config import EncoderSection, FeedConfig, SiteConfig, SiteSection
from mmstream.errors import ConfigError, Damaged, StoreError
from mmstream.storage.archive import ArchiveWriter
from mmstream.storage.base import Commit, Store
from mmstream.storage.media import FolderMediaStore
from mmstream.storage.moment_listing import PAGE
from mmstream.storage.open import open_store
from mmstream.training.corpus import Corpus
from mmstream.training.footage import Burst
from mmstream.training.footage_files import DAY_S, FootageFiles
from mmstream.training.open_corpus import corpus_of_clips, open_corpus, split_of
from mmstream.training.pinned import pinned
from mmstream.types import Alert, Moment, Verdict, alert_id
from tests.rtsp.clips import make_clip
from tests.training.test_footage_files import MemoryMedia, small_burst

NOW_S = 1_700_000_000.0
BEGAN_S = NOW_S - 10_000.0
EVERY_S = 100.0


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    """100 bursts of the gate and 50 of the yard, which came later."""
    config = SiteConfig(site=SiteSection(data_dir=tmp_path), encoders=EncoderSection(options={"filterbank": {}}))
    media = media_of(config)
    for name, first in (("gate", 0), ("yard", 50)):
        files = FootageFiles(name, media, max_bytes=10**9, keep_s=1e6)
        for number in range(first, 100):
            files.push(dataclasses.replace(small_burst(BEGAN_S + number * EVERY_S), feed_id=name))
    return config


@pytest.fixture
def store(site: SiteConfig) -> Iterator[Store]:
    opened = open_store(site, write=True)
    opened.put_feed("gate", FeedConfig(id="gate", url="rtsp://a/1").model_dump(mode="json"))
    yard = FeedConfig(id="yard", url="rtsp://a/2", budget_alerts_per_day=7)
    opened.put_feed("yard", yard.model_dump(mode="json"))
    yield opened
    opened.close()


def media_of(site: SiteConfig) -> FolderMediaStore:
    return FolderMediaStore.from_site(site)


def alert_at(store: Store, feed_id: str, start_s: float, end_s: float, verdict: Verdict | None, **more: object) -> None:
    alert = Alert(
        alert_id=alert_id(feed_id, start_s),
        feed_id=feed_id,
        start_s=start_s,
        end_s=end_s,
        state="closed",
        severity="alert",
        surprise=4.0,
        peak_s=start_s,
        expected_every_s=1e5,
        shares={"picture": 1.0},
    )
    store.commit(Commit(feed_id=feed_id, alerts=[dataclasses.replace(alert, **more)]))  # type: ignore[arg-type]
    if verdict is not None:
        store.update_alert(alert.alert_id, {"verdict": verdict})


def starts_of(bursts: Iterator[Burst]) -> list[float]:
    return [round((burst.start_s - BEGAN_S) / EVERY_S) for burst in bursts]


def test_the_newest_bursts_of_all_feeds_together_are_held_out(site: SiteConfig, store: Store) -> None:
    corpus = open_corpus(site, store, media_of(site), now_s=NOW_S)
    assert corpus.feeds == ("gate", "yard")
    train = {feed: starts_of(corpus.bursts(feed, "train")) for feed in corpus.feeds}
    held_out = {feed: starts_of(corpus.bursts(feed, "held_out")) for feed in corpus.feeds}
    assert [*train["gate"], *held_out["gate"]] == list(range(100))
    assert [*train["yard"], *held_out["yard"]] == list(range(50, 100))
    num_held_out = len(held_out["gate"]) + len(held_out["yard"])
    assert num_held_out == pytest.approx(site.training.held_out_share * 150, abs=2)
    assert held_out["gate"] == held_out["yard"]  # the same time of both
    assert corpus.alerts_per_day == {"gate": 2.0, "yard": 7.0}
    assert corpus.encoders == {"filterbank": {}}


def test_what_overlaps_an_alert_is_no_example_of_what_is_normal_unless_that_was_a_false_alarm(
    site: SiteConfig, store: Store
) -> None:
    def at(number: float) -> float:
        return BEGAN_S + number * EVERY_S

    alert_at(store, "gate", at(10) - 1, at(10) + 1, "true")
    alert_at(store, "gate", at(20), at(22) + 1, None)
    alert_at(store, "gate", at(30), at(31), "unsure")
    alert_at(store, "gate", at(40), at(41), "false_alarm")
    alert_at(store, "gate", at(45) + 6, at(46) - 1, "true")  # between two bursts
    alert_at(store, "gate", at(50), at(50) + 1, None, severity="notice")
    alert_at(store, "yard", at(60), at(60) + 1, "true")
    alert_at(store, "gate", at(0) - 40_000, at(0) + 1, None)  # it began before the footage
    corpus = open_corpus(site, store, media_of(site), now_s=NOW_S)
    left = {*starts_of(corpus.bursts("gate", "train")), *starts_of(corpus.bursts("gate", "held_out"))}
    assert set(range(100)) - left == {0, 10, 20, 21, 22, 30, 50}
    assert 60 not in starts_of(corpus.bursts("yard", "train"))
    assert [alert.verdict for alert in corpus.alerts if alert.start_s == at(10) - 1] == ["true"]
    assert [alert.start_s for alert in corpus.alerts] == sorted(alert.start_s for alert in corpus.alerts)


def test_more_alerts_than_fit_on_a_page_are_all_there(site: SiteConfig, store: Store) -> None:
    for number in range(450):
        alert_at(store, "gate", BEGAN_S + 10 * number, BEGAN_S + 10 * number + 1, None)
    corpus = open_corpus(site, store, media_of(site), now_s=NOW_S)
    assert len(corpus.alerts) == 450


def test_a_corpus_travels_to_another_process_and_reads_there(site: SiteConfig, store: Store) -> None:
    corpus = open_corpus(site, store, media_of(site), now_s=NOW_S)
    sent = pickle.dumps(corpus)
    assert len(sent) < 20_000
    there: Corpus = pickle.loads(sent)
    assert starts_of(there.bursts("gate", "train")) == starts_of(corpus.bursts("gate", "train"))
    assert list(there.moments("gate", "train")) == []  # no archive has been begun


def test_a_site_without_footage_gives_an_empty_corpus(tmp_path: Path) -> None:
    config = SiteConfig(site=SiteSection(data_dir=tmp_path))
    opened = open_store(config, write=True)
    opened.put_feed("gate", FeedConfig(id="gate", url="rtsp://a/1").model_dump(mode="json"))
    corpus = open_corpus(config, opened, media_of(config), now_s=NOW_S)
    opened.close()
    assert corpus.from_s == corpus.split_s == corpus.to_s == NOW_S
    assert list(corpus.bursts("gate", "train")) == list(corpus.bursts("gate", "held_out")) == []


def test_a_corpus_reads_the_same_though_the_feed_records_on_and_leaves_nothing_behind(
    site: SiteConfig, store: Store
) -> None:
    corpus = open_corpus(site, store, media_of(site), now_s=NOW_S)
    before = [burst.start_s for burst in corpus.read_bursts("gate", 0, 1e12)]
    there: Corpus = pickle.loads(pickle.dumps(corpus))
    thinning = FootageFiles("gate", media_of(site), max_bytes=30_000, keep_s=1e6)
    thinning.push(small_burst(NOW_S))
    assert thinning.counters["footage_thinned"] > 80
    for reader in (corpus, there):
        assert [burst.start_s for burst in reader.read_bursts("gate", 0, 1e12)] == before
    pins = site.site.data_dir / "pinned"
    assert len(list(pins.iterdir())) == 1
    del corpus, reader
    gc.collect()
    assert list(pins.iterdir()) == []
    assert list(there.read_bursts("gate", 0, 1e12)) == []


def test_what_a_killed_night_has_pinned_is_removed_by_the_next_one(site: SiteConfig, store: Store) -> None:
    left_over, at_work = (site.site.data_dir / "pinned" / name for name in ("dead", "alive"))
    for folder in (left_over, at_work):
        folder.mkdir(parents=True)
    os.utime(left_over, (NOW_S - 3 * DAY_S, NOW_S - 3 * DAY_S))
    open_corpus(site, store, media_of(site), now_s=NOW_S)
    assert not left_over.exists()
    assert at_work.exists()


def test_footage_that_cannot_be_linked_is_copied(tmp_path: Path) -> None:
    media = MemoryMedia()
    FootageFiles("cam", media, max_bytes=10**9, keep_s=1e9).push(small_burst(60.0))
    own = pinned(media, ["cam"], tmp_path, now_s=NOW_S)
    media.files.clear()
    assert [burst.start_s for burst in own("cam", 0.0, 100.0)] == [60.0]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_both_parts_have_something_as_soon_as_there_are_two_bursts(share: float) -> None:
    starts = [0.0, 60.0]
    assert split_of(starts, share) == 60.0


# -- moments -----------------------------------------------------------------------------------------


def make_moment(feed_id: str, number: int) -> Moment:
    vectors = {"vision": np.full(5, number, np.float16)} if number % 3 else {}
    return Moment(
        feed_id=feed_id,
        start_s=BEGAN_S + number,
        end_s=BEGAN_S + number + 2,
        surprise=1.5,
        p={"vision": 0.25, "motion": 0.5},
        shares={"picture": 1.0},
        state="alert" if number == 7 else "normal",
        vectors=vectors,
        models={"vision": "clip@1"} if vectors else {},
        text="hello" if number == 7 else "",
        alert_id="gate:1" if number == 7 else "",
        aspects={"movement": 0.125},
    )


def test_moments_come_in_order_of_time_with_their_vectors_a_page_at_a_time(site: SiteConfig, store: Store) -> None:
    writer = ArchiveWriter.from_site(site)
    count = PAGE + 40
    for feed_id in ("yard", "gate"):
        writer.write([make_moment(feed_id, number) for number in reversed(range(count))], {})
    corpus = open_corpus(site, store, media_of(site), now_s=NOW_S)
    found = list(corpus.read_moments("gate", BEGAN_S + 1, BEGAN_S + count - 1))
    assert [moment.start_s for moment in found] == [BEGAN_S + number for number in range(1, count - 1)]
    for number, moment in enumerate(found, start=1):
        expected = make_moment("gate", number)
        assert (moment.feed_id, moment.end_s, moment.state) == ("gate", expected.end_s, expected.state)
        assert (moment.p, moment.shares, moment.aspects) == (expected.p, expected.shares, expected.aspects)
        assert (moment.text, moment.alert_id, moment.models) == (expected.text, expected.alert_id, expected.models)
        assert moment.vectors.keys() == expected.vectors.keys()
        for channel, vector in moment.vectors.items():
            np.testing.assert_array_equal(vector, expected.vectors[channel])
    of_all = [moment.feed_id for moment in corpus.read_moments("", BEGAN_S, BEGAN_S + 3)]
    assert of_all == ["gate"] * 3 + ["yard"] * 3
    there: Corpus = pickle.loads(pickle.dumps(corpus))
    assert len(list(there.moments("gate", "train"))) == count


def test_an_archive_that_cannot_be_read_is_said_and_one_that_is_turned_off_is_not_asked(
    site: SiteConfig, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "archive").write_text("a file where a folder is wanted")
    corpus = open_corpus(site, store, media_of(site), now_s=NOW_S)
    with pytest.raises(StoreError, match="is a file"):
        list(corpus.moments("gate", "train"))
    off = site.model_copy(update={"archive": site.archive.model_copy(update={"enabled": False})})
    assert list(open_corpus(off, store, media_of(off), now_s=NOW_S).moments("gate", "train")) == []


# -- clips -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(3):
        make_clip(folder / f"{number}.mp4", seconds=11.0)
    return folder


def test_clips_are_one_feed_whose_every_second_is_a_burst_and_whose_last_clip_is_held_out(clips: Path) -> None:
    noted: list[str] = []
    corpus = corpus_of_clips(clips, held_out_share=0.3, note=noted.append)
    assert noted == ["0.mp4", "1.mp4", "2.mp4"]
    assert corpus.feeds == ("clip",)
    train, held_out = list(corpus.bursts("clip", "train")), list(corpus.bursts("clip", "held_out"))
    assert (len(train), len(held_out)) == (4, 2)  # 11 s are two bursts of 4 s and a rest
    for first, second in pairwise([*train, *held_out]):
        assert second.start_s - first.start_s == 4 or second.start_s - first.end_s >= 60
    assert all(glimpse.picture is not None and glimpse.mel is not None for glimpse in train[0].glimpses)
    times_s = [sample.at_s for burst in train for sample in burst.motion]
    assert len(times_s) == len(set(times_s)) >= 4 * 30  # every frame with something moving, ten a second


def test_one_clip_is_split_within_and_the_corpus_travels(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "0.mp4").write_bytes((clips / "0.mp4").read_bytes())
    corpus = corpus_of_clips(folder, held_out_share=0.5)
    there: Corpus = pickle.loads(pickle.dumps(corpus))
    assert [len(list(there.bursts("clip", part))) for part in ("train", "held_out")] == [1, 1]


def test_clips_that_are_not_there_or_cannot_be_read_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        corpus_of_clips(tmp_path / "nowhere", held_out_share=0.3)
    (tmp_path / "bad.mp4").write_bytes(b"no clip")
    with pytest.raises(Damaged, match="bad"):
        corpus_of_clips(tmp_path, held_out_share=0.3)


@pytest.mark.footage
def test_three_walks_of_ped2_give_enough_moving_pictures_to_train_on(footage: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        clip = footage / "ped2" / "train" / f"{number:02d}.mp4"
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
    corpus = corpus_of_clips(tmp_path, held_out_share=0.3)
    assert sum(len(burst.motion) for burst in corpus.bursts("clip", "train")) > 200
    assert sum(len(burst.motion) for burst in corpus.bursts("clip", "held_out")) > 100
