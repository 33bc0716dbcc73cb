"""The smallest thing that can be trained on several workers: one number, pulled to another place by each of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save
from torch import nn

from mmstream.errors import StageError
from mmstream.training.corpus import Corpus
from mmstream.training.promote import Trial
from mmstream.training.rates import Blocks
from mmstream.training.trainee import Batch, Step

NUM_BATCHES = 4


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor([4.0]))

    def miss(self, wanted: torch.Tensor) -> torch.Tensor:
        return ((self.at - wanted) ** 2).mean()


@dataclass(kw_only=True)
class TinyTrainee:
    """Worker r wants the point at r: only those that share their gradients meet half way."""

    trace: Path | None = None
    """A file, a line per epoch and worker that began it: ``epoch rank workers pid``."""
    seed: int = 0
    batch_s: float = 0.05
    fails: str = ""

    def module(self) -> nn.Module:
        return Point()

    def batches(self, *, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        for number in range(NUM_BATCHES):
            yield {
                "wanted": torch.tensor([float(rank)]),
                "line": f"{epoch} {rank} {world_size} {os.getpid()}\n" if number == 0 else "",
            }

    def step(self, module: nn.Module, batch: Batch) -> Step:
        if self.fails:
            raise StageError(self.fails)
        if batch["line"] and self.trace is not None:
            with self.trace.open("a") as file:
                file.write(batch["line"])
        time.sleep(self.batch_s)  # an epoch takes long enough to be killed in
        assert isinstance(module, Point)
        loss = module.miss(batch["wanted"])  # not its forward: what trainees do
        return Step(loss=loss, parts={"at": float(module.at.detach())})

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        assert isinstance(module, Point)
        return {"loss": float(module.miss(torch.tensor([0.5])))}

    def export(self, module: nn.Module) -> Mapping[str, bytes]:
        return {"model.safetensors": save(module.state_dict())}


class TinyKind:
    """A kind of model that is always worth promoting; its trace is in the folder that its options name."""

    name: ClassVar[str] = "tiny"

    def subjects(self, corpus: Corpus) -> Sequence[str]:  # noqa: ARG002 - it learns from nothing
        return ("tiny",)

    def trainee(
        self,
        subject: str,  # noqa: ARG002
        corpus: Corpus,  # noqa: ARG002
        options: Mapping[str, Any],
        *,
        parent: Path | None,  # noqa: ARG002
    ) -> TinyTrainee:
        trace = Path(options["trace"]) if "trace" in options else None
        return TinyTrainee(trace=trace, batch_s=options.get("batch_s", 0.01))

    def trial(self, subject: str, files: Path | None, corpus: Corpus) -> Trial:  # noqa: ARG002
        return Trial(
            found={f"event-{number}": files is not None for number in range(20)},
            confirmed={},
            absorbed={},
            num_alerts=1,
            blocks=(Blocks(rank=1, num_calibrated=50, num_new=50),),
            window_s=0.001,
            memory_bytes=4,
        )
