from __future__ import annotations

from pathlib import Path

import pytest

from mmstream.config import FeedConfig
from mmstream.errors import NotFound, UnsupportedCodec
from mmstream.sources.readings_csv import ReadingsFile
from mmstream.types import Reading, Status

NINE = 1_795_338_000.0  # 2026-11-22 09:00 UTC


def read(path: Path, text: str, *, epoch_s: float = 0.0) -> tuple[list[tuple[float, str, float]], ReadingsFile]:
    path.write_text(text)
    source = ReadingsFile(FeedConfig(id="plant", url=str(path)), path=str(path), epoch_s=epoch_s)
    items = list(source)
    assert isinstance(items[-1], Status)
    assert items[-1].state == "ended"
    return [(item.start_s, item.sensor, item.value) for item in items if isinstance(item, Reading)], source


def test_every_column_but_the_time_is_a_sensor(tmp_path: Path) -> None:
    readings, _ = read(tmp_path / "a.csv", "time,oil,air\n2026-11-22T09:00:00Z,80,20.5\n2026-11-22T09:01:00Z,81,\n")
    assert readings == [(NINE, "oil", 80.0), (NINE, "air", 20.5), (NINE + 60, "oil", 81.0)]


def test_a_line_may_be_one_reading(tmp_path: Path) -> None:
    readings, _ = read(tmp_path / "a.csv", f"at,sensor,value\n{NINE + 5},oil,80\n{NINE},air,20\n")
    assert readings == [(NINE, "air", 20.0), (NINE + 5, "oil", 80.0)]


def test_times_without_a_zone_are_utc_and_small_numbers_count_from_the_start(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "timestamp,value\n2026-11-22 09:00:00,1\n")[0] == [(NINE, "value", 1.0)]
    assert read(tmp_path / "b.csv", "timestamp,value\n2.5,1\n", epoch_s=NINE)[0] == [(NINE + 2.5, "value", 1.0)]


def test_what_cannot_be_read_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    text = f"time,oil\n{NINE},80\nyesterday,81\n{NINE + 1},n/a\n{NINE + 2},nan\n\n{NINE + 3}\n{NINE + 4},82\n"
    readings, source = read(tmp_path / "a.csv", text)
    assert [value for _, _, value in readings] == [80.0, 82.0]
    assert source.num_damaged == 4


def test_a_spreadsheets_utf16_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("time,温度\n0,21\n".encode("utf-16"))
    items = list(ReadingsFile(FeedConfig(id="plant", url=str(path)), path=str(path)))
    assert [(item.sensor, item.value) for item in items if isinstance(item, Reading)] == [("温度", 21.0)]


def test_a_table_without_times_and_a_missing_file_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedCodec, match="no column of times; want a first line like"):
        read(tmp_path / "a.csv", "oil,air\n1,2\n")
    with pytest.raises(UnsupportedCodec, match="no column of times"):
        read(tmp_path / "empty.csv", "")
    gone = str(tmp_path / "gone.csv")
    with pytest.raises(NotFound, match=r"gone\.csv: No such file"):
        list(ReadingsFile(FeedConfig(id="plant", url=gone), path=gone))


def test_a_stopped_source_gives_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,oil\n" + "".join(f"{n},{n}\n" for n in range(100)))
    source = ReadingsFile(FeedConfig(id="plant", url=str(path)), path=str(path))
    taken = []
    for item in source:
        taken.append(item)
        source.stop()
    assert len(taken) == 1
