"""Sensor readings from a CSV file, as a feed of their own or beside a camera."""

from __future__ import annotations

import csv
import math
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mmstream.config import FeedConfig
from mmstream.errors import NotFound, UnsupportedCodec
from mmstream.sources.captions import decode_text
from mmstream.types import Reading, SourceItem, Status

TIME_COLUMNS = ("time", "timestamp", "at", "date", "datetime")
RELATIVE_BELOW_S = 1e8
"""Smaller numbers are seconds from the start of the feed, larger ones Unix seconds (1973 and later)."""

MAX_BYTES = 256 * 1024 * 1024


class ReadingsFile:
    """Yields every number of a CSV file as a `Reading`, in order of time, then a `Status` ``ended``.

    The first line names the columns. One is the time (``time``, ``timestamp``, ``at``, ``date``, ``datetime``): ISO
    8601, Unix seconds, or seconds from the start, which ``epoch_s`` is added to; without a zone it is UTC. With
    columns ``sensor`` and ``value`` every line is one reading; otherwise every other column is a sensor of its own.
    Cells that are no finite number, and lines without a time, are left out and counted in ``num_damaged``; empty
    cells are no readings.
    """

    def __init__(self, feed: FeedConfig, *, path: str, epoch_s: float = 0.0) -> None:
        self.feed_id = feed.id
        self.path = path
        self.epoch_s = epoch_s
        self.num_damaged = 0
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[SourceItem]:
        """Raises NotFound, UnsupportedCodec: there is no such file, or it is no table of readings."""
        readings = self._read()
        end_s = self.epoch_s
        for at_s, sensor, value in readings:
            if self._stopped.is_set():
                return
            end_s = at_s
            yield Reading(feed_id=self.feed_id, start_s=at_s, end_s=at_s, sensor=sensor, value=value)
        sentence = f"readings have ended: {len(readings)} read, {self.num_damaged} damaged"
        yield Status(feed_id=self.feed_id, start_s=end_s, end_s=end_s, state="ended", sentence=sentence)

    def stop(self) -> None:
        self._stopped.set()

    def _read(self) -> list[tuple[float, str, float]]:
        try:
            if Path(self.path).stat().st_size > MAX_BYTES:
                raise UnsupportedCodec(f"{self.path} is larger than {MAX_BYTES >> 20} MB; split it")
            lines = decode_text(Path(self.path).read_bytes()).splitlines()
        except OSError as error:
            raise NotFound(f"cannot read {self.path}: {error.strerror}") from error
        rows = csv.reader(lines)
        header = [name.strip() for name in next(rows, [])]
        lower = [name.lower() for name in header]
        time_column = next((lower.index(name) for name in TIME_COLUMNS if name in lower), None)
        if time_column is None or len(header) < 2:
            raise UnsupportedCodec(
                f"{self.path} has no column of times; want a first line like 'time,temperature' or 'time,sensor,value'"
            )
        long = (lower.index("sensor"), lower.index("value")) if {"sensor", "value"} <= set(lower) else None
        found = [reading for row in rows for reading in self._readings(row, header, time_column, long)]
        return sorted(found, key=lambda reading: reading[0])

    def _readings(
        self, row: Sequence[str], header: Sequence[str], time_column: int, long: tuple[int, int] | None
    ) -> Iterator[tuple[float, str, float]]:
        if not any(cell.strip() for cell in row):
            return
        at_s = seconds(row[time_column], self.epoch_s) if len(row) > time_column else math.nan
        cells: list[tuple[str, str]] = []
        if long is not None:
            cells = [(row[long[0]].strip(), row[long[1]])] if len(row) > max(long) else []
        else:
            cells = [(header[column], cell) for column, cell in enumerate(row[: len(header)]) if column != time_column]
        if not math.isfinite(at_s) or not cells:
            self.num_damaged += 1
            return
        for sensor, cell in cells:
            if not cell.strip():
                continue
            value = _number(cell)
            if math.isfinite(value) and sensor:
                yield at_s, sensor, value
            else:
                self.num_damaged += 1


def seconds(text: str, epoch_s: float) -> float:
    """Unix seconds of a cell that holds a time; NaN when it holds none.

    >>> seconds("2026-11-22 08:00:00", 0.0), seconds("1.5", 1000.0), seconds("noon", 0.0)
    (1795334400.0, 1001.5, nan)
    """
    number = _number(text)
    if math.isfinite(number):
        return number + epoch_s if abs(number) < RELATIVE_BELOW_S else number
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
