"""Fits a `Trainee` on Ray Train V2: several workers, gone on with from the last checkpoint when one of them dies.

The loop is `mmstream.training.loop`, the same that trains in one process; `training_worker` is what a worker is on Ray,
here is who waits for it. What the workers have to say, and whether they shall stop, goes over a small actor
(`Noticeboard`).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import ray
import ray.train
from pyarrow import fs
from ray.exceptions import RayError
from ray.train import CheckpointConfig
from ray.train.torch import TorchConfig, TorchTrainer

from mmstream.config import TrainingSection
from mmstream.errors import StageError
from mmstream.training.loop import Epoch, FitSettings, Fitted
from mmstream.training.trainee import Trainee
from services.training_worker import ASK_EVERY_S, State, work

log = logging.getLogger(__name__)

MAX_FAILURES = 3
"""So many workers may die before a training is given up."""
START_WITHIN_S = 120
"""Importing torch alone takes half a minute on a busy machine."""
OnProgress = Callable[[Epoch], None]

_TRAIN: Any = ray.train
"""Its names are typed as those of V1, which it does not give any more."""

RAY_TRAIN = {
    # A checkpoint counts once the controller has seen it: with its 2 s, a death soon after loses an epoch more.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_WITHIN_S),
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


class Noticeboard:
    """What the workers of one training say; an actor that lives as long as it."""

    def __init__(self) -> None:
        self._epochs: list[Epoch] = []
        self._trouble = ""
        self._stop = False

    def tell(self, epoch: Epoch) -> None:
        self._epochs.append(epoch)

    def fail(self, sentence: str) -> None:
        self._trouble = self._trouble or sentence

    def trouble(self) -> str:
        """Why there is no sense in trying again; empty: nothing is wrong."""
        return self._trouble

    def stop(self) -> None:
        self._stop = True

    def stopped(self) -> bool:
        return self._stop

    def epochs_after(self, count: int) -> list[Epoch]:
        return self._epochs[count:]


def _start_of(trainee: Trainee) -> State:
    """Made where the version in use lies, which may not be where the workers are; without what is never trained."""
    module = trainee.module()
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: value.cpu() for name, value in module.state_dict().items() if name not in frozen}


def num_workers_now(section: TrainingSection) -> int:
    """As many as find room now, at most ``training.workers``; 0: there is none."""
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    wanted = {"CPU": section.cpus_per_worker, "GPU": section.gpus_per_worker}
    room = [int(free.get(name, 0.0) / each) for name, each in wanted.items() if each > 0]
    return min([section.workers, *room])


def fit_on_ray(
    trainee: Trainee,
    settings: FitSettings,
    section: TrainingSection,
    *,
    storage: str,
    name: str,
    on_progress: OnProgress = lambda _epoch: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train on up to ``training.workers`` workers; blocks until it has ended.

    ``storage``: a folder that every node mounts, or ``s3://...``, for the checkpoints of this training (``name``),
    which go when it ends. It goes on with fewer workers when a node is lost. Asked to stop, it ends with the best so
    far.

    Raises:
        StageError: there is no room, it cannot be trained, or workers died again and again; says which.
    """
    most = num_workers_now(section)
    if most < 1:
        raise StageError(
            f"there is no room for training: a worker takes {section.cpus_per_worker:g} CPUs and "
            f"{section.gpus_per_worker:g} GPUs of the Ray cluster; lower training.cpus_per_worker, or add a node"
        )
    for key, value in RAY_TRAIN.items():
        os.environ.setdefault(key, value)
    board: Any = ray.remote(Noticeboard).options(num_cpus=0).remote()
    trainer: Any = TorchTrainer(
        cast(Any, work),
        train_loop_config={
            "trainee": trainee,
            "start": _start_of(trainee),
            "settings": settings,
            "board": board,
            "cpus_per_worker": section.cpus_per_worker,
        },
        torch_config=TorchConfig(backend="nccl" if section.gpus_per_worker else "gloo"),
        scaling_config=_TRAIN.ScalingConfig(
            num_workers=(1, most),
            use_gpu=section.gpus_per_worker > 0,
            resources_per_worker={
                "CPU": section.cpus_per_worker,
                **({"GPU": section.gpus_per_worker} if section.gpus_per_worker else {}),
            },
        ),
        run_config=_TRAIN.RunConfig(
            name=name,
            storage_path=storage,
            failure_config=_TRAIN.FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=2),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        return _wait(trainer, board, on_progress, should_stop)
    except RayError as error:
        raise StageError(f"the training lost its place on the cluster ({type(error).__name__}); train again") from error
    finally:
        ray.kill(board)
        _forget(storage, name)


def _wait(trainer: Any, board: Any, on_progress: OnProgress, should_stop: Callable[[], bool]) -> Fitted:
    """The trainer runs in a thread of its own: in the main one it would take Ctrl-C for itself."""
    ended: dict[str, Any] = {}

    def run() -> None:
        try:
            ended["fitted"] = trainer.fit().return_value
        except Exception as error:  # noqa: BLE001 - the thread's outermost: who waits for it says what ended it
            ended["error"] = error

    thread = threading.Thread(target=run, name="ray-train", daemon=True)
    thread.start()
    num_told = 0
    while thread.is_alive():
        thread.join(ASK_EVERY_S)
        for epoch in ray.get(board.epochs_after.remote(num_told)):
            num_told += 1
            on_progress(epoch)
        if should_stop():
            board.stop.remote()
    trouble: str = ray.get(board.trouble.remote())
    fitted = ended.get("fitted")
    if isinstance(fitted, Fitted):
        return fitted
    raise StageError(trouble or f"the training did not end well: {_short(ended.get('error'))}")


def _short(error: BaseException | None) -> str:
    """The last line of what Ray says: the rest are stacks of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it gave nothing"


def _forget(storage: str, name: str) -> None:
    """Checkpoints of a training that has ended are of no use to anybody."""
    try:
        files, path = fs.FileSystem.from_uri(storage if "://" in storage else Path(storage).absolute().as_uri())
        files.delete_dir(f"{path}/{name}")
    except OSError as error:
        log.warning("the checkpoints of %s stay where they are: %s", name, error)
