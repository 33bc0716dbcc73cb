"""The bounded hand-over between two threads: what happens when it is full is said at every put."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue of at most ``capacity`` items, oldest first, for any number of threads on both sides.

    >>> mailbox = Mailbox[str](2)
    >>> for word in ("one", "two", "three"):
    ...     mailbox.put(word)
    >>> mailbox.take(10, timeout_s=0.0), mailbox.num_dropped
    (['two', 'three'], 1)
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"Mailbox: want a capacity of at least 1, got {capacity}")
        self.capacity = capacity
        self.num_dropped = 0
        """Items that were put and never taken: the oldest when full, or put after `close`."""
        self._items: deque[T] = deque()
        self._closed = False
        lock = threading.Lock()
        self._not_empty = threading.Condition(lock)
        self._not_full = threading.Condition(lock)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        """No more items come; those that are inside can still be taken."""
        return self._closed

    def put(self, item: T, *, wait: bool = False) -> None:
        """Hand over ``item``. When full: drop the oldest and count it (live feeds), or with ``wait``
        block until there is room or `close` is called (files). A closed mailbox counts and forgets it.
        """
        with self._not_full:
            if wait:
                self._not_full.wait_for(lambda: self._closed or len(self._items) < self.capacity)
            if self._closed:
                self.num_dropped += 1
                return
            if len(self._items) >= self.capacity:
                self._items.popleft()
                self.num_dropped += 1
            self._items.append(item)
            self._not_empty.notify()

    def take(self, max_items: int, timeout_s: float) -> list[T]:
        """Up to ``max_items``, oldest first. Waits at most ``timeout_s`` for the first one.

        Empty means that nothing came in time, or that the mailbox is closed and drained.
        """
        if timeout_s <= 0 and not self._items:
            return []  # asked for every packet: not worth the lock
        with self._not_empty:
            if timeout_s > 0:
                self._not_empty.wait_for(lambda: self._closed or bool(self._items), timeout_s)
            taken = [self._items.popleft() for _ in range(min(max_items, len(self._items)))]
            if taken:
                self._not_full.notify(len(taken))
            return taken

    def close(self) -> None:
        """Wake everybody who waits. Nothing can be put afterwards."""
        with self._not_full:
            self._closed = True
            self._not_full.notify_all()
            self._not_empty.notify_all()
