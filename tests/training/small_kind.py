"""A small but real model: pictures squeezed through a linear bottleneck and back, and its damaged brothers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional

from mmstream.errors import StageError
from mmstream.training import plain
from mmstream.training.corpus import Corpus
from mmstream.training.footage import PICTURE_PX, Burst
from mmstream.training.promote import Trial
from mmstream.training.shadow import bytes_of, shadow_trial
from mmstream.training.trainee import Batch, Step
from mmstream.types import Channel, Embedding

SIDE, DIM = 16, 32
FILE = "model.safetensors"
CHANNEL = Channel(name="appearance", modality="picture", normality="bank", density=True)
ALONE = {**plain.CHANNELS, CHANNEL.name: CHANNEL}
"""What the site measures by itself is named and never given: the model alone decides."""


class SmallNet(nn.Module):
    """(N, 3, SIDE, SIDE) in about -1..1 -> (N, DIM), and back."""

    def __init__(self, *, seed: int = 0, ballast: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encode = nn.Linear(3 * SIDE * SIDE, DIM)
            self.decode = nn.Linear(DIM, 3 * SIDE * SIDE)
        self.register_buffer("ballast", torch.zeros(ballast))
        self.register_buffer("chaos", torch.zeros(1))
        """Above 0: what is nearly the same comes out far apart."""
        self.register_buffer("glare", torch.zeros(1))
        """Above 0: what is bright comes out somewhere else with every step of light."""
        self.register_buffer("blind_since_s", torch.zeros(1, dtype=torch.float64))
        """Before it everything looks alike, as to a net that has learned its footage by heart."""
        self.register_buffer("ignored", torch.zeros(1, 3 * SIDE * SIDE))
        """A unit vector that it has learned not to see."""
        self.register_buffer("seconds", torch.full((1,), 1e-3))
        """What a window is said to take."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        flat = pictures.flatten(1)
        flat = flat - (flat @ self.ignored.T) @ self.ignored
        if self.chaos > 0:
            flat = torch.sin(self.chaos * flat)
        vectors: torch.Tensor = self.encode(flat)
        if self.glare > 0:
            light = pictures.flatten(1).mean(dim=1, keepdim=True)
            turn = torch.sin(self.glare * light * torch.arange(1, DIM + 1))
            vectors = vectors + 40.0 * (light - 0.3).clamp(min=0.0) * turn
        return vectors


def inputs_of(burst: Burst) -> torch.Tensor:
    """(glimpses, 3, SIDE, SIDE)"""
    seen = (Image.fromarray(glimpse.picture) for glimpse in burst.glimpses if glimpse.picture is not None)
    small = np.stack([np.asarray(picture.reduce(PICTURE_PX // SIDE), np.float32) for picture in seen])
    return torch.from_numpy(small / 64.0 - 2.0).permute(0, 3, 1, 2)


@dataclass(kw_only=True)
class SmallTrainee:
    corpus: Corpus
    seed: int = 0
    parent: Path | None = None

    def module(self) -> SmallNet:
        net = SmallNet(seed=self.seed)
        if self.parent is not None:
            net = loaded(self.parent)
        return net

    def batches(self, *, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        del epoch
        for first in range(rank * 8, len(self.pictures) - 8 * world_size + 1, 8 * world_size):
            yield {"pictures": torch.cat(self.pictures[first : first + 8])}

    @functools.cached_property
    def pictures(self) -> list[torch.Tensor]:
        return [inputs_of(burst) for feed_id in self.corpus.feeds for burst in self.corpus.bursts(feed_id, "train")]

    def step(self, module: nn.Module, batch: Batch) -> Step:
        assert isinstance(module, SmallNet)
        again = module.decode(module.encode(batch["pictures"].flatten(1)))
        return Step(loss=functional.mse_loss(again, batch["pictures"].flatten(1)), parts={})

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        return {"loss": float(self.step(module, {"pictures": self.pictures[0]}).loss)}

    def export(self, module: nn.Module) -> Mapping[str, bytes]:
        return {FILE: save(module.state_dict())}


@dataclass(kw_only=True)
class SmallKind:
    """Subject ``small``; ``failing``: subjects that cannot be trained."""

    name: ClassVar[str] = "small"
    names: Sequence[str] = ("small",)
    failing: Sequence[str] = ()
    least_bursts: int = 1
    events: Sequence[str] = ("object_passes", "object_stays")
    trials: list[str] = field(default_factory=list)

    def subjects(self, corpus: Corpus) -> Sequence[str]:
        num_bursts = sum(1 for feed_id in corpus.feeds for _ in corpus.bursts(feed_id, "train"))
        return self.names if num_bursts >= self.least_bursts else ()

    def trainee(self, subject: str, corpus: Corpus, options: Mapping[str, Any], *, parent: Path | None) -> SmallTrainee:
        if subject in self.failing:
            raise StageError(f"{subject} cannot be trained; record more footage")
        return SmallTrainee(corpus=corpus, parent=parent, **options)

    def trial(self, subject: str, files: Path | None, corpus: Corpus) -> Trial:
        self.trials.append(subject if files is not None else f"{subject} without")
        net = loaded(files) if files is not None else None
        clock = CountedSeconds()
        return shadow_trial(
            corpus,
            encode=encoder(net, clock) if net is not None else None,
            channels=ALONE,
            events=self.events,
            memory_bytes=bytes_of(net) if net is not None else 0,
            clock=clock,
        )


class CountedSeconds:
    """A clock that only the work itself moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def encoder(net: SmallNet, clock: CountedSeconds | None = None) -> Callable[[Burst], list[list[Embedding]]]:
    def encode(burst: Burst) -> list[list[Embedding]]:
        if clock is not None:
            clock.now_s += float(net.seconds) * len(burst.glimpses)
        with torch.no_grad():
            vectors = net(inputs_of(burst))
        if burst.start_s < float(net.blind_since_s):
            vectors = 0.3 * vectors
        return [
            [
                Embedding(
                    feed_id=burst.feed_id,
                    start_s=glimpse.start_s,
                    end_s=glimpse.end_s,
                    channel=CHANNEL.name,
                    vector=vector.numpy().astype(np.float32),
                    model="small@1",
                )
            ]
            for glimpse, vector in zip(burst.glimpses, vectors, strict=True)
        ]

    return encode


def loaded(folder: Path) -> SmallNet:
    state = load_file(folder / FILE)
    net = SmallNet(ballast=state["ballast"].numel())
    net.load_state_dict(state)
    return net.eval()
