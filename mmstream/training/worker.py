"""One of the processes that train together, as `training.loop` sees it; Ray's side of it is in `services`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from mmstream.encoders.filterbank import pick_device


class Worker(Protocol):
    """One of the processes that train together; they all call the same methods in the same order."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module, on the device already, so that its gradients are the mean over the workers."""
        ...

    def resume(self) -> bytes | None:
        """The last ``state`` that was kept; None: from the start."""
        ...

    def report(self, epoch: int, figures: Mapping[str, float], state: bytes) -> None:
        """``epoch`` epochs are done. ``state`` is empty on all ranks but 0."""
        ...

    def should_stop(self) -> bool:
        """Asked before every batch."""
        ...


class LocalWorker:
    """The only one. With a ``folder`` it keeps its state there, and a new one goes on from it."""

    rank = 0
    world_size = 1

    def __init__(self, *, device: str = "auto", folder: Path | None = None) -> None:
        self.device = pick_device(device)
        self._path = folder / "state.pt" if folder is not None else None

    def wrap(self, module: nn.Module) -> nn.Module:
        return module

    def resume(self) -> bytes | None:
        return self._path.read_bytes() if self._path is not None and self._path.is_file() else None

    def report(self, epoch: int, figures: Mapping[str, float], state: bytes) -> None:  # noqa: ARG002
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_suffix(".part")
            part.write_bytes(state)
            part.replace(self._path)

    def should_stop(self) -> bool:
        return False
