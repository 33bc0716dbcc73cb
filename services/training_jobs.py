"""A site's trainings: the one that runs, and those that have ended. Plain values, kept in the store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from mmstream.storage.base import StoreReader

TRAINING_NOW = "training_now"
"""Key in the store: JSON, the training that runs, and when the last nightly one was started."""
TRAINING_PAST = "training_past"
"""Key in the store: JSON, the trainings that have ended, newest first."""
MAX_PAST = 20

JobState = Literal["running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """What is to be trained."""

    models: tuple[str, ...]
    feeds: tuple[str, ...] = ()
    """Empty: all."""
    promote: bool = True
    nightly: bool = False
    """The schedule asks for it, nobody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """One training, as far as it has come."""

    job: str
    started_s: float
    models: tuple[str, ...]
    feeds: tuple[str, ...]
    promote: bool
    nightly: bool
    state: JobState = "running"
    ended_s: float | None = None
    phase: str = "starting"
    """What is being done: in words, for people."""
    subject: str = ""
    """Model that it is being done to."""
    epoch: int = 0
    epochs: int = 0
    share: float = 0.0
    """Of the whole job, 0 to 1, as far as one can say."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of the last epoch."""
    sentence: str = ""
    """What came of it, or went wrong."""
    results: tuple[Mapping[str, Any], ...] = ()
    """Per subject: what became of it, and why."""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """All of them. Changing gives a new one."""

    current: TrainingJob | None = None
    past: tuple[TrainingJob, ...] = ()
    nightly_s: float | None = None
    """When the last nightly training was started."""

    def begin(self, request: TrainingRequest, now_s: float) -> Trainings:
        """Raises ValueError, with a sentence, while one runs."""
        if self.current is not None:
            raise ValueError(
                f"{self.current.job} is running ({self.current.phase}); wait for it, or DELETE /api/v1/train first"
            )
        job = TrainingJob(
            job=f"train-{datetime.fromtimestamp(now_s, UTC):%Y%m%dT%H%M%S}",
            started_s=now_s,
            models=request.models,
            feeds=request.feeds,
            promote=request.promote,
            nightly=request.nightly,
        )
        return dataclasses.replace(self, current=job, nightly_s=now_s if request.nightly else self.nightly_s)

    def note(self, changes: Mapping[str, Any]) -> Trainings:
        """What the running one has to say; without one, nothing."""
        return self if self.current is None else self._with(dataclasses.replace(self.current, **changes))

    def end(self, state: JobState, sentence: str, now_s: float, **changes: Any) -> Trainings:
        if self.current is None:
            return self
        ended = dataclasses.replace(self.current, state=state, sentence=sentence, ended_s=now_s, phase="", **changes)
        return dataclasses.replace(self, current=None, past=(ended, *self.past)[:MAX_PAST])

    def _with(self, job: TrainingJob) -> Trainings:
        return dataclasses.replace(self, current=job)

    def now_json(self) -> str:
        current = self.current.to_json() if self.current is not None else None
        return json.dumps({"current": current, "nightly_s": self.nightly_s})

    def past_json(self) -> str:
        return json.dumps([job.to_json() for job in self.past])


def read_trainings(now: str | None, past: str | None) -> Trainings:
    """From what `now_json` and `past_json` have left in the store; None: nothing yet.

    >>> read_trainings(None, None)
    Trainings(current=None, past=(), nightly_s=None)
    """
    kept = json.loads(now) if now else {}
    return Trainings(
        current=_job(kept["current"]) if kept.get("current") else None,
        past=tuple(map(_job, json.loads(past) if past else [])),
        nightly_s=kept.get("nightly_s"),
    )


def trainings_of(reader: StoreReader) -> Trainings:
    return read_trainings(reader.value(TRAINING_NOW), reader.value(TRAINING_PAST))


def _job(value: Mapping[str, Any]) -> TrainingJob:
    return TrainingJob(**{**value, **{name: tuple(value[name]) for name in ("models", "feeds", "results")}})
