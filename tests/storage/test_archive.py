"""The archive: written by one process, read by others, bounded, and whole after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmstream.config import SiteConfig
from mmstream.errors import StoreError
from mmstream.storage import archive, archive_search
from mmstream.storage.archive import DAY_S, ArchiveWriter
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.moment_query import MomentQuery, NoSuchExample, WrongSearch
from mmstream.storage.moment_rows import VectorTable
from tests.storage.moments import direction, make_moment

DAY = 20_000 * DAY_S


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "archive")


@pytest.fixture
def writer(folder: str) -> ArchiveWriter:
    return ArchiveWriter(folder, keep_days=30, max_gb=1)


@pytest.fixture
def reader(folder: str, monkeypatch: pytest.MonkeyPatch) -> ArchiveReader:
    monkeypatch.setattr("mmstream.storage.archive_open.FRESH_S", 0.0)
    return ArchiveReader(folder)


def ids(reader: ArchiveReader, **query: Any) -> list[str]:
    return [moment.moment_id for moment in reader.find(MomentQuery(**query)).moments]


# --- what is written is found ------------------------------------------------------------------------------


def test_a_moment_comes_back_as_it_was(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    moment = make_moment(start_s=5.25, state="alert", alert_id="gate:5000", text="Smoke!", picture="feeds/gate/x.jpg")
    writer.write([moment], {"gate:5250": b"\xff\xd8jpeg"})
    (found,) = reader.find(MomentQuery()).moments
    assert (found.moment_id, found.feed_id, found.start_s, found.end_s) == ("gate:5250", "gate", 5.25, 7.25)
    assert (found.state, found.alert_id, found.text) == ("alert", "gate:5000", "Smoke!")
    assert (found.p, found.models) == ({"vision": 0.3}, {"vision": "clip@1"})
    assert (found.picture, found.pictured) == ("feeds/gate/x.jpg", True)
    assert reader.jpeg("gate:5250") == b"\xff\xd8jpeg"


def test_a_picture_that_is_too_large_is_left_out(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment(start_s=1.0)], {"gate:1000": b"x" * 4097})
    assert reader.jpeg("gate:1000") is None
    assert not reader.find(MomentQuery()).moments[0].pictured


def test_written_again_it_overwrites(writer: ArchiveWriter, reader: ArchiveReader, folder: str) -> None:
    writer.write([make_moment(start_s=1.0, text="before")], {})
    writer.write([make_moment(start_s=1.0, text="again"), make_moment(start_s=1.0, text="after")], {})
    writer.write([make_moment(start_s=9.0), make_moment("yard", 1.0)], {})
    restarted = ArchiveWriter(folder, keep_days=30, max_gb=1)
    restarted.write([make_moment("yard", 1.0)], {})
    restarted.write([make_moment(start_s=1.0, text="restarted"), make_moment(start_s=10.0)], {})
    assert ids(reader) == ["gate:10000", "gate:9000", "yard:1000", "gate:1000"]
    assert reader.find(MomentQuery(words="restarted")).moments[0].moment_id == "gate:1000"
    assert len(reader.nearest(reader.channels()[0], direction(1))) == 4


def test_the_newest_come_first_page_by_page(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment(feed, at_s) for at_s in range(10) for feed in ("a", "b")], {})
    cursor, seen = None, []
    while True:
        page = reader.find(MomentQuery(limit=3, cursor=cursor))
        seen += [moment.moment_id for moment in page.moments]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [f"{feed}:{at_s * 1000}" for at_s in range(9, -1, -1) for feed in ("b", "a")]


def test_time_feed_and_state_narrow_every_kind_of_search(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    like = direction(5)
    writer.write(
        [
            make_moment(feed, at_s, state=state, text="smoke", vectors={"vision": like})
            for feed in ("a", "b")
            for at_s, state in ((10, "normal"), (20, "alert"), (30, "alert"))
        ],
        {},
    )
    narrow = {"feed_id": "b", "state": "alert", "since_s": 15.0, "until_s": 30.0}
    for query in ({}, {"words": "smoke"}, {"like": "a:10000"}):
        assert ids(reader, **query, **narrow) == ["b:20000"]


def test_what_is_quoted_is_no_sql(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment()], {})
    assert ids(reader, feed_id="x' OR '1'='1") == []
    assert reader.jpeg("x' OR '1'='1") is None
    with pytest.raises(NoSuchExample):
        reader.find(MomentQuery(like="x' OR '1'='1"))


# --- by words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("smoke", ["gate:1000"]),
        ("SMOKES", ["gate:1000"]),
        ("打架", ["gate:2000"]),
        ("斗殴", ["gate:2000"]),
        ("火", ["gate:3000"]),
        ("ｇｏｄｄａｒｄ", ["gate:4000"]),
        ("cafe", ["gate:4000"]),
        ("エスカレーター", ["gate:5000"]),
        ("nothing of this", []),
        ("...", []),
    ],
)
def test_words_are_found_in_any_script(
    writer: ArchiveWriter, reader: ArchiveReader, words: str, found: list[str], indexed: bool
) -> None:
    texts = (
        "Smoke near the ticket hall",
        "两人在地铁站打架斗殴",
        "三号楼发现火灾",
        "at the Goddard Café",
        "駅のエスカレーターが止まった",
    )
    writer.write([make_moment(start_s=float(number), text=text) for number, text in enumerate(texts, 1)], {})
    if indexed:
        writer.tidy(10.0)
    assert ids(reader, words=words) == found


def test_words_written_after_the_index_was_made_are_found(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment(start_s=1.0, text="smoke")], {})
    writer.tidy(10.0)
    writer.write([make_moment(start_s=2.0, text="more smoke")], {})
    assert sorted(ids(reader, words="smoke")) == ["gate:1000", "gate:2000"]


def test_the_text_is_shown_around_the_words(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment(start_s=1.0, text="all is well " * 100 + "fire in the yard " + "again " * 100)], {})
    (found,) = reader.find(MomentQuery(words="fire")).moments
    assert "fire in the yard" in found.text
    assert len(found.text) < 260
    assert found.why == ("words: fire",)


# --- by example and in the spaces of pictures --------------------------------------------------------------


def test_more_like_this_looks_across_feeds_and_leaves_itself_out(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    same, other = direction(1), direction(2)
    writer.write(
        [
            make_moment("a", 100, vectors={"vision": same}),
            make_moment("a", 103, vectors={"vision": same}),
            make_moment("b", 500, vectors={"vision": same + np.float16(0.01)}),
            make_moment("b", 600, vectors={"vision": other}),
        ],
        {},
    )
    page = reader.find(MomentQuery(like="a:100000"))
    assert [moment.moment_id for moment in page.moments] == ["b:500000", "b:600000"]
    assert page.moments[0].why == ("vision: 1.00",)


def test_like_an_alert_takes_its_strangest_window_and_none_of_its_own(
    writer: ArchiveWriter, reader: ArchiveReader
) -> None:
    dull, strange = direction(1), direction(2)
    of_alert = {"state": "alert", "alert_id": "a:100000"}
    writer.write(
        [
            make_moment("a", 100, vectors={"vision": dull}, surprise=1.0, **of_alert),
            make_moment("a", 140, vectors={"vision": strange}, surprise=5.0, **of_alert),
            make_moment("b", 500, vectors={"vision": dull}),
            make_moment("b", 600, vectors={"vision": strange}),
        ],
        {},
    )
    assert ids(reader, like="a:100000", limit=1) == ["b:600000"]
    assert not {"a:100000", "a:140000"} & set(ids(reader, like="a:100000"))


def test_vectors_of_another_model_are_never_compared(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    same = direction(1)
    writer.write(
        [
            make_moment("a", 100, vectors={"vision": same}),
            make_moment("b", 500, vectors={"vision": same}, models={"vision": "clip@2"}),
        ],
        {},
    )
    assert ids(reader, like="a:100000") == []
    found = {kind.model for kind in reader.channels()}
    assert found == {"clip@1", "clip@2"}


def test_words_are_looked_for_in_pictures_too_and_both_count_more(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    red_van = direction(9)
    writer.write(
        [
            make_moment("a", 100, vectors={"vision": red_van}),
            make_moment("a", 200, vectors={"vision": red_van}, text="a van has stopped"),
            make_moment("a", 300, text="a van has stopped"),
        ],
        {},
    )
    query = MomentQuery(words="van", vectors={"vision": ("clip@1", red_van.astype(np.float32))})
    page = reader.find(query)
    assert page.moments[0].moment_id == "a:200000"
    assert page.moments[0].why == ("words: van", "vision: 1.00")
    assert {moment.moment_id for moment in page.moments} == {"a:100000", "a:200000", "a:300000"}
    other_model = {"vision": ("clip@2", red_van.astype(np.float32))}
    assert ids(reader, words="nothing", vectors=other_model) == []


def test_the_index_finds_what_comparing_with_each_finds(
    writer: ArchiveWriter, reader: ArchiveReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "VECTOR_INDEX_FROM", 1000)
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((20, 64))
    vectors = (centres[rng.integers(0, 20, 2000)] + 0.5 * rng.standard_normal((2000, 64))).astype(np.float16)
    moments = [make_moment(start_s=float(row), vectors={"vision": vectors[row]}) for row in range(2000)]
    writer.write(moments, {})
    writer.tidy(2000.0)
    (kind,) = reader.channels()
    assert kind == VectorTable(channel="vision", model="clip@1", dim=64)
    found = 0
    for row in range(0, 2000, 200):
        asked = vectors[row].astype(np.float32)
        true = {key for key, _ in reader.nearest(kind, asked, count=10, exactly=True)}
        found += len(true & {key for key, _ in reader.nearest(kind, asked, count=10)})
    assert found >= 95  # of 100


# --- bounds ------------------------------------------------------------------------------------------------


def test_what_is_too_old_goes_alerts_too(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment(start_s=DAY - 31 * DAY_S, state="alert"), make_moment(start_s=DAY - 29 * DAY_S)], {})
    tidied = writer.tidy(DAY)
    assert (tidied.num_expired, tidied.num_moments) == (1, 1)
    assert ids(reader) == [f"gate:{round((DAY - 29 * DAY_S) * 1000)}"]
    assert len(reader.nearest(reader.channels()[0], direction(1))) == 1


def test_what_is_too_much_goes_oldest_first_alerts_last(folder: str, reader: ArchiveReader) -> None:
    small = ArchiveWriter(folder, keep_days=30, max_gb=2e-4)
    rng = np.random.default_rng(0)
    moments = [
        make_moment(
            start_s=DAY + number,
            state="alert" if number % 100 == 0 else "normal",
            vectors={"vision": rng.standard_normal(200).astype(np.float16)},
        )
        for number in range(600)
    ]
    small.write(moments, {})
    tidied = small.tidy(DAY + 600)
    assert tidied.num_bytes > 2e5
    assert 0 < tidied.num_over_size < 594
    left = reader.find(MomentQuery(limit=600)).moments
    assert len(left) == 600 - tidied.num_over_size
    assert sum(moment.state == "alert" for moment in left) == 6
    ordinary = [moment.start_s for moment in left if moment.state == "normal"]
    assert min(ordinary) >= DAY + tidied.num_over_size


def test_the_table_of_a_model_goes_with_its_last_moment(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    writer.write([make_moment(start_s=DAY - 40 * DAY_S, models={"vision": "old@1"})], {})
    writer.write([make_moment(start_s=DAY)], {})
    writer.tidy(DAY)
    assert [kind.model for kind in reader.channels()] == ["clip@1"]
    writer.write([make_moment(start_s=DAY + 1, models={"vision": "old@1"})], {})
    assert len(reader.channels()) == 2


def test_tidying_twice_keeps_everything_and_few_files(writer: ArchiveWriter, reader: ArchiveReader) -> None:
    for number in range(12):
        writer.write([make_moment(start_s=DAY + number, text="smoke")], {})
        if number % 4 == 3:
            writer.tidy(DAY)
    assert len(ids(reader, words="smoke", limit=50)) == 12
    (kind,) = reader.channels()
    assert len(reader.nearest(kind, direction(1))) == 12


# --- what goes wrong ---------------------------------------------------------------------------------------


def test_before_the_first_write_the_reader_says_so(folder: str) -> None:
    with pytest.raises(StoreError, match="is starting: nothing has been written yet"):
        ArchiveReader(folder).find(MomentQuery())


def test_a_folder_made_by_something_else_is_refused(tmp_path: Path) -> None:
    import lancedb

    lancedb.connect(tmp_path / "other").create_table("moments", [{"id": "x"}])
    for open_it in (
        lambda: ArchiveWriter(str(tmp_path / "other"), keep_days=1, max_gb=1),
        lambda: ArchiveReader(str(tmp_path / "other")).find(MomentQuery()),
    ):
        with pytest.raises(StoreError, match=r"made by something else .* move the folder away"):
            open_it()


def test_a_file_or_a_read_only_place_is_a_plain_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"is a file; give archive.url a folder"):
        ArchiveWriter(str(tmp_path / "file"), keep_days=1, max_gb=1)
    with pytest.raises(StoreError, match="cannot be opened"):
        ArchiveWriter("/proc/archive", keep_days=1, max_gb=1)


def test_damaged_files_are_a_plain_sentence_and_no_crash(writer: ArchiveWriter, folder: str) -> None:
    writer.write([make_moment()], {})
    for file in Path(folder, "moments.lance", "data").iterdir():
        file.write_bytes(b"not lance")
    with pytest.raises(StoreError, match=r"cannot be read: .*; move the folder away"):
        ArchiveReader(folder).find(MomentQuery())


def test_a_full_disk_is_told_with_its_cure(writer: ArchiveWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("LanceError(IO): No space left on device (os error 28), /src/x.rs:12:3")

    monkeypatch.setattr(ArchiveWriter, "_put", full)
    with pytest.raises(StoreError, match=r"cannot be written: .*os error 28\); free some disk, or lower"):
        writer.write([make_moment()], {})


def test_no_credentials_for_s3_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"s3://moments/site cannot be opened: .*; set AWS_ACCESS_KEY_ID"):
        ArchiveWriter("s3://moments/site", keep_days=1, max_gb=1)


@pytest.mark.parametrize("cursor", ["x", "bm90IGpzb24", "WzFd", "eyJza2lwIjogLTF9"])
def test_a_cursor_that_no_search_gave_is_refused(writer: ArchiveWriter, reader: ArchiveReader, cursor: str) -> None:
    writer.write([make_moment(text="smoke")], {})
    with pytest.raises(WrongSearch, match="cursor"):
        reader.find(MomentQuery(words="smoke", cursor=cursor))
    with pytest.raises(WrongSearch, match="cursor"):
        reader.find(MomentQuery(cursor=cursor))


WRITES_FOR_EVER = """
import sys
from mmstream.storage.archive import ArchiveWriter
from tests.storage.moments import make_moment
writer = ArchiveWriter(sys.argv[1], keep_days=30, max_gb=1)
number = 0
while True:
    writer.write([make_moment(start_s=float(number + row), text="smoke") for row in range(20)], {})
    number += 20
    print(number, flush=True)
    if number % 200 == 0:
        writer.tidy(float(number))
"""


def test_a_writer_that_is_killed_leaves_a_readable_archive(folder: str, reader: ArchiveReader) -> None:
    for kill_after in (3, 7):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES_FOR_EVER, folder],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        written = 0
        for _ in range(kill_after):
            written = int(process.stdout.readline())
        time.sleep(0.003 * kill_after)  # somewhere inside a write, another place each time
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        process.stdout.close()
        seen = reader.find(MomentQuery(limit=10_000)).moments
        assert len(seen) >= written
        assert len({moment.moment_id for moment in seen}) == len(seen)
        assert ids(reader, words="smoke", limit=5)
    ArchiveWriter(folder, keep_days=30, max_gb=1).write([make_moment(start_s=1.0, text="after the kill")], {})
    assert ids(reader, words="kill") == ["gate:1000"]


def test_the_archive_of_a_site_is_in_its_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = SiteConfig.model_validate({"site": {"data_dir": tmp_path}})
    ArchiveWriter.from_site(site).write([make_moment()], {})
    assert (tmp_path / "archive" / "moments.lance").is_dir()
    monkeypatch.setenv("MOMENTS_AT", str(tmp_path / "elsewhere"))
    site = SiteConfig.model_validate({"site": {"data_dir": tmp_path}, "archive": {"url": "${MOMENTS_AT}"}})
    ArchiveWriter.from_site(site).write([make_moment()], {})
    assert (tmp_path / "elsewhere" / "moments.lance").is_dir()
    assert archive_search.ArchiveReader.from_site(site).find(MomentQuery()).moments
