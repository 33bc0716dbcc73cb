"""The curves of a training: TensorBoard's files always, Weights & Biases on demand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboardX import SummaryWriter

from mmstream.errors import ConfigError


class Curves:
    """Figures by epoch, under ``folder``, for ``tensorboard --logdir``. To be closed.

    ``wandb_project`` not empty: the same curves go there, as a run called ``name``; the key comes from the environment
    (WANDB_API_KEY), as wandb wants it.

    Raises:
        ConfigError: wandb is asked for and not installed.
    """

    def __init__(self, folder: Path, *, name: str, wandb_project: str = "") -> None:
        self._run = _wandb_run(wandb_project, name) if wandb_project else None
        folder.mkdir(parents=True, exist_ok=True)
        self._writer: Any = SummaryWriter(str(folder / name))

    def add(self, epoch: int, figures: Mapping[str, float]) -> None:
        """``epoch`` from 1. A figure that is not finite leaves a gap."""
        finite = {name: value for name, value in figures.items() if math.isfinite(value)}
        for name, value in finite.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
        if self._run is not None:
            self._run.log(finite, step=epoch)

    def close(self) -> None:
        self._writer.close()
        if self._run is not None:
            self._run.finish()

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wandb_run(project: str, name: str) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            "training.wandb_project is set but wandb is not installed: pip install 'mmstream[wandb]'"
        ) from error
    return wandb.init(project=project, name=name)
