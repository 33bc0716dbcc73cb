"""Training over HTTP: start one, see how far it is, stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field

from mmstream.training.trainee import KINDS
from services.problems import Problem
from services.routes.context import Context
from services.training_jobs import JobState, TrainingJob, TrainingRequest, trainings_of


class TrainingCommands(Protocol):
    """Starts and stops trainings. Both raise StoreError when the trainer cannot be reached."""

    models: Sequence[str]
    """Trained when nobody says which: ``training.models``."""
    promote: bool

    async def start(self, request: TrainingRequest) -> TrainingJob:
        """Raises ValueError, with a sentence, while another one runs."""
        ...

    async def cancel(self) -> TrainingJob | None:
        """The one that will stop now; None: none runs."""
        ...


class TrainIn(BaseModel):
    model_config = ConfigDict(extra="forbid", title="TrainingRequest")
    models: Annotated[tuple[str, ...], Field(examples=[["expectation"]])] = ()
    """What is trained; empty: ``training.models`` of site.yaml."""
    feeds: tuple[str, ...] = ()
    """Whose footage; empty: that of all."""
    promote: bool | None = None
    """Put what is better to use; by default as ``training.promote`` says."""


class JobOut(BaseModel):
    """One training, as far as it has come."""

    model_config = ConfigDict(title="TrainingJob")
    job: str
    state: JobState
    started_s: float
    ended_s: float | None
    models: tuple[str, ...]
    feeds: tuple[str, ...]
    promote: bool
    nightly: bool
    """Started by the schedule."""
    phase: str
    """What is being done."""
    subject: str
    """The model that it is being done to."""
    epoch: int
    epochs: int
    percent: float
    figures: dict[str, float]
    sentence: str
    """What came of it, or what went wrong."""
    results: list[dict[str, Any]]
    """Per model: what became of it, and why."""


class Training(BaseModel):
    enabled: bool
    current: JobOut | None
    last: list[JobOut]
    """Newest first; the last 20."""


def train_router(context: Context, training: TrainingCommands | None) -> APIRouter:
    """``training``: None when ``training.enabled`` is false."""
    router = APIRouter(prefix="/train", tags=["training"])

    def commands() -> TrainingCommands:
        if training is None:
            raise Problem(503, "training_off", "Nothing is trained here: training.enabled is false in site.yaml.")
        return training

    @router.get("", summary="The training that runs, and the last ones")
    def get_training() -> Training:
        known = trainings_of(context.reader)
        current = _view(known.current) if known.current is not None else None
        return Training(enabled=training is not None, current=current, last=[_view(job) for job in known.past])

    @router.post("", status_code=202, summary="Train now, on what the cameras have recorded")
    async def start_training(response: Response, wanted: Annotated[TrainIn, Body(default_factory=TrainIn)]) -> JobOut:
        ask = commands()
        if unknown := sorted(set(wanted.models) - KINDS.keys()):
            raise Problem(422, "wrong_setting", f"models: there is no {unknown[0]!r}; choose of {', '.join(KINDS)}.")
        for feed_id in wanted.feeds:
            await asyncio.to_thread(context.feed, feed_id)
        request = TrainingRequest(
            models=wanted.models or tuple(ask.models),
            feeds=wanted.feeds,
            promote=ask.promote if wanted.promote is None else wanted.promote,
        )
        try:
            job = await ask.start(request)
        except ValueError as error:
            raise Problem(409, "training_running", f"{error}.") from None
        response.headers["Location"] = "/api/v1/train"
        return _view(job)

    @router.delete("", status_code=202, summary="Stop the training that runs; what is in use stays")
    async def cancel_training() -> JobOut:
        job = await commands().cancel()
        if job is None:
            raise Problem(404, "no_training", "No training is running; GET /api/v1/train lists the last ones.")
        return _view(job)

    return router


def _view(job: TrainingJob) -> JobOut:
    value = job.to_json()
    return JobOut(**value, percent=round(100.0 * value.pop("share"), 1))
