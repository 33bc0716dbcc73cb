"""The one who trains: an actor that runs a night at a time in a process of its own, and says how far it is.

It is started when it is first needed, by the schedule or by somebody's request, and knows from the store what was
before it. The night itself is a Ray task at low priority (`services.night_work`) whose process ends with it, memory
and all; it trains on Ray Train's workers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, TaskCancelledError

from mmstream.config import SiteConfig
from mmstream.errors import MmstreamError, StoreError
from mmstream.storage.open import open_store
from services.actors import LEDGER, NAMESPACE, beside_us, find, launch
from services.leftovers import put_away
from services.schedule import due
from services.training_jobs import (
    TRAINING_NOW,
    TRAINING_PAST,
    TrainingJob,
    TrainingRequest,
    read_trainings,
    trainings_of,
)

log = logging.getLogger(__name__)

TRAINER = "trainer"
SAVE_EVERY_S = 1.0
ASK_EVERY_S = 1.0
LOOK_EVERY_S = 20.0
"""So often somebody looks whether a night is due."""
CANCEL_WITHIN_S = 60.0
"""A night that has not stopped by itself for so long is ended."""


class Trainer:
    """One detached actor. What it knows is in the store; killing it ends the training that runs, and nothing else."""

    def __init__(self, site_json: str) -> None:
        self._site_json = site_json
        self._ledger = find(LEDGER)
        store = open_store(SiteConfig.model_validate_json(site_json), write=False)
        self._trainings = trainings_of(store)
        store.close()
        self._stopping = False
        self._is_written = True
        self._night: Any = None
        self._run: asyncio.Task[None] | None = None
        if self._trainings.current is not None:
            self._end("failed", "The process that trained was ended in the middle; what was in use stays in use.")
            self._background = asyncio.get_running_loop().create_task(_free_what_was_set_aside())
        self._saving = asyncio.get_running_loop().create_task(self._save_often())

    async def start(self, request: TrainingRequest) -> TrainingJob | str:
        """The job, or a sentence why not. Never two at a time."""
        try:
            self._trainings = self._trainings.begin(request, time.time())
        except ValueError as error:
            return str(error)
        job = self._trainings.current
        assert job is not None
        self._stopping = False
        await self._save()  # first: a night that was started is not started again, whatever happens now
        self._run = asyncio.get_running_loop().create_task(self._watch(job))
        return job

    async def cancel(self) -> TrainingJob | None:
        """Stops before the next batch or step; what does not stop is ended a minute later."""
        if self._trainings.current is not None and not self._stopping:
            self._stopping = True
            self._note({"phase": "stopping"})
            asyncio.get_running_loop().call_later(CANCEL_WITHIN_S, self._end_night, self._trainings.current.job)
        return self._trainings.current

    async def note(self, job: str, changes: Mapping[str, Any]) -> None:
        """From the night: how far it is."""
        if self._trainings.current is not None and self._trainings.current.job == job:
            self._note({**changes, "phase": "stopping"} if self._stopping else changes)

    async def stopping(self, job: str) -> bool:
        """Whether the night shall stop; so, too, one that nobody knows any more."""
        return self._stopping or self._trainings.current is None or self._trainings.current.job != job

    async def _watch(self, job: TrainingJob) -> None:
        """One night, from its start to its end."""
        try:
            self._night = ray.remote(**NIGHT)(work_at_night).remote(self._site_json, job)
            sentence, results = await self._night
        except MmstreamError as error:
            self._end("failed", f"{error.sentence}.")
        except TaskCancelledError:
            self._end("cancelled", "Stopped; what was in use stays in use.")
        except RayError as error:
            self._end("failed", f"The night's process ended without a word ({type(error).__name__}); was there memory?")
        except Exception as error:
            # This loop's one broad except: a mistake in a model must not leave a job that runs for ever.
            log.exception("the training failed")
            self._end("failed", f"It failed: {type(error).__name__}: {str(error).splitlines()[-1][:300]}")
        else:
            self._end("cancelled" if self._stopping else "done", sentence, results=tuple(results), share=1.0)
        await self._save()
        await _free_what_was_set_aside()

    def _end_night(self, job: str) -> None:
        current = self._trainings.current
        if current is not None and current.job == job and self._night is not None:
            ray.cancel(self._night, force=True)

    def _note(self, changes: Mapping[str, Any]) -> None:
        self._trainings, self._is_written = self._trainings.note(changes), False

    def _end(self, state: Any, sentence: str, **changes: Any) -> None:
        self._trainings = self._trainings.end(state, sentence, time.time(), **changes)
        self._is_written = False

    async def _save(self) -> None:
        self._is_written = True
        try:
            await self._ledger.put_value.remote(TRAINING_PAST, self._trainings.past_json())
            await self._ledger.put_value.remote(TRAINING_NOW, self._trainings.now_json())
        except RayError as error:
            self._is_written = False
            log.warning("the ledger did not take how the training goes: %s", type(error).__name__)

    async def _save_often(self) -> None:
        while True:
            if not self._is_written:
                await self._save()
            await asyncio.sleep(SAVE_EVERY_S)


async def _free_what_was_set_aside() -> None:
    """A night that was killed has left it; one that has ended well has not."""
    try:
        await asyncio.to_thread(put_away)
    except RayError as error:
        log.warning("what was set aside for a training could not be looked at: %s", error)


NIGHT: Mapping[str, Any] = {"num_cpus": 0.01, "max_calls": 1, "max_retries": 0, "name": "night"}


def work_at_night(site_json: str, job: TrainingJob) -> tuple[str, list[dict[str, Any]]]:
    """The Ray task. -> (sentence, results): a model for which there is too little footage is no failed night."""
    # torch is imported here, in the process that ends with the night
    from services.night_work import be_humble, models_here, results_of, run_night
    from services.swapping import promote_on

    be_humble()
    site = SiteConfig.model_validate_json(site_json)
    desk = Desk(job.job)
    report = run_night(site, job, promote=promote_on(site), note=desk.note, should_stop=desk.should_stop)
    _, left_out = models_here(site, job.models)
    also = f" Left out, for their encoders do not run here: {', '.join(left_out)}." if left_out else ""
    return report.sentence + also, results_of(report)


class Desk:
    """How the night reaches the trainer; without one it stops."""

    def __init__(self, job: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._job, self._clock = job, clock
        self._trainer = find(TRAINER)
        self._asked_s, self._stop = float("-inf"), False

    def note(self, changes: Mapping[str, Any]) -> None:
        self._trainer.note.remote(self._job, changes)

    def should_stop(self) -> bool:
        if not self._stop and self._clock() >= self._asked_s + ASK_EVERY_S:
            self._asked_s = self._clock()
            try:
                self._stop = ray.get(self._trainer.stopping.remote(self._job))
            except RayActorError:
                self._stop = True
        return self._stop


def trainer_of(site_json: str) -> Any:
    """The site's trainer; started when there is none yet."""
    return launch(Trainer, TRAINER, site_json, options={"namespace": NAMESPACE, **beside_us()})


class TrainerClient:
    """`routes.train.TrainingCommands` through the actor."""

    def __init__(self, site: SiteConfig) -> None:
        self.models: Sequence[str] = site.training.models
        self.promote = site.training.promote
        self._site_json = site.model_dump_json()

    async def start(self, request: TrainingRequest) -> TrainingJob:
        answer = await self._call("start", request)
        if isinstance(answer, str):
            raise ValueError(answer)
        job: TrainingJob = answer
        return job

    async def cancel(self) -> TrainingJob | None:
        job: TrainingJob | None = await self._call("cancel")
        return job

    async def _call(self, method: str, *args: Any) -> Any:
        try:
            trainer = await asyncio.to_thread(trainer_of, self._site_json)
            return await getattr(trainer, method).remote(*args)
        except (RayActorError, ConnectionError) as error:
            raise StoreError("the trainer is starting again; ask once more in a few seconds") from error


async def train_nightly(site: SiteConfig, *, now: Callable[[], float] = time.time) -> None:
    """Starts the trainer's nights when they are due, for ever. Runs in the supervisor.

    A site that has never trained has nothing to make up for: its first night is the next one.
    """
    request = TrainingRequest(models=site.training.models, promote=site.training.promote, nightly=True)
    client, began_s = TrainerClient(site), now()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            known = read_trainings(await find(LEDGER).value.remote(TRAINING_NOW), None)
            if due(now(), began_s if known.nightly_s is None else known.nightly_s, site.training.at):
                log.info("the nightly training starts: %s", (await client.start(request)).job)
        except ValueError as error:
            log.info("the nightly training waits: %s", error)
        except (RayError, ConnectionError, StoreError) as error:
            log.warning("the nightly training could not be started: %s", error)
