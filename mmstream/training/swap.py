"""Putting another version of a model to use: everything is made ready first, the pointer moves last. The way back is
shorter: the pointer moves as soon as the encoders have changed over.

What a running encoder is given is what the pointer says, or will say in a moment. Whoever starts, starts with what the
pointer says. So a swap that is cut off at any place, by an error or by ``kill -9``, leaves the old version or the new
one, and `Place.push` of what the pointer says brings all of them together again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from mmstream.adopting import FeedAdoption
from mmstream.errors import MmstreamError, StoreError
from mmstream.training.registry import Registry


class Place(Protocol):
    """Where versions are put to use. Every method waits, and raises MmstreamError when it cannot be done."""

    def embed(self, model: str, version: str, old: str) -> Iterable[FeedAdoption]:
        """What feeds must know before the version judges them, one by one. Empty names: no version."""
        ...

    def adopt(self, adoption: FeedAdoption) -> bool:
        """Give it to its feed; False: that does not run."""
        ...

    def push(self, model: str, version: str) -> None:
        """Have every encoder of this model run this version; the one it has, when the new one cannot be used. Without
        a version: as the site is shipped."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What was done."""

    model: str
    version: str
    """Empty: the model as it is shipped."""
    before: str
    seconds: Mapping[str, float]
    """Step -> how long it took."""
    notes: tuple[str, ...]
    """What somebody should know of it, as sentences."""


def promote(
    registry: Registry,
    place: Place,
    model: str,
    version: str,
    *,
    reason: str,
    at_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Swapped:
    """Put ``version`` to use.

    Raises:
        MmstreamError: some step could not be done, and which; the old version is in use everywhere.
    """
    registry.version(model, version)
    old = registry.in_use(model).version
    steps = _Steps(clock)
    with steps("prepare"):
        notes = _prepare(place, model, version, old)
    with steps("push"), _or_back(place, model, old):
        place.push(model, version)
    with steps("point"), _or_back(place, model, old):
        registry.promote(model, version, reason=reason, at_s=at_s)
    return Swapped(model=model, version=version, before=old, seconds=steps.seconds, notes=notes)


def roll_back(
    registry: Registry,
    place: Place,
    model: str,
    *,
    reason: str,
    at_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Swapped:
    """Put the version before the current one to use again, or none. At once: what floods is not let go on while
    footage is encoded. Feeds remember what they knew under the version before, as far as they still do; what is learned
    from footage follows, where it knows more.

    Raises:
        MmstreamError: there is nothing to roll back, or the version before cannot be run.
    """
    known = registry.in_use(model)
    if not known.version:
        raise StoreError(f"model {model!r} has nothing to roll back: no version of it is in use")
    target = known.before[0] if known.before else ""
    steps = _Steps(clock)
    with steps("push"), _or_back(place, model, known.version):
        place.push(model, target)
    with steps("point"), _or_back(place, model, known.version):
        registry.roll_back(model, reason=reason, at_s=at_s)
    try:
        with steps("prepare"):
            notes = _prepare(place, model, target, known.version) if target else ()
    except MmstreamError as error:
        notes = (f"feeds go on with what they remember: {error.sentence}",)
    return Swapped(model=model, version=target, before=known.version, seconds=steps.seconds, notes=notes)


def _prepare(place: Place, model: str, version: str, old: str) -> tuple[str, ...]:
    """-> what feeds have to do without."""
    without, same, away = [], [], []
    for adoption in place.embed(model, version, old):
        if not place.adopt(adoption):
            away.append(adoption.feed_id)
        elif not adoption.histories:
            without.append(adoption.feed_id)
        elif adoption.rereading is None:
            same.append(adoption.feed_id)
    told = (
        (without, "{}: too little footage is kept to learn from; learned anew"),
        (same, "{}: too little footage to make the threshold anew; it stays as it is"),
        (away, "{}: not running; learned anew when it is"),
    )
    return tuple(sentence.format(", ".join(feeds)) for feeds, sentence in told if feeds)


@contextlib.contextmanager
def _or_back(place: Place, model: str, version: str) -> Iterator[None]:
    """Where something fails, every encoder gets the version that it had: some may have taken the other one already."""
    try:
        yield
    except MmstreamError:
        place.push(model, version)
        raise


class _Steps:
    """Times each step."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}
        self._name, self._began_s = "", 0.0

    def __call__(self, name: str) -> _Steps:
        self._name = name
        return self

    def __enter__(self) -> None:
        self._began_s = self._clock()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._name] = round(self._clock() - self._began_s, 3)
