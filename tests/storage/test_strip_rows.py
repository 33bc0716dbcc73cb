"""Strips in the archive: beside the moments, in archives of before too, and gone with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.storage.archive import DAY_S, ArchiveWriter
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.moment_query import MomentQuery
from mmstream.storage.strip_rows import STRIPS, strip_rows, unpacked_rows
from mmstream.types import Strip
from tests.storage.moments import make_moment

DAY = 20_000 * DAY_S


def make_strip(start_s: float = DAY, num_windows: int = 3, **changes: Any) -> Strip:
    random = np.random.default_rng(int(start_s))
    starts_s = start_s + np.sort(random.uniform(0, 298, num_windows)).round(3)
    scores = random.uniform(0, 9, (num_windows, 4))
    settings: dict[str, Any] = {
        "feed_id": "gate",
        "start_s": start_s,
        "end_s": start_s + 300.0,
        "covered_s": 299.0,
        "aspects": (("look", "picture", 1.0), ("sound", "sound", 0.5)),
        "windows": np.column_stack([starts_s, starts_s + 2.0, scores]),
    }
    return Strip(**(settings | changes))


@pytest.fixture
def writer(tmp_path: Path) -> ArchiveWriter:
    return ArchiveWriter(str(tmp_path / "archive"), keep_days=30, max_gb=1)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArchiveReader:
    monkeypatch.setattr("mmstream.storage.archive_open.FRESH_S", 0.0)
    return ArchiveReader(str(tmp_path / "archive"))


def starts(reader: ArchiveReader, feed_id: str = "gate", **between: float) -> list[float]:
    asked = {"since_s": DAY, "until_s": DAY + DAY_S} | between
    return sorted(float(at_s) for part in reader.strips(feed_id=feed_id, **asked) for at_s in part.starts_s)


def test_strips_come_back_with_their_moment_in_order_of_time(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    strips = [make_strip(DAY + 300.0), make_strip(DAY, 5)]
    writer.write([make_moment(start_s=DAY + 700.0, strips=tuple(strips))], {})
    (part,) = reader.strips(feed_id="gate", since_s=DAY, until_s=DAY + DAY_S)
    assert part.starts_s.tolist() == [DAY, DAY + 300.0]
    assert part.counts.tolist() == [5, 3]
    assert part.aspects == strips[0].aspects
    windows = np.concatenate([strips[1].windows, strips[0].windows])
    np.testing.assert_allclose(part.times_s, windows[:, :2], rtol=0, atol=1e-4)
    np.testing.assert_allclose(part.scores, windows[:, 2:4], atol=1e-5)
    np.testing.assert_allclose(part.heights, windows[:, 4:], atol=5e-3)
    assert (part.covered_s == 299.0).all()


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.booleans())
def test_whatever_is_packed_is_unpacked(counts: list[int], missing: bool) -> None:
    strips = [make_strip(DAY + 300.0 * number, count) for number, count in enumerate(counts)]
    if missing:
        strips[0].windows[:, 5] = np.nan
    table = strip_rows([make_moment(strips=tuple(strips))])
    assert table is not None
    (part,) = unpacked_rows("gate", table)
    assert part.counts.tolist() == counts
    windows = np.concatenate([strip.windows for strip in strips])
    np.testing.assert_allclose(part.heights, windows[:, 4:], atol=5e-3)
    np.testing.assert_allclose(part.times_s, windows[:, :2], rtol=0, atol=1e-4)


def test_another_set_of_aspects_is_kept_apart(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    windows = make_strip(DAY + 300.0, 2).windows[:, :5]
    deaf = make_strip(DAY + 300.0, aspects=(("look", "picture", 1.0),), windows=windows)
    writer.write([make_moment(start_s=DAY, strips=(make_strip(), deaf))], {})
    parts = reader.strips(feed_id="gate", since_s=DAY, until_s=DAY + DAY_S)
    assert sorted(part.heights.shape for part in parts) == [(2, 1), (3, 2)]


def test_only_what_was_asked_for_is_read(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    strips = [make_strip(DAY + 300.0 * number) for number in range(4)]
    writer.write([make_moment(start_s=DAY, strips=(*strips, make_strip(DAY, feed_id="it's")))], {})
    assert starts(reader, since_s=DAY + 300.0, until_s=DAY + 900.0) == [DAY + 300.0, DAY + 600.0]
    assert starts(reader, "it's") == [DAY]
    assert starts(reader, "nobody") == []


def test_written_again_nothing_is_doubled(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    for _ in range(2):
        writer.write([make_moment(start_s=DAY, strips=(make_strip(),)), make_moment(start_s=DAY)], {})
    assert starts(reader) == [DAY]


def test_an_archive_of_before_strips_were_kept_has_none_and_takes_them(
    writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    writer.write([make_moment(start_s=DAY)], {})
    assert starts(reader) == []
    assert STRIPS not in reader._names()
    writer.write([make_moment(start_s=DAY + 400.0, strips=(make_strip(),))], {})
    assert starts(reader) == [DAY]


def test_old_strips_go_with_the_moments_of_their_days(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    late = DAY + 40 * DAY_S
    writer.write([make_moment(start_s=DAY + 400.0, strips=(make_strip(),))], {})
    writer.write([make_moment(start_s=late, strips=(make_strip(late - 300.0),))], {})
    assert writer.tidy(late + 60.0).num_expired == 1
    assert starts(reader, until_s=late) == [late - 300.0]


def test_search_does_not_see_strips(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment(start_s=DAY, strips=(make_strip(),))], {})
    assert [moment.start_s for moment in reader.find(MomentQuery()).moments] == [DAY]
    assert {kind.channel for kind in reader.channels()} == {"vision"}


def test_words_are_listed_with_their_times(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment(start_s=DAY + at_s, text=text) for at_s, text in ((9.0, "b"), (5.0, "a"), (7.0, ""))], {})
    found = reader.spoken(feed_id="gate", since_s=DAY, until_s=DAY + 60.0)
    assert found == [(DAY + 5.0, DAY + 7.0, "a"), (DAY + 9.0, DAY + 11.0, "b")]


def test_a_moment_keeps_what_several_channels_make_up_together(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment(start_s=DAY, aspects={"look": 0.01234567})], {})
    (moment,) = reader.moments("gate", DAY, DAY + 60.0)
    assert moment.aspects == {"look": 0.01235}
