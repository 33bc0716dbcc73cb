"""A night of learning: every model that the site trains is fitted, tried on days it has not seen, and judged.

Pure orchestration: how a model is fitted (in this process, or by Ray Train) and how a version is put to use (the hot
swap, or only the registry's pointer) are given. What goes wrong with one model is said in its entry and stops no other.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mmstream
from mmstream.errors import MmstreamError, StageError
from mmstream.stages import load
from mmstream.training.corpus import Corpus
from mmstream.training.loop import Epoch, FitSettings, Fitted, LocalWorker, fit, take_settings
from mmstream.training.night_report import Entry, NightReport, Phase, Progress
from mmstream.training.promote import Trial, judge
from mmstream.training.registry import Lineage, ModelVersion, Registry
from mmstream.training.trainee import KINDS, ModelKind, Trainee

__all__ = ["Entry", "FitWith", "Night", "NightReport", "Progress", "Promote", "fit_here", "kinds_of"]

FitWith = Callable[[str, Trainee, FitSettings, Callable[[Epoch], None]], Fitted]
"""(subject, trainee, settings, told after every epoch) -> what came of it."""
Promote = Callable[[str, str, str], None]
"""(subject, version, reason): put it to use. Raises MmstreamError: it could not be, and the old one is still in use."""

FIRST = "None was in use: it is compared with the site without one, and its cost with nothing."
FIGURES = "validation/"
"""Prefix of the figures of an epoch that go into a version's lineage."""


def fit_here(subject: str, trainee: Trainee, settings: FitSettings, on_epoch: Callable[[Epoch], None]) -> Fitted:
    """In this process, without Ray."""
    del subject
    return fit(trainee, settings, LocalWorker(), on_epoch=on_epoch)


@dataclass(frozen=True, kw_only=True)
class Night:
    """``kinds``: what is trained, in this order. ``options``: kind -> ``training.options`` of it. ``promote`` None:
    versions are judged, and wait for somebody who promotes them."""

    registry: Registry
    kinds: Sequence[ModelKind]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    promote: Promote | None = None
    fit_with: FitWith = fit_here
    now: Callable[[], float]
    on_progress: Callable[[Progress], None] = lambda _progress: None
    should_stop: Callable[[], bool] = lambda: False
    seed: int = 0
    """Of the gate's draws."""

    def run(self, corpus: Corpus, *, subjects: Sequence[str] | None = None) -> NightReport:
        """``subjects``: only these, where they can be trained; None: all."""
        started_s = self.now()
        entries: list[Entry] = []
        planned = self._plan(corpus, subjects, entries)
        cancelled = False
        count = functools.cache(lambda feed_id: _num_windows(corpus, feed_id))
        for number, (kind, subject) in enumerate(planned, 1):
            if self.should_stop():
                cancelled = True
                break
            told = _Teller(self.on_progress, subject, number, len(planned))
            entry = self._learn(kind, subject, corpus, told, count)
            entries.append(entry)
            told("done", sentence=f"{entry.outcome}: {entry.sentence}")
            cancelled = cancelled or entry.outcome == "cancelled"
        num_bursts = 0 if entries else sum(1 for name in corpus.feeds for _ in corpus.bursts(name, "train"))
        return NightReport(
            started_s=started_s,
            ended_s=self.now(),
            entries=tuple(entries),
            cancelled=cancelled,
            num_bursts=num_bursts,
        )

    def _plan(self, corpus: Corpus, subjects: Sequence[str] | None, failed: list[Entry]) -> list[tuple[ModelKind, str]]:
        planned = []
        for kind in self.kinds:
            try:
                found = kind.subjects(corpus)
            except MmstreamError as error:
                failed.append(Entry(kind=kind.name, subject=kind.name, outcome="failed", sentence=error.sentence))
                continue
            planned += [(kind, subject) for subject in found if subjects is None or subject in subjects]
        return planned

    def _learn(
        self, kind: ModelKind, subject: str, corpus: Corpus, told: _Teller, count: Callable[[str], int]
    ) -> Entry:
        """One model, from its footage to the ruling; whatever stops it is said in the entry."""
        entry = Entry(kind=kind.name, subject=subject, outcome="cancelled", sentence="Stopped before it was judged.")
        try:
            with tempfile.TemporaryDirectory(prefix="mmstream-night-") as folder:
                self.registry.prune(subject)
                for step in self._steps(kind, subject, corpus, told, count, Path(folder)):
                    entry = step
                    if self.should_stop() and entry.outcome == "cancelled":
                        return entry
        except MmstreamError as error:
            return dataclasses.replace(entry, outcome="failed", sentence=error.sentence)
        except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, OSError) as error:
            # the mistake of one model (torch says RuntimeError) must not cost the others their night
            what = " ".join(str(error).split())[:200]
            return dataclasses.replace(entry, outcome="failed", sentence=f"{type(error).__name__}: {what}")
        return entry

    def _steps(
        self, kind: ModelKind, subject: str, corpus: Corpus, told: _Teller, count: Callable[[str], int], folder: Path
    ) -> Iterator[Entry]:
        """The entry as it grows; between two of them the night may be cancelled."""
        parent = self.registry.current(subject)
        old_files = self.registry.fetch(parent, folder / "old") if parent is not None else None
        entry = Entry(kind=kind.name, subject=subject, outcome="cancelled", sentence="Stopped before it was judged.")
        entry = dataclasses.replace(entry, parent=parent.version if parent is not None else "")
        settings, options = take_settings(self.options.get(kind.name, {}), getattr(kind, "settings", None))
        trainee = kind.trainee(subject, corpus, options, parent=old_files)
        told("fitting")
        fitted = self.fit_with(subject, trainee, settings, lambda epoch: told("fitting", epoch=epoch))
        figures = {name.removeprefix(FIGURES): float(value) for name, value in fitted.figures.items()}
        entry = dataclasses.replace(entry, figures=figures, epochs=fitted.history)
        yield entry
        feeds = _feeds_of(kind, subject, corpus)
        lineage = Lineage(
            code=mmstream.__version__,
            parent=entry.parent,
            from_s=corpus.from_s,
            to_s=corpus.split_s,
            feeds=feeds,
            num_windows=sum(map(count, feeds)),
            settings={**dataclasses.asdict(settings), **options},
            metrics={name: value for name, value in figures.items() if math.isfinite(value)},
        )
        made = self.registry.add(subject, _exported(trainee, fitted), lineage, made_s=self.now())
        entry = dataclasses.replace(entry, version=made.version)
        yield entry
        told("trying")
        new_files = self.registry.fetch(made, folder / "new")
        old, new = self._try(kind, subject, corpus, old_files, new_files)
        told("deciding")
        yield self._decide(dataclasses.replace(entry, old=old, new=new, ruling=judge(old, new, seed=self.seed)), made)

    def _try(
        self, kind: ModelKind, subject: str, corpus: Corpus, old_files: Path | None, new_files: Path
    ) -> tuple[Trial, Trial]:
        """Both sides. Without a version in use there is nothing to compare costs with: what the first one costs is
        what the site pays from then on. A new one that seems slow only for what else ran is measured once more."""
        old, new = (kind.trial(subject, files, corpus) for files in (old_files, new_files))
        if old_files is None:
            return dataclasses.replace(old, window_s=new.window_s, memory_bytes=new.memory_bytes), new
        if [c.name for c in judge(old, new, seed=self.seed).conditions if not c.holds] == ["time"]:
            new_again, old_again = (kind.trial(subject, files, corpus) for files in (new_files, old_files))
            old = dataclasses.replace(old, window_s=min(old.window_s, old_again.window_s))
            new = dataclasses.replace(new, window_s=min(new.window_s, new_again.window_s))
        return old, new

    def _decide(self, entry: Entry, made: ModelVersion) -> Entry:
        assert entry.ruling is not None
        reason = entry.ruling.reason if entry.parent else f"{FIRST} {entry.ruling.reason}"
        if not entry.ruling.promoted:
            self.registry.refuse(made.name, made.version, reason=reason)
            return dataclasses.replace(entry, outcome="refused", sentence=reason)
        self.registry.note(made.name, made.version, reason=reason)
        if self.promote is None:
            return dataclasses.replace(entry, outcome="waiting", sentence=reason)
        if self.should_stop():
            return dataclasses.replace(entry, sentence=f"Stopped before it was promoted. {reason}")
        try:
            self.promote(made.name, made.version, reason)
        except MmstreamError as error:
            sentence = f"The gate lets it through, but it could not be put to use: {error.sentence}"
            return dataclasses.replace(entry, outcome="failed", sentence=sentence)
        return dataclasses.replace(entry, outcome="promoted", sentence=reason)


def kinds_of(names: Sequence[str]) -> list[ModelKind]:
    """The kinds that ``training.models`` names. Raises ConfigError: there is no such kind."""
    return [load(KINDS, name)() for name in names]


@dataclass(frozen=True, slots=True)
class _Teller:
    """Tells how far one model has come."""

    on_progress: Callable[[Progress], None]
    subject: str
    number: int
    of: int

    def __call__(self, phase: Phase, *, epoch: Epoch | None = None, sentence: str = "") -> None:
        progress = Progress(
            subject=self.subject, phase=phase, number=self.number, of=self.of, epoch=epoch, sentence=sentence
        )
        self.on_progress(progress)


def _exported(trainee: Trainee, fitted: Fitted) -> Mapping[str, bytes]:
    """Raises StageError: there are weights that are no numbers."""
    for name, tensor in fitted.module.named_parameters():
        if not bool(tensor.isfinite().all()):
            raise StageError(f"{name} is not finite after training; lower the learning rate, or train from scratch")
    return trainee.export(fitted.module)


def _feeds_of(kind: ModelKind, subject: str, corpus: Corpus) -> tuple[str, ...]:
    """Of ``expectation.gate-3`` the one camera, of ``site`` all."""
    one = subject.removeprefix(f"{kind.name}.")
    return (one,) if one in corpus.feeds else corpus.feeds


def _num_windows(corpus: Corpus, feed_id: str) -> int:
    return sum(len(burst.glimpses) for burst in corpus.bursts(feed_id, "train"))
