"""One of the processes that train together on Ray Train: what `mmstream.training.loop` needs to know of it."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint
from ray.train.torch import get_device, prepare_model
from torch import nn

from mmstream.errors import MmstreamError
from mmstream.settle import one_thread_per_product
from mmstream.training.loop import Epoch, Fitted, fit
from mmstream.training.trainee import Batch, Step, Trainee

NICENESS = 10
"""Of everything that trains: watching goes first, on every core."""
ASK_EVERY_S = 1.0
STATE = "state.pt"
State = Mapping[str, torch.Tensor]


class RayWorker:
    """This process as `training.loop` sees it."""

    def __init__(self, trainee: Trainee, board: Any) -> None:
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        device = get_device()
        self.device: torch.device = device[0] if isinstance(device, list) else device
        self._trainee, self._board = trainee, board
        self._asked_s = float("-inf")

    def wrap(self, module: nn.Module) -> nn.Module:
        kwargs = {"find_unused_parameters": True}  # a batch without sound leaves a network out
        learning = _Learning(module, self._trainee)
        wrapped: nn.Module = prepare_model(learning, move_to_device=False, parallel_strategy_kwargs=kwargs)
        return wrapped

    def resume(self) -> bytes | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return Path(folder, STATE).read_bytes()

    def report(self, epoch: int, figures: Mapping[str, float], state: bytes) -> None:
        """All workers wait here for each other."""
        with tempfile.TemporaryDirectory() as folder:
            if state:
                Path(folder, STATE).write_bytes(state)
            checkpoint = Checkpoint.from_directory(folder) if state else None
            ray.train.report({**figures, "epoch": epoch}, checkpoint=checkpoint)

    def should_stop(self) -> bool:
        """One worker asks, now and then; the loop tells the others."""
        if self.rank != 0 or time.monotonic() < self._asked_s + ASK_EVERY_S:
            return False
        self._asked_s = time.monotonic()
        return bool(ray.get(self._board.stopped.remote()))


class _Learning(nn.Module):
    """A step as one ``forward``: only around that does DistributedDataParallel see which gradients to share."""

    def __init__(self, module: nn.Module, trainee: Trainee) -> None:
        super().__init__()
        self.module = module
        self._trainee = trainee

    def forward(self, batch: Batch) -> tuple[torch.Tensor, Mapping[str, float]]:
        step = self._trainee.step(self.module, batch)
        return step.loss, step.parts


class _Together:
    """A trainee whose steps are shared, whatever of its module they call, and which starts everywhere alike."""

    def __init__(self, trainee: Trainee, start: State) -> None:
        self._trainee, self._start = trainee, start
        self.seed = trainee.seed
        self.batches, self.validate, self.export = trainee.batches, trainee.validate, trainee.export

    def module(self) -> nn.Module:
        module = self._trainee.module()
        module.load_state_dict(self._start, strict=False)
        return module

    def step(self, module: nn.Module, batch: Batch) -> Step:
        loss, parts = module(batch)
        return Step(loss=loss, parts=parts)


def work(config: dict[str, Any]) -> Fitted | None:
    """What each worker does; the first one's result is the training's."""
    os.nice(NICENESS)
    one_thread_per_product()
    torch.set_num_threads(max(1, int(config["cpus_per_worker"])))
    board = config["board"]
    if ray.get(board.trouble.remote()):
        return None  # it would end in the same way again
    trainee: Trainee = config["trainee"]
    worker = RayWorker(trainee, board)

    def tell(epoch: Epoch) -> None:
        if worker.rank == 0:
            board.tell.remote(epoch)

    try:
        fitted = fit(_Together(trainee, config["start"]), config["settings"], worker, on_epoch=tell)
    except MmstreamError as error:
        ray.get(board.fail.remote(error.sentence))
        raise
    return dataclasses.replace(fitted, module=fitted.module.cpu()) if worker.rank == 0 else None
