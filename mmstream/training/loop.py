"""Fits a `Trainee`: the one loop that every model of a site goes through, on one process or on many.

No Ray here: a `Worker` says which of how many it is, wraps the module for them, and keeps what is reported.
An epoch is the unit of everything: it starts from a random state of its own (seed, epoch, rank), and its end is a
state from which the rest follows, so that on one process a training that was killed gives the same weights, to the bit.
"""

from __future__ import annotations

import io
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from mmstream.encoders.filterbank import pick_dtype
from mmstream.errors import StageError
from mmstream.training.fit_settings import FitSettings, pace, take_settings
from mmstream.training.trainee import Batch, Trainee
from mmstream.training.worker import LocalWorker, Worker

__all__ = ["Epoch", "FitSettings", "Fitted", "LocalWorker", "Worker", "fit", "take_settings"]

MAX_SKIPPED_IN_A_ROW = 5
"""Batches without a finite loss; one now and then is bad footage, so many are a training that has come apart."""

Stopped = Literal["", "patience", "time", "asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch gave, for a progress bar and for curves."""

    number: int
    """From 1."""
    of: int
    figures: Mapping[str, float]
    """``train/...`` and ``validation/...``, ``learning_rate``, ``skipped`` (batches) and ``seconds``, both so far."""
    is_best: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A training that has ended."""

    module: nn.Module
    """With the weights of the best epoch, in evaluation mode."""
    best_epoch: int
    history: tuple[Mapping[str, float], ...]
    """The figures of every epoch, those before a restart, too."""
    num_skipped: int
    stopped: Stopped
    """Why it ended before the last epoch; empty: it did not."""

    @property
    def figures(self) -> Mapping[str, float]:
        """Of the best epoch."""
        return self.history[self.best_epoch - 1]


def fit(
    trainee: Trainee,
    settings: FitSettings,
    worker: Worker,
    *,
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Train until the last epoch, until patience or time is over, or until the worker says stop.

    Raises:
        StageError: there are no batches, five in a row had no finite loss, or no epoch had one on validation.
    """
    devices = [worker.device] if worker.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(trainee.seed)
        return _Fit(trainee, settings, worker, clock).run(on_epoch)


class _Fit:
    """The state of a training, and what an epoch does to it."""

    def __init__(self, trainee: Trainee, settings: FitSettings, worker: Worker, clock: Callable[[], float]) -> None:
        self._trainee, self._settings, self._worker, self._clock = trainee, settings, worker, clock
        self._module = trainee.module().to(worker.device)
        self._wrapped = worker.wrap(self._module)
        self._optimizer = _optimizer(self._module, settings)
        self._dtype = pick_dtype(settings.precision, worker.device)
        self._num_batches = sum(1 for _ in self._batches(0))
        if not self._num_batches:
            raise StageError("there is nothing to learn from: not one batch; record more footage")
        self._num_skipped = self._in_a_row = self._best_epoch = 0
        self._best_loss, self._best = math.inf, dict[str, torch.Tensor]()
        self._average = _copied(_learned(self._module)) if settings.ema_decay else {}
        self._history: list[dict[str, float]] = []
        self._stopped: Stopped = ""
        self._began_s = clock()
        if (state := worker.resume()) is not None:
            self._load(state)

    def run(self, on_epoch: Callable[[Epoch], None]) -> Fitted:
        while not self._stopped and len(self._history) < self._settings.epochs:
            if self._patience_is_over():
                self._stopped = "patience"
                break
            trained = self._train(len(self._history))
            if trained is None:
                self._stopped = "asked"
                break
            self._validate(trained)
            number, figures = len(self._history), self._history[-1]
            self._worker.report(number, figures, self._state() if self._worker.rank == 0 else b"")
            is_best = self._best_epoch == number
            on_epoch(Epoch(number=number, of=self._settings.epochs, figures=figures, is_best=is_best))
        if not self._best:
            why = "it was stopped before the first" if self._stopped == "asked" else "no epoch had a finite loss"
            raise StageError(f"the training gave nothing: {why}; train again")
        _put(self._module, self._best)
        return Fitted(
            module=self._module.eval(),
            best_epoch=self._best_epoch,
            history=tuple(self._history),
            num_skipped=self._num_skipped,
            stopped=self._stopped,
        )

    # -- an epoch -----------------------------------------------------------------------------------

    def _train(self, epoch: int) -> dict[str, float] | None:
        """-> means of the parts over the batches; None: asked to stop."""
        own = np.random.SeedSequence([self._trainee.seed, epoch, self._worker.rank])
        torch.manual_seed(int(own.generate_state(1)[0]))
        self._wrapped.train()
        sums: dict[str, float] = defaultdict(float)
        num_good = 0
        for number, batch in enumerate(self._batches(epoch)):
            if self._agreed(self._worker.should_stop()):
                return None
            if self._agreed(0 < self._settings.max_seconds <= self._seconds()):
                self._stopped = "time"
                break
            parts = self._step(batch, (epoch + number / self._num_batches) / self._settings.epochs)
            num_good += bool(parts)
            for name, value in parts.items():
                sums[f"train/{name}"] += value
        return {name: total / num_good for name, total in sums.items()}

    def _step(self, batch: Batch, share: float) -> dict[str, float]:
        """Learn from one batch; -> its figures, none when it had to be skipped."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * pace(share, self._settings.warmup_share)
        before = [buffer.detach().clone() for buffer in self._module.buffers()]
        with torch.autocast(self._worker.device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            step = self._trainee.step(self._wrapped, _moved(batch, self._worker.device))
        figures = {"loss": float(step.loss.detach()), **step.parts}
        # where the loss is not finite, make sure that no gradient is: all workers then see it and skip together
        loss = step.loss if math.isfinite(figures["loss"]) else step.loss * math.nan
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._module.parameters(), self._settings.clip_norm)
        if not bool(torch.isfinite(norm)):
            self._skip(before)
            return {}
        self._optimizer.step()
        self._in_a_row = 0
        for name, value in _learned(self._module).items() if self._average else ():
            _towards(self._average[name], value, 1.0 - self._settings.ema_decay)
        return figures

    def _skip(self, buffers: list[torch.Tensor]) -> None:
        with torch.no_grad():  # what a batch of nonsense did to the running statistics is undone
            for buffer, old in zip(self._module.buffers(), buffers, strict=True):
                buffer.copy_(old)
        self._num_skipped, self._in_a_row = self._num_skipped + 1, self._in_a_row + 1
        if self._in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise StageError(
                f"{self._in_a_row} batches in a row gave no finite loss; lower learning_rate "
                f"(now {self._settings.learning_rate:g}) or look at the footage"
            )

    def _validate(self, trained: Mapping[str, float]) -> None:
        own = _copied(_learned(self._module)) if self._average else {}
        _put(self._module, self._average)
        self._module.eval()
        with torch.inference_mode():
            found = self._trainee.validate(self._module)
        loss = self._mean(float(found["loss"]))
        number = len(self._history) + 1
        if loss < self._best_loss:
            self._best_loss, self._best_epoch, self._best = loss, number, _copied(_learned(self._module))
        _put(self._module, own)
        figures = {**trained, **{f"validation/{name}": float(value) for name, value in found.items()}}
        figures["validation/loss"] = loss
        figures |= {"learning_rate": self._optimizer.param_groups[0]["lr"], "skipped": float(self._num_skipped)}
        self._history.append({**figures, "seconds": self._seconds()})

    def _patience_is_over(self) -> bool:
        return 0 < self._settings.patience <= len(self._history) - self._best_epoch

    def _batches(self, epoch: int) -> Iterator[Batch]:
        return self._trainee.batches(epoch=epoch, rank=self._worker.rank, world_size=self._worker.world_size)

    def _seconds(self) -> float:
        return self._clock() - self._began_s

    # -- with the other workers ---------------------------------------------------------------------

    def _agreed(self, flag: bool) -> bool:
        """True on all workers when it is on one: who goes on alone waits for the others for ever."""
        return self._mean(float(flag)) > 0

    def _mean(self, value: float) -> float:
        if self._worker.world_size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self._worker.device)
        torch.distributed.all_reduce(shared)
        return float(shared) / self._worker.world_size

    # -- what a restart goes on from ----------------------------------------------------------------

    def _state(self) -> bytes:
        buffer = io.BytesIO()
        torch.save(
            {
                "module": _learned(self._module),
                "optimizer": self._optimizer.state_dict(),
                "average": self._average,
                "best": self._best,
                "best_loss": self._best_loss,
                "best_epoch": self._best_epoch,
                "history": self._history,
                "num_skipped": self._num_skipped,
                "in_a_row": self._in_a_row,
                "stopped": self._stopped,
            },
            buffer,
        )
        return buffer.getvalue()

    def _load(self, state: bytes) -> None:
        kept = torch.load(io.BytesIO(state), map_location=self._worker.device, weights_only=True)
        _put(self._module, kept["module"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self._average, self._best = kept["average"], kept["best"]
        self._best_loss, self._best_epoch = kept["best_loss"], kept["best_epoch"]
        self._history, self._stopped = kept["history"], kept["stopped"]
        self._num_skipped, self._in_a_row = kept["num_skipped"], kept["in_a_row"]
        self._began_s -= self._history[-1]["seconds"]


def _optimizer(module: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """AdamW; biases and normalisations are not decayed."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in learning if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate, fused=True)


def _learned(module: nn.Module) -> dict[str, torch.Tensor]:
    """Weights that are trained, and buffers: what is frozen (a large model under an adapter) is never copied."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


def _copied(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _put(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Into the module, in place: the optimizer and the wrapped module hold the same tensors."""
    own = module.state_dict()
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


def _towards(average: torch.Tensor, value: torch.Tensor, share: float) -> None:
    with torch.no_grad():
        if average.is_floating_point():
            average.lerp_(value, share)
        else:
            average.copy_(value)


def _moved(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
