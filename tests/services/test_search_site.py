"""From what a feed shows and says to what search finds, through whole sites."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mmstream.config import SiteConfig
from mmstream.pipeline import LocalSite
from mmstream.sources.synthetic import render_clip
from mmstream.storage.archive import ArchiveWriter
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.moment_query import FoundMoment, MomentQuery
from mmstream.storage.open import open_media, open_store

CAPTIONS = """1
00:00:01,000 --> 00:00:03,000
A quiet morning on the walkway.

2
00:00:06,000 --> 00:00:08,000
Smoke behind the bench!

3
00:00:10,000 --> 00:00:11,500
有人在走道上打架
"""


def watched(tmp_path: Path, **feed: Any) -> ArchiveReader:
    """One recording, watched to its end by a site in this process that keeps moments."""
    site = SiteConfig.model_validate(
        {
            "site": {"data_dir": tmp_path / "data"},
            "encoders": {"device": "cpu"},
            "feeds": [{"id": "walk", **feed}],
        }
    )
    store = open_store(site, write=True)
    local = LocalSite(site, store=store, media=open_media(site), archive=ArchiveWriter.from_site(site))
    asyncio.run(local.run())
    store.close()
    return ArchiveReader.from_site(site)


@pytest.fixture(scope="module")
def walkway(tmp_path_factory: pytest.TempPathFactory) -> ArchiveReader:
    folder = tmp_path_factory.mktemp("walkway")
    render_clip("walkway", folder / "walk.mp4", duration_s=14, seed=1)
    (folder / "walk.srt").write_text(CAPTIONS, encoding="utf-8")
    return watched(folder, url=str(folder / "walk.mp4"), captions=str(folder / "walk.srt"))


def found(reader: ArchiveReader, words: str) -> list[FoundMoment]:
    return list(reader.find(MomentQuery(words=words)).moments)


@pytest.mark.parametrize(("words", "at_s"), [("smoke", 6.0), ("打架", 10.0), ("morning", 1.0)])
def test_captions_are_found_on_their_seconds(walkway: ArchiveReader, words: str, at_s: float) -> None:
    moments = found(walkway, words)
    assert moments
    assert all(moment.start_s < at_s + 2.0 and at_s < moment.end_s + 2.0 for moment in moments)


def test_moments_are_kept_with_vectors_of_what_was_seen_and_heard(walkway: ArchiveReader) -> None:
    moments = walkway.find(MomentQuery()).moments
    assert 2 <= len(moments) <= 8
    assert {"appearance", "filterbank"} <= set(moments[0].models)
    assert {kind.channel for kind in walkway.channels()} >= {"appearance", "filterbank"}
    like = walkway.find(MomentQuery(like=moments[0].moment_id)).moments
    assert all(abs(moment.start_s - moments[0].start_s) >= 10.0 for moment in like)


def test_a_site_whose_archive_cannot_be_written_watches_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render_clip("walkway", tmp_path / "walk.mp4", duration_s=6, seed=1)

    def full(*_: object) -> None:
        raise OSError("No space left on device (os error 28)")

    monkeypatch.setattr(ArchiveWriter, "_put", full)
    watched(tmp_path, url=str(tmp_path / "walk.mp4"))
    with sqlite3.connect(tmp_path / "data" / "ledger.db") as ledger:
        (count,) = ledger.execute("select count(*) from feeds").fetchone()
    ledger.close()
    assert count == 1


@pytest.mark.footage
def test_the_captions_of_the_space_telescope_are_found(footage: Path, tmp_path: Path) -> None:
    reader = watched(tmp_path, url=str(footage / "clips" / "nasa_13013.mp4"))
    (moment, *_) = found(reader, "Goddard Greenbelt")
    assert "Goddard Space Flight Center" in moment.text
    assert moment.start_s <= 13.0
    assert found(reader, "space telescope")
    assert found(reader, "optical and science segment of the Webb")[0].start_s < 5.0
