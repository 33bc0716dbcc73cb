"""Training on two workers of a real Ray: they share what they learn, and a killed one costs an epoch, not the night."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from mmstream.config import SiteConfig, TrainingSection
from mmstream.errors import StageError
from mmstream.storage.open import open_store
from mmstream.training.loop import Epoch, FitSettings
from mmstream.training.registry import Registry
from services import trainer
from services.actors import LEDGER, find
from services.app import start_ledger
from services.finetune import fit_on_ray, num_workers_now
from services.leftovers import groups_left
from services.trainer import TRAINER, TrainerClient, trainer_of
from services.training_jobs import TRAINING_NOW, TrainingJob, TrainingRequest, Trainings, trainings_of
from tests.cluster.test_archive import is_gone
from tests.cluster.tiny_trainee import Point, TinyTrainee
from tests.rtsp.site import wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    # Ray Data, which Ray Train looks at, uses its own deprecated settings
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

KIND = "tests.cluster.tiny_trainee:TinyKind"
TWO = TrainingSection(workers=2, cpus_per_worker=0.5)
REQUEST = TrainingRequest(models=(KIND,), promote=False)
SETTINGS = FitSettings(epochs=10, learning_rate=0.3, patience=0, precision="fp32")


@pytest.mark.usefixtures("cluster")
def test_two_workers_of_which_one_is_killed_go_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    told: list[Epoch] = []
    killed: list[int] = []

    def kill_one_in_the_fourth_epoch(epoch: Epoch) -> None:
        told.append(epoch)
        if epoch.number == 4 and not killed:
            killed.append(next(pid for _, rank, _, pid in lines(trace) if rank == 1))
            os.kill(killed[0], signal.SIGKILL)

    trainee = TinyTrainee(trace=trace, batch_s=0.2)
    fitted = fit_on_ray(
        trainee, SETTINGS, TWO, storage=str(tmp_path / "runs"), name="night", on_progress=kill_one_in_the_fourth_epoch
    )

    assert killed
    first = [line for line in lines(trace) if line[3] in pids_until(trace, killed[0])]
    later = [line for line in lines(trace) if line not in first]
    assert min(epoch for epoch, *_ in later) >= 2, "it went on, it did not begin again"
    assert {(rank, workers) for _, rank, workers, _ in lines(trace)} == {(0, 2), (1, 2)}
    assert len(fitted.history) == SETTINGS.epochs == told[-1].number
    # worker 0 wants 0, worker 1 wants 1: half way only when gradients are shared
    assert isinstance(fitted.module, Point)
    assert float(fitted.module.at.detach()) == pytest.approx(0.5, abs=0.2)
    assert trainee.export(fitted.module).keys() == {"model.safetensors"}
    assert not (tmp_path / "runs" / "night").exists(), "checkpoints of a training that has ended are in the way"


@pytest.mark.usefixtures("cluster")
def test_what_can_never_be_trained_is_said_in_its_own_sentence_and_not_tried_again_and_again(tmp_path: Path) -> None:
    trainee = TinyTrainee(trace=tmp_path / "trace", fails="the footage shows nothing; open the lens")
    one = TWO.model_copy(update={"workers": 1})
    with pytest.raises(StageError, match="open the lens"):
        fit_on_ray(trainee, SETTINGS, one, storage=str(tmp_path), name="night")


@pytest.mark.usefixtures("cluster")
def test_a_cluster_without_room_is_told_what_a_worker_takes(tmp_path: Path) -> None:
    large = TrainingSection(workers=2, cpus_per_worker=64)
    assert num_workers_now(large) == 0
    with pytest.raises(StageError, match="64 CPUs"):
        fit_on_ray(TinyTrainee(trace=tmp_path / "trace"), SETTINGS, large, storage=str(tmp_path), name="night")


@pytest.fixture
def site(cluster: None, tmp_path: Path) -> Iterator[SiteConfig]:  # noqa: ARG001 - it must be up
    options = {"trace": str(tmp_path / "trace"), "epochs": 3, "precision": "fp32"}
    training = {"models": [KIND], "cpus_per_worker": 0.5, "options": {"tiny": options}}
    site = SiteConfig.model_validate({"site": {"data_dir": tmp_path / "data"}, "training": training})
    start_ledger(site)
    yield site
    for name in (TRAINER, LEDGER):
        ray.kill(find(name))
        wait_until(lambda name=name: is_gone(name), within_s=60, what=f"Ray has forgotten {name}")


def test_the_schedule_starts_one_night_and_what_came_of_it_is_kept(
    site: SiteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "LOOK_EVERY_S", 0.2)
    yesterday = Trainings(nightly_s=time.time() - 86_400)
    ray.get(find(LEDGER).put_value.remote(TRAINING_NOW, yesterday.now_json()), timeout=60)
    at = datetime.fromtimestamp(time.time() - 60).strftime("%H:%M")
    training = site.training.model_copy(update={"at": at, "promote": False})
    site = site.model_copy(update={"training": training})
    with running(trainer.train_nightly(site)):
        wait_until(lambda: trainings(site).current is not None, within_s=60, what="the night has begun")
        with pytest.raises(ValueError, match="is running"):
            asyncio.run(TrainerClient(site).start(REQUEST))
        (done,) = ended(site, 1)
        looked_s = time.monotonic()
        wait_until(lambda: time.monotonic() > looked_s + 1.0, within_s=60, what="the schedule has looked again")
        assert trainings(site).current is None, "one night, one training"
    assert (done.nightly, done.state, done.share) == (True, "done", 1.0)
    (result,) = done.results
    assert (result["subject"], result["outcome"]) == ("tiny", "waiting"), result
    (version,) = Registry(site.site.data_dir / "models").versions("tiny")
    assert version.version == result["version"]
    report = json.loads((site.site.data_dir / "training" / done.job / "report.json").read_text())
    assert len(report["entries"][0]["epochs"]) == 3


def test_a_night_that_is_cancelled_ends_and_promotes_nothing(site: SiteConfig, tmp_path: Path) -> None:
    client = TrainerClient(endless(site))
    asyncio.run(client.start(REQUEST))
    wait_until((tmp_path / "trace").exists, within_s=300, what="somebody trains")
    stopping = asyncio.run(client.cancel())
    assert stopping is not None
    assert stopping.phase == "stopping"
    (cancelled,) = ended(site, 1)
    assert cancelled.state == "cancelled"
    assert Registry(site.site.data_dir / "models").versions("tiny") == []
    assert asyncio.run(client.cancel()) is None


def test_a_trainer_that_is_killed_in_the_middle_of_a_night_says_so_and_is_ready_for_another(site: SiteConfig) -> None:
    actor = trainer_of(endless(site).model_dump_json())
    ray.get(actor.start.remote(REQUEST), timeout=60)
    ray.kill(actor, no_restart=False)
    (interrupted,) = ended(site, 1)
    assert (interrupted.state, "in the middle" in interrupted.sentence) == ("failed", True)
    assert trainings(site).current is None


def test_a_night_that_is_killed_while_its_workers_train_leaves_no_cpus_set_aside(
    site: SiteConfig, tmp_path: Path
) -> None:
    free = ray.available_resources()["CPU"]
    asyncio.run(TrainerClient(endless(site)).start(REQUEST))
    wait_until((tmp_path / "trace").exists, within_s=300, what="somebody trains")
    assert groups_left()
    night = next(
        each for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [""])[0].startswith("ray::night")
    )
    night.kill()
    (killed,) = ended(site, 1)
    assert (killed.state, "without a word" in killed.sentence) == ("failed", True)
    wait_until(lambda: not groups_left(), within_s=60, what="nothing is set aside any more")
    wait_until(lambda: ray.available_resources()["CPU"] >= free - 0.05, within_s=60, what="the CPUs are free")


@contextmanager
def running(work: Coroutine[Any, Any, None]) -> Iterator[None]:
    """``work`` on a loop and a thread of its own, cancelled at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    task = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        yield
    finally:
        task.cancel()
        with suppress(CancelledError):
            task.result(timeout=60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def endless(site: SiteConfig) -> SiteConfig:
    """The same site, whose nights do not end by themselves."""
    slow = {"tiny": {**site.training.options["tiny"], "epochs": 10_000}}
    return site.model_copy(update={"training": site.training.model_copy(update={"options": slow})})


def trainings(site: SiteConfig) -> Trainings:
    store = open_store(site, write=False)
    try:
        return trainings_of(store)
    finally:
        store.close()


def ended(site: SiteConfig, count: int) -> tuple[TrainingJob, ...]:
    """Those that have ended, once there are so many."""
    wait_until(lambda: len(trainings(site).past) == count, within_s=300, what=f"{count} trainings have ended")
    return trainings(site).past


def lines(trace: Path) -> list[tuple[int, int, int, int]]:
    """(epoch, rank, workers, pid) of every epoch that a worker has begun."""
    rows = [tuple(map(int, line.split())) for line in trace.read_text().splitlines()]
    return [(epoch, rank, workers, pid) for epoch, rank, workers, pid in rows]


def pids_until(trace: Path, killed: int) -> set[int]:
    """Of the group of workers that one was killed of."""
    seen = lines(trace)
    last = max(number for number, line in enumerate(seen) if line[3] == killed)
    return {pid for _, _, _, pid in seen[: last + 1]}
