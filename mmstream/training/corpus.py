"""The days that a site learns from and is tried on: footage, what was said of it, and what was found in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mmstream.training.footage import Burst
from mmstream.types import Alert, Moment

if TYPE_CHECKING:
    from mmstream.storage.strip_rows import StripRows

Part = Literal["train", "held_out"]


def _no_moments(_feed_id: str, _from_s: float, _to_s: float) -> Iterator[Moment]:
    return iter(())


def _no_strips(_feed_id: str, _from_s: float, _to_s: float) -> Sequence[StripRows]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Everything is read when it is asked for: a corpus is small, and pickles as long as its readers do.

    The newest days are held out: a model is tried on what comes after what it learned from, as it will be used.
    """

    feeds: tuple[str, ...]
    from_s: float
    split_s: float
    """Before it: to learn from. From it on: held out."""
    to_s: float
    read_bursts: Callable[[str, float, float], Iterator[Burst]]
    """(feed_id, from_s, to_s) -> bursts, oldest first."""
    read_moments: Callable[[str, float, float], Iterator[Moment]] = _no_moments
    """The same of the archive's moments; those of all feeds in turn when feed_id is empty."""
    read_strips: Callable[[str, float, float], Sequence[StripRows]] = _no_strips
    """The same of what fusion has joined, window by window, in calibration blocks that begin then."""
    alerts: Sequence[Alert] = field(default_factory=tuple)
    """Of those days, with their verdicts."""
    earlier: Sequence[Alert] = field(default_factory=tuple)
    """With a verdict, from before ``from_s``: their footage has gone, what fusion was given is still in the archive."""
    alerts_per_day: Mapping[str, float] = field(default_factory=dict)
    """Feed -> its budget; 2 where it is not named."""
    encoders: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Replica encoders that the site runs -> what they are made with."""

    def interval(self, part: Part) -> tuple[float, float]:
        return (self.from_s, self.split_s) if part == "train" else (self.split_s, self.to_s)

    def bursts(self, feed_id: str, part: Part) -> Iterator[Burst]:
        """What was normal, as far as anybody knows: nothing that overlaps an alert, unless that was called false."""
        unusual = [a for a in self.alerts if a.feed_id == feed_id and a.verdict != "false_alarm"]
        for burst in self.read_bursts(feed_id, *self.interval(part)):
            if not any(burst.start_s < alert.end_s and alert.start_s < burst.end_s for alert in unusual):
                yield burst

    def moments(self, feed_id: str, part: Part) -> Iterator[Moment]:
        """All of them, those of alerts too."""
        return self.read_moments(feed_id, *self.interval(part))
