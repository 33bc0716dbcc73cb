"""The archive's one writer: moments in batches, indexes, and the bounds of age and size.

Every write is one transaction of LanceDB (files first, then one manifest that names them), so a process that is killed
half-way leaves the archive as it was before. Vectors are written before their moments: what is left of a
write between the two is found by nobody and overwritten by the next try.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from mmstream.config import SiteConfig
from mmstream.errors import StoreError
from mmstream.storage.archive_open import archive_url, connect, plainly
from mmstream.storage.moment_rows import (
    FORMAT,
    MOMENTS,
    VectorTable,
    moment_id,
    moment_rows,
    moment_schema,
    vector_rows,
)
from mmstream.storage.strip_rows import STRIPS, strip_rows, strip_schema
from mmstream.types import Moment

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

DAY_S = 86_400.0
VECTOR_INDEX_FROM = 20_000
"""Fewer vectors are compared one by one: that takes some milliseconds and misses none."""
ROWS_PER_PARTITION = 16_384
"""Looking through one takes a fraction of a millisecond; finding four times as many centres takes sixteen times as
long, half an hour of both cores of a small machine for five million vectors."""
TRAINING_ROUNDS = 15
RETRAIN_FACTOR = 4
"""A vector index is made anew when there are so many times the rows that it was made for."""
KEPT_VERSIONS = timedelta(minutes=10)
"""A reader may still be in an older version of a table."""
CACHE_MB = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidied:
    """What one `MomentArchiver.tidy` did."""

    num_expired: int
    num_over_size: int
    num_bytes: int
    """On disk, before what was over the size went."""
    num_moments: int


class ArchiveWriter:
    """Exactly one process has one of it. All methods may block; call them from one thread at a time.

    Raises (from every method):
        StoreError: the sentence says why and what to do. Nothing is half written.
    """

    def __init__(self, url: str, *, keep_days: float, max_gb: float) -> None:
        self._url = url
        self._keep_s, self._max_bytes = keep_days * DAY_S, max_gb * 1e9
        self._db = connect(url, index_cache_mb=CACHE_MB, write=True)
        self._tables: dict[str, Any] = {}
        self._written_until_s: dict[tuple[str, str], float] = {}
        with plainly(url, "opened"):
            names = table_names(self._db)
            if MOMENTS in names:
                check_ours(self._db.open_table(MOMENTS), url)
            index_moments(self._table(MOMENTS, moment_schema()))

    @classmethod
    def from_site(cls, site: SiteConfig) -> ArchiveWriter:
        return cls(archive_url(site), keep_days=site.archive.keep_days, max_gb=site.archive.max_gb)

    def write(self, moments: Sequence[Moment], jpegs: Mapping[str, bytes]) -> int:
        """Keep these moments; one that is there already (same feed and start) is overwritten. -> how many.

        ``jpegs``: moment id -> a picture of at most `MAX_JPEG_BYTES`, kept with the moment.
        """
        unique = list({moment_id(moment.feed_id, moment.start_s): moment for moment in moments}.values())
        if not unique:
            return 0
        with plainly(self._url, "written"):
            for kind, rows in vector_rows(unique).items():
                self._put(self._table(kind.name, kind.schema), rows)
            strips = strip_rows(moments)
            if strips is not None:
                self._put(self._table(STRIPS, strip_schema()), strips)
            self._put(self._table(MOMENTS, moment_schema()), moment_rows(unique, jpegs))
        return len(unique)

    def tidy(self, now_s: float) -> Tidied:
        """Join small files, bring the indexes up to date, and delete what is too old or too much.

        Deleted rows leave the disk with the next call, when no reader can be in them any more; so call it a
        few times a day, not more often than every `KEPT_VERSIONS`.
        """
        with plainly(self._url, "tidied"):
            tables = {name: self._db.open_table(name) for name in table_names(self._db)}
            for name, table in tables.items():
                table.optimize(cleanup_older_than=KEPT_VERSIONS)
                if name == MOMENTS:
                    index_moments(table)
                elif name == STRIPS:
                    index_strips(table)
                elif VectorTable.of_schema(table.schema) is not None:
                    index_vectors(table)
            num_bytes = size_bytes(self._url, tables.values())
            moments = tables[MOMENTS]
            num_expired = _delete(tables, f"start_s < {now_s - self._keep_s}")
            num_over = self._shrink(tables, num_bytes) if num_bytes > self._max_bytes else 0
            self._drop_empty(tables)
            return Tidied(
                num_expired=num_expired,
                num_over_size=num_over,
                num_bytes=num_bytes,
                num_moments=moments.count_rows(),
            )

    def _put(self, table: Any, rows: pa.Table) -> None:
        """Append, which is cheap, unless a row may be there already: what is not newer than all of its feed there."""
        newest_s: dict[str, float] = {}
        for feed_id, start_s in zip(rows["feed_id"].to_pylist(), rows["start_s"].to_pylist(), strict=True):
            newest_s[feed_id] = max(start_s, newest_s.get(feed_id, start_s))
        until_s = {feed_id: self._until_s(table, feed_id) for feed_id in newest_s}
        pairs = zip(rows["feed_id"].to_pylist(), rows["start_s"].to_pylist(), strict=True)
        if any(start_s <= until_s[feed_id] for feed_id, start_s in pairs):
            table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)
        else:
            table.add(rows)
        for feed_id, start_s in newest_s.items():
            self._written_until_s[table.name, feed_id] = max(until_s[feed_id], start_s)

    def _until_s(self, table: Any, feed_id: str) -> float:
        """The newest start of a feed in a table; it is looked up once, then known."""
        from lancedb.query import ColumnOrdering

        known = self._written_until_s.get((table.name, feed_id))
        if known is not None:
            return known
        newest = [ColumnOrdering(column_name="start_s", ascending=False, nulls_first=False)]
        asked = table.search().where(f"feed_id = {quoted(feed_id)}").select(["start_s"])
        rows = asked.order_by(newest).limit(1).to_list()
        return float(rows[0]["start_s"]) if rows else float("-inf")

    def _shrink(self, tables: Mapping[str, Any], num_bytes: int) -> int:
        """Delete the oldest: ordinary moments first, those of alerts and suspicions only when that is not enough."""
        moments = tables[MOMENTS]
        to_go = round(moments.count_rows() * (1 - 0.9 * self._max_bytes / num_bytes))
        gone = 0
        for those in ("state = 'normal'", "state <> 'normal'"):
            starts_s = moments.search().where(those).select(["start_s"]).to_arrow()["start_s"].to_numpy()
            count = min(to_go - gone, starts_s.size)
            if count > 0:
                newest_s = float(np.partition(starts_s, count - 1)[count - 1])
                gone += _delete(tables, f"{those} AND start_s <= {newest_s!r}")
        return gone

    def _drop_empty(self, tables: Mapping[str, Any]) -> None:
        """The vectors of a model that is used no more go with their last moment."""
        for name, table in tables.items():
            if VectorTable.of_schema(table.schema) is not None and table.count_rows() == 0:
                self._tables.pop(name, None)
                self._written_until_s = {key: at_s for key, at_s in self._written_until_s.items() if key[0] != name}
                self._db.drop_table(name)

    def _table(self, name: str, schema: pa.Schema) -> Any:
        if name not in self._tables:
            self._tables[name] = self._db.create_table(name, schema=schema, exist_ok=True)
        return self._tables[name]


def check_ours(table: Any, url: str) -> None:
    """Raises StoreError for a table of that name that something else has made."""
    made = (table.schema.metadata or {}).get(b"mmstream.archive", b"").decode()
    if made != FORMAT or not set(moment_schema().names) <= set(table.schema.names):
        raise StoreError(
            f"the archive at {url} was made by something else (format {made or 'unknown'}, want {FORMAT}); "
            "move the folder away, or give archive.url another place"
        )


def index_moments(table: Any) -> None:
    """Indexes by time, feed, state, id, alert and words; those that are there stay. That of words is made with the
    table: it says how words are cut and stemmed, also in rows that are not in it yet."""
    from lancedb.index import FTS, Bitmap, BTree

    there = {name for index in table.list_indices() for name in index.columns}
    words = FTS(base_tokenizer="whitespace", max_token_length=64, stem=True, remove_stop_words=True, num_workers=1)
    wanted = {"id": BTree(), "start_s": BTree(), "alert_id": BTree(), "feed_id": Bitmap(), "state": Bitmap()}
    for column, config in {**wanted, "terms": words}.items():
        if column not in there and (table.count_rows() > 0 or column == "terms"):
            table.create_index(column, config=config)


def index_strips(table: Any) -> None:
    """Indexes by time and feed, in which a replay reads."""
    from lancedb.index import Bitmap, BTree

    there = {name for index in table.list_indices() for name in index.columns}
    for column, config in (("start_s", BTree()), ("feed_id", Bitmap())):
        if column not in there and table.count_rows() > 0:
            table.create_index(column, config=config)


def index_vectors(table: Any) -> None:
    """One bit per number (RaBitQ) finds candidates, the vectors themselves put them in order; made when it is
    worth it, made anew when there are many more. Its name says for how many rows it was made."""
    from lancedb.index import Bitmap, BTree, IvfRq

    num_rows = table.count_rows()
    indexes = {index.columns[0]: index.name for index in table.list_indices()}
    for column, scalar in (("id", BTree()), ("start_s", BTree()), ("feed_id", Bitmap()), ("state", Bitmap())):
        if column not in indexes and num_rows > 0:
            table.create_index(column, config=scalar)
    if num_rows < VECTOR_INDEX_FROM:
        return
    name = indexes.get("vector", "")
    made_for = int(name.rpartition("_")[2] or 0)
    if num_rows < RETRAIN_FACTOR * made_for:
        return
    partitions = max(8, num_rows // ROWS_PER_PARTITION)
    config = IvfRq(distance_type="cosine", num_partitions=partitions, max_iterations=TRAINING_ROUNDS)
    table.create_index("vector", config=config, name=f"vector_for_{num_rows}")
    if name:
        table.drop_index(name)


def size_bytes(url: str, tables: Any) -> int:
    """Of a folder: all its files, older versions and indexes too. Elsewhere: the data files."""
    if "://" in url:
        return sum(int(table.stats()["total_bytes"]) for table in tables)
    return sum(
        os.stat(os.path.join(where, name), follow_symlinks=False).st_size
        for where, _, names in os.walk(url)
        for name in names
    )


def _delete(tables: Mapping[str, Any], which: str) -> int:
    """Of moments and vectors; -> how many moments."""
    gone = tables[MOMENTS].count_rows(which)
    for table in tables.values():
        if "start_s" in table.schema.names and table.count_rows(which):
            table.delete(which)
    return int(gone)


def quoted(text: str) -> str:
    """A value in SQL.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def table_names(db: Any) -> set[str]:
    """All tables of the database."""
    names: set[str] = set()
    token = None
    while True:
        page = db.list_tables(page_token=token, limit=1000)
        names |= set(page.tables)
        token = page.page_token
        if not token:
            return names
