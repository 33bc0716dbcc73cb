"""Join what the edge and the replicas say about one window; wait for the late ones, with a bound."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from mmstream.types import AlignedWindow, Embedding, EncodedWindow

MAX_OPEN = 64
"""Windows waiting at most; beyond that the oldest is released without what it waits for."""

MAX_EARLY = 64
"""Embeddings kept that overtook their window; beyond that the oldest is dropped."""


@dataclass(slots=True, kw_only=True)
class _Open:
    window: EncodedWindow
    pending: set[str]
    late: list[Embedding] = field(default_factory=list)


class Aligner:
    """Release windows in order: each when all its pending channels came, or when the newest window
    ends ``max_wait_s`` after it.

    Reads no clock: time is the feed's own. Counters: ``num_late`` embeddings that came after their
    window had left, ``num_stale`` windows older than one that had left, ``num_missing`` embeddings
    that a window left without.
    """

    def __init__(self, *, max_wait_s: float) -> None:
        if max_wait_s < 0:
            raise ValueError(f"need max_wait_s >= 0, got {max_wait_s}")
        self._max_wait_s = max_wait_s
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._early: OrderedDict[tuple[int, str], Embedding] = OrderedDict()
        self._newest_s = -float("inf")
        self._history = False
        self.num_late = 0
        self.num_stale = 0
        self.num_missing = 0

    def push(self, item: EncodedWindow | Embedding) -> list[AlignedWindow]:
        return self._complete(item) if isinstance(item, Embedding) else self._admit(item)

    def flush(self) -> list[AlignedWindow]:
        """Everything that still waits, as it is."""
        return [self._release() for _ in range(len(self._open))]

    def _admit(self, window: EncodedWindow) -> list[AlignedWindow]:
        released = []
        if window.history != self._history:
            # history has its own times: neither waits for the other
            released = self.flush()
            self._history, self._newest_s = window.history, -float("inf")
        if window.end_s <= self._newest_s:
            self.num_stale += 1
            return released
        self._newest_s = window.end_s
        opened = _Open(window=window, pending=set(window.pending))
        self._open[_key(window)] = opened
        for channel in window.pending:
            early = self._early.pop((_key(window), channel), None)
            if early is not None:
                self._take(opened, early)
        return released + self._release_ready()

    def _complete(self, embedding: Embedding) -> list[AlignedWindow]:
        opened = self._open.get(_key(embedding))
        if opened is not None and embedding.channel in opened.pending:
            self._take(opened, embedding)
            return self._release_ready()
        if opened is None and embedding.end_s > self._newest_s:
            self._early[_key(embedding), embedding.channel] = embedding
            if len(self._early) > MAX_EARLY:
                self._early.popitem(last=False)
                self.num_late += 1
        else:
            self.num_late += 1
        return []

    def _take(self, opened: _Open, embedding: Embedding) -> None:
        opened.pending.discard(embedding.channel)
        opened.late.append(embedding)

    def _release_ready(self) -> list[AlignedWindow]:
        released = []
        while self._open:
            oldest = next(iter(self._open.values()))
            waited_s = self._newest_s - oldest.window.end_s
            if oldest.pending and waited_s < self._max_wait_s and len(self._open) <= MAX_OPEN:
                break
            released.append(self._release())
        return released

    def _release(self) -> AlignedWindow:
        _, opened = self._open.popitem(last=False)
        window = opened.window
        self.num_missing += len(opened.pending)
        return AlignedWindow(
            feed_id=window.feed_id,
            start_s=window.start_s,
            end_s=window.end_s,
            embeddings=(*window.embeddings, *opened.late),
            missing=frozenset(opened.pending),
            history=window.history,
            mode=window.mode,
            readings=window.readings,
        )


def _key(item: EncodedWindow | Embedding) -> int:
    return round(item.start_s * 1000)
