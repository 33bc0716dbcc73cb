"""What trained fusion learns from: windows that operators have judged, and the most unusual of all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmstream.errors import StageError
from mmstream.fusion.evidence import MODALITY_WEIGHTS
from mmstream.fusion.trained import MAX_SURPRISE
from mmstream.storage.strip_rows import StripRows
from mmstream.training.corpus import Corpus
from mmstream.types import MODALITIES, Alert, Evidence, Float32, Verdict

MIN_VERDICTS = 20
"""Of either sort; below, the harmonic mean with verdict weights does as well."""
MAX_WINDOWS = 32
"""Of one alert: those that were most unusual."""
MAX_ORDINARY = 20_000
BEFORE_S = 3600.0
"""A block begins at most so long before an alert in it."""

Aspect = tuple[str, int, float]
"""Name, number of the modality in `MODALITIES`, weight inside the modality times the modality's own."""
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Windows as fusion was given them."""

    aspects: tuple[Aspect, ...]
    heights: Float32
    """(n, aspects) -log10 p, NaN where an aspect was missing."""
    true: tuple[Rows, ...]
    """Windows of each alert that was called true, oldest alert first."""
    false: tuple[Rows, ...]
    """The same of false alarms."""
    ordinary: Rows
    """Windows of no alert: of each block and aspect the highest."""

    def evidence(self, row: int) -> list[Evidence]:
        """One window, for a rule with the default weights."""
        return [
            Evidence(
                channel=name,
                modality=MODALITIES[modality],
                p=float(10.0 ** -min(max(float(height), 0.0), MAX_SURPRISE)),
                weight=weight / MODALITY_WEIGHTS[MODALITIES[modality]],
            )
            for (name, modality, weight), height in zip(self.aspects, self.heights[row], strict=True)
            if not np.isnan(height)
        ]


def num_verdicts(corpus: Corpus) -> dict[Verdict, int]:
    """How many alerts about unusual things there are to learn from, by verdict."""
    said = Counter(alert.verdict for alert in _judged(corpus))
    return {"true": said["true"], "false_alarm": said["false_alarm"]}


def gather(corpus: Corpus) -> Examples:
    """What the archive has kept of the windows of alerts with verdicts, as far back as it goes, and of the others of
    the training days.

    Raises:
        StageError: there are too few verdicts, or the archive has kept too little of their windows.
        StoreError: the archive cannot be read.
    """
    judged = _judged(corpus)
    from_s = min([corpus.from_s, *(alert.start_s - BEFORE_S for alert in judged)])
    found = _Gathered()
    for feed_id in corpus.feeds:
        of_feed = [alert for alert in judged if alert.feed_id == feed_id]
        going_on = [alert for alert in corpus.alerts if alert.feed_id == feed_id]
        for strips in corpus.read_strips(feed_id, from_s if of_feed else corpus.from_s, corpus.split_s):
            found.take(strips, of_feed, going_on, corpus.from_s, most=MAX_ORDINARY // len(corpus.feeds))
    _check(found.bags)
    return found.examples()


class _Gathered:
    """Windows that are kept, part by part; a part has its own aspects."""

    def __init__(self) -> None:
        self.bags: dict[Verdict, dict[str, Rows]] = {"true": {}, "false_alarm": {}}
        self._starts_s: dict[str, float] = {}
        self._names: dict[str, Aspect] = {}
        self._parts: list[tuple[list[str], Float32]] = []
        self._ordinary: list[Rows] = []
        self._count = 0

    def take(
        self, strips: StripRows, judged: Sequence[Alert], going_on: Sequence[Alert], from_s: float, *, most: int
    ) -> None:
        """``going_on``: all alerts since ``from_s``; windows from then on that are in none of them are ordinary."""
        known = ~np.isnan(strips.heights).all(axis=1)
        for alert in judged:
            inside = np.flatnonzero(known & _during(strips, alert))
            if len(inside) and alert.verdict in self.bags:
                strongest = inside[np.argsort(-np.nanmax(strips.heights[inside], axis=1), kind="stable")[:MAX_WINDOWS]]
                rows = self._kept(strips, strongest)
                before = self.bags[alert.verdict].get(alert.alert_id, rows[:0])
                self.bags[alert.verdict][alert.alert_id] = np.concatenate([before, rows])
                self._starts_s[alert.alert_id] = alert.start_s
        quiet = known & (strips.times_s[:, 0] >= from_s)
        for alert in going_on:
            quiet &= ~_during(strips, alert)
        ordinary = np.flatnonzero(quiet)
        self._ordinary.append(self._kept(strips, ordinary[:: max(1, -(-len(ordinary) // max(1, most)))]))

    def examples(self) -> Examples:
        order = list(self._names)
        heights = [_placed(found, [order.index(name) for name in held], len(order)) for held, found in self._parts]
        true, false = (
            tuple(self.bags[verdict][name] for name in sorted(self.bags[verdict], key=self._starts_s.__getitem__))
            for verdict in ("true", "false_alarm")
        )
        return Examples(
            aspects=tuple(self._names[name] for name in order),
            heights=np.concatenate(heights),
            true=true,
            false=false,
            ordinary=np.concatenate(self._ordinary),
        )

    def _kept(self, strips: StripRows, rows: Rows) -> Rows:
        """-> their places among all that are kept."""
        for name, modality, weight in strips.aspects:
            self._names[name] = (name, MODALITIES.index(modality), weight * MODALITY_WEIGHTS[modality])
        self._parts.append(([name for name, _, _ in strips.aspects], strips.heights[rows].astype(np.float32)))
        self._count += len(rows)
        return np.arange(self._count - len(rows), self._count)


def _judged(corpus: Corpus) -> list[Alert]:
    """Of unusual things, with a verdict, before the held-out days; oldest first."""
    told = [*corpus.earlier, *(alert for alert in corpus.alerts if alert.start_s < corpus.split_s)]
    kept = [alert for alert in told if alert.kind == "unusual" and alert.verdict in ("true", "false_alarm")]
    return sorted(kept, key=lambda alert: alert.start_s)


def _during(strips: StripRows, alert: Alert) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = (strips.times_s[:, 0] < alert.end_s) & (strips.times_s[:, 1] > alert.start_s)
    return inside


def _check(bags: Mapping[Verdict, Mapping[str, Rows]]) -> None:
    for verdict, found in bags.items():
        if len(found) < MIN_VERDICTS:
            raise StageError(
                f"trained fusion needs {MIN_VERDICTS} alerts called true and {MIN_VERDICTS} called false whose windows "
                f"the archive has kept; of {verdict!r} there are {len(found)}, so judge more alerts"
            )


def _placed(found: Float32, columns: Sequence[int], count: int) -> Float32:
    placed = np.full((len(found), count), np.nan, np.float32)
    placed[:, columns] = found
    return placed
