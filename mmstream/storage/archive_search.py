"""Looking into the archive: by words, by example, by time, feed and state.

Ranked lists (words in the text, a vector per channel) are merged by reciprocal rank: that needs no common scale, which
BM25 and distances in different spaces do not have.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.config import SiteConfig
from mmstream.errors import StoreError
from mmstream.storage.archive import check_ours, quoted, table_names
from mmstream.storage.archive_open import archive_url, connect, plainly
from mmstream.storage.moment_listing import feeds_of, page_bounds, page_of
from mmstream.storage.moment_query import (
    FoundMoment,
    MomentPage,
    MomentQuery,
    NoSuchExample,
    WrongSearch,
    found_moment,
    merged,
    offset_of,
    packed,
    unpacked,
    where_of,
)
from mmstream.storage.moment_rows import MOMENTS, VectorTable, prefix_of
from mmstream.storage.strip_rows import STRIPS, StripRows, strip_schema, unpacked_rows
from mmstream.storage.terms import asked_terms
from mmstream.types import Float32, Moment

CANDIDATES = 100
"""Of each ranked list; so much of a ranked answer can be paged through."""
PROBES = 24
"""Partitions of the vector index that are looked into."""
REFINE = 8
"""Times as many candidates are compared exactly as are wanted."""
FIRST_STRETCH_S = 120.0
STRETCH_GROWS = 8.0
NEAR_S = 10.0
"""What is so near to the example on its own feed is the example."""
CACHE_MB = 256
_SHOWN = [
    "id",
    "feed_id",
    "start_s",
    "end_s",
    "surprise",
    "state",
    "alert_id",
    "text",
    "picture",
    "pictured",
    "evidence",
]


class ArchiveReader:
    """Any number of processes, any number of threads. Opens the archive when it is first asked.

    Raises (from every method):
        StoreError: the archive cannot be read (or nothing has been written yet).
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._db: Any = None
        self._tables: dict[str, Any] = {}
        self._span_s: tuple[float, float] | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_site(cls, site: SiteConfig) -> ArchiveReader:
        return cls(archive_url(site))

    def find(self, query: MomentQuery) -> MomentPage:
        """Raises WrongSearch for a cursor or an example that there is not."""
        with plainly(self._url, "read"):
            moments = self._moments()
            if not query.words.strip() and not query.like:
                page = _newest(moments, query, self._span_of(moments))
                self._span_s = _widened(self._span_s, page.moments)
                return page
            return self._ranked(moments, query)

    def jpeg(self, moment_id: str) -> bytes | None:
        """The small picture kept with a moment."""
        with plainly(self._url, "read"):
            found = self._moments().search().where(f"id = {quoted(moment_id)}").select(["jpeg"]).limit(1).to_list()
        return found[0]["jpeg"] if found else None

    def picture_key(self, moment_id: str) -> str | None:
        """Key of a moment's picture in the media store, "" without; None: there is no such moment."""
        with plainly(self._url, "read"):
            moments = self._moments()
            found = moments.search().where(f"id = {quoted(moment_id)}").select(["picture"]).limit(1).to_list()
        return (found[0]["picture"] or "") if found else None

    def channels(self) -> list[VectorTable]:
        """What vectors there are."""
        with plainly(self._url, "read"):
            self._moments()
            found = [VectorTable.of_schema(self._table(name).schema) for name in sorted(self._names())]
        return [table for table in found if table is not None]

    def nearest(
        self, kind: VectorTable, vector: Float32, *, count: int = CANDIDATES, where: str = "", exactly: bool = False
    ) -> list[tuple[str, float]]:
        """(moment id, cosine) of the nearest vectors of a channel, nearest first. ``exactly``: compare with each."""
        with plainly(self._url, "read"):
            table = self._table(kind.name)
            if table is None:
                return []
            padded = np.zeros(kind.padded_dim, np.float32)
            padded[: vector.size] = vector
            asked = table.search(padded, vector_column_name="vector").metric("cosine")
            asked = asked.bypass_vector_index() if exactly else asked.nprobes(PROBES).refine_factor(REFINE)
            if where:
                asked = asked.where(where, prefilter=True)
            rows = asked.limit(count).select(["id", "_distance"]).to_list()
        return [(row["id"], 1.0 - float(row["_distance"])) for row in rows]

    def strips(self, *, feed_id: str, since_s: float, until_s: float) -> list[StripRows]:
        """Of a feed's blocks that begin in ``[since_s, until_s)``; an archive of before strips were kept has none."""
        with plainly(self._url, "read"):
            self._moments()
            table = self._table(STRIPS)
            if table is None:
                return []
            which = f"feed_id = {quoted(feed_id)} AND start_s >= {since_s!r} AND start_s < {until_s!r}"
            return unpacked_rows(feed_id, table.search().where(which).select(strip_schema().names).to_arrow())

    def spoken(self, *, feed_id: str, since_s: float, until_s: float) -> list[tuple[float, float, str]]:
        """(start_s, end_s, text) of a feed's moments in ``[since_s, until_s)`` that have words, oldest first."""
        with plainly(self._url, "read"):
            which = f"feed_id = {quoted(feed_id)} AND start_s >= {since_s!r} AND start_s < {until_s!r}"
            asked = self._moments().search().where(f"{which} AND text IS NOT NULL")
            rows = asked.select(["start_s", "end_s", "text"]).to_arrow().sort_by("start_s").to_pylist()
        return [(row["start_s"], row["end_s"], row["text"]) for row in rows]

    def moments(self, feed_id: str, from_s: float, to_s: float) -> Iterator[Moment]:
        """Those of a feed that begin in ``[from_s, to_s)``, oldest first, with their vectors, some hundred in memory at
        a time; of each feed in turn when ``feed_id`` is empty. Nothing, when nothing has been written yet."""
        with plainly(self._url, "read"):
            table = self._table(MOMENTS)
            kinds = self.channels() if table is not None else []
            feeds = [feed_id] if feed_id or table is None else feeds_of(table, from_s, to_s)
        for feed in feeds if table is not None else ():
            with plainly(self._url, "read"):
                vectors = [(kind, self._table(kind.name)) for kind in kinds]
                bounds = page_bounds(table, feed, from_s, to_s)
            for page_from_s, page_to_s in bounds:
                with plainly(self._url, "read"):
                    page = page_of(table, vectors, feed, page_from_s, page_to_s)
                yield from page

    # -- inside -----------------------------------------------------------------------------------

    def _span_of(self, moments: Any) -> tuple[float, float]:
        """About when the oldest and the newest moment were; looked up once, what is newer is seen as it is found."""
        if self._span_s is None:
            ends = [_newest_of(moments, "", 1, oldest=oldest) for oldest in (True, False)]
            if not ends[0] or not ends[1]:
                return 0.0, 0.0
            self._span_s = ends[0][0]["start_s"], ends[1][0]["start_s"]
        return self._span_s

    def _moments(self) -> Any:
        table = self._table(MOMENTS)
        if table is None:
            raise StoreError(f"the archive at {self._url} is starting: nothing has been written yet; ask again soon")
        return table

    def _table(self, name: str) -> Any:
        """None when there is no such table. Tables stay open and see what is written by themselves."""
        with self._lock:
            if self._db is None:
                self._db = connect(self._url, index_cache_mb=CACHE_MB, write=False)
            if name not in self._tables:
                if name not in self._names():
                    return None
                table = self._db.open_table(name)
                if name == MOMENTS:
                    check_ours(table, self._url)
                self._tables[name] = table
            return self._tables[name]

    def _names(self) -> set[str]:
        return table_names(self._db)

    def _ranked(self, moments: Any, query: MomentQuery) -> MomentPage:
        skip = offset_of(query.cursor)
        where = where_of(query)
        lists: list[tuple[str, list[tuple[str, float]]]] = []
        terms = asked_terms(query.words)
        if terms:
            lists.append(("words", _by_words(moments, terms, where)))
        for channel, (model, vector) in query.vectors.items():
            table = VectorTable(channel=channel, model=model, dim=vector.size)
            lists.append((channel, self.nearest(table, vector, where=where)))
        if query.like:
            example = _example(moments, query.like)
            apart = f"NOT (feed_id = {quoted(example['feed_id'])} AND start_s > {example['start_s'] - NEAR_S}"
            apart += f" AND start_s < {example['start_s'] + NEAR_S})"
            if example["alert_id"]:
                apart += f" AND id NOT IN ({_ids_of_alert(moments, example['alert_id'])})"
            lists += self._like(example, f"{where} AND {apart}" if where else apart)
        ranked = merged(lists)
        page = ranked[skip : skip + query.limit]
        rows = _rows(moments, [key for key, _, _ in page])
        found = [found_moment(rows[key], why, score, terms) for key, score, why in page if key in rows]
        more = len(ranked) > skip + query.limit
        return MomentPage(moments=found, next_cursor=packed({"skip": skip + query.limit}) if more else None)

    def _like(self, example: Mapping[str, Any], where: str) -> list[tuple[str, list[tuple[str, float]]]]:
        """Every channel of the example, against the vectors of the same model."""
        lists = []
        for channel, model in json.loads(example["evidence"])["models"].items():
            for name in sorted(name for name in self._names() if name.startswith(prefix_of(channel))):
                kind = VectorTable.of_schema(self._table(name).schema)
                if kind is None or (kind.channel, kind.model) != (channel, model):
                    continue
                table = self._table(name)
                own = table.search().where(f"id = {quoted(example['id'])}").select(["vector"]).limit(1).to_arrow()
                if own.num_rows:
                    vector = np.asarray(own["vector"][0].as_py(), np.float32)
                    lists.append((channel, self.nearest(kind, vector, where=where)))
        return lists


def _by_words(moments: Any, terms: Sequence[str], where: str) -> list[tuple[str, float]]:
    asked = moments.search(" ".join(terms), query_type="fts", fts_columns="terms")
    if where:
        asked = asked.where(where, prefilter=True)
    return [(row["id"], float(row["_score"])) for row in asked.limit(CANDIDATES).select(["id", "_score"]).to_list()]


def _newest(moments: Any, query: MomentQuery, span_s: tuple[float, float]) -> MomentPage:
    """Stretch by stretch back in time, each longer than the one before: sorting millions of rows takes seconds, the
    index by time gives some hundred at once. ``span_s``: about when the oldest and the newest moment were."""
    where = where_of(query)
    top_s = min(span_s[1], query.until_s if query.until_s is not None else span_s[1])
    if query.cursor is not None:
        before = unpacked(query.cursor)
        try:
            at_s, key = float(before["start_s"]), str(before["id"])
        except (KeyError, TypeError, ValueError):
            raise WrongSearch("the cursor is not one that this search gave; start again without it") from None
        older = f"start_s <= {at_s!r} AND (start_s < {at_s!r} OR id < {quoted(key)})"
        where = f"{where} AND {older}" if where else older
        top_s = min(top_s, at_s)
    least_s = max(span_s[0], query.since_s if query.since_s is not None else span_s[0])
    stretch_s = FIRST_STRETCH_S
    while True:
        since = f"start_s >= {top_s - stretch_s!r}" if top_s - stretch_s > least_s else ""
        rows = _newest_of(moments, " AND ".join(part for part in (where, since) if part), query.limit + 1)
        if not since or len(rows) > query.limit:
            break
        stretch_s *= STRETCH_GROWS
    shown = _rows(moments, [row["id"] for row in rows[: query.limit]])
    found = [found_moment(shown[row["id"]], {}, 0.0, ()) for row in rows[: query.limit] if row["id"] in shown]
    if len(rows) <= query.limit:
        return MomentPage(moments=found, next_cursor=None)
    last = rows[query.limit - 1]
    return MomentPage(moments=found, next_cursor=packed({"start_s": last["start_s"], "id": last["id"]}))


def _newest_of(moments: Any, where: str, count: int, *, oldest: bool = False) -> list[dict[str, Any]]:
    from lancedb.query import ColumnOrdering

    order = [ColumnOrdering(column_name=name, ascending=oldest, nulls_first=False) for name in ("start_s", "id")]
    asked = moments.search()
    if where:
        asked = asked.where(where)
    rows: list[dict[str, Any]] = asked.order_by(order).select(["id", "start_s"]).limit(count).to_list()
    return rows


def _example(moments: Any, like: str) -> dict[str, Any]:
    """The moment of that id, or the most unusual of that alert."""
    which = f"id = {quoted(like)} OR alert_id = {quoted(like)}"
    rows = moments.search().where(which).select(_SHOWN).limit(2000).to_list()
    if rows:
        # an alert has the id of its first moment; the strangest one says more
        best: dict[str, Any] = max(rows, key=lambda row: (row["alert_id"] == like, row["surprise"]))
        return best
    raise NoSuchExample(f"there is no moment or alert {like!r} in the archive; search by feed and time for its moments")


def _ids_of_alert(moments: Any, alert_id: str) -> str:
    rows = moments.search().where(f"alert_id = {quoted(alert_id)}").select(["id"]).limit(2000).to_list()
    return ", ".join(quoted(row["id"]) for row in rows)


def _widened(span_s: tuple[float, float] | None, found: Sequence[FoundMoment]) -> tuple[float, float] | None:
    if span_s is None or not found:
        return span_s
    return span_s[0], max(span_s[1], found[0].start_s)


def _rows(moments: Any, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not keys:
        return {}
    which = f"id IN ({', '.join(map(quoted, keys))})"
    return {row["id"]: row for row in moments.search().where(which).select(_SHOWN).limit(len(keys)).to_list()}
