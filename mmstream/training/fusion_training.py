"""Training a fusion network, and asking a trained one."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmstream.errors import ConfigError
from mmstream.training.audiovisual import Int64, Stretches
from mmstream.training.fusion_nets import FUSION_NETS, FusionNet, Judged, dropped
from mmstream.training.objectives import (
    bag_loss,
    class_loss,
    distillation_loss,
    ranking_loss,
    rebuild_loss,
    window_loss,
)
from mmstream.types import Float32

Objective = Literal["window", "bag", "ranking"]
"""Labels per window; per stretch, top-k; per stretch, ranked against each other."""
CLIP = 1.0
_ASK_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionRecipe:
    """How a network is trained."""

    method: str = "gated"
    objective: Objective = "window"
    width: int = 32
    num_classes: int = 0
    """With names of events; 0: without."""
    num_epochs: int = 12
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    modality_dropout: float = 0.2
    patience: int = 4
    """Epochs without a better validation loss before it stops."""
    noise: float = 0.1
    """Augmentation: normal noise on standardised vectors."""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedFusion:
    """A network with the standardisation of what it was trained on."""

    net: FusionNet
    centre: Mapping[str, Float32]
    spread: Mapping[str, Float32]
    losses: tuple[tuple[float, float], ...]
    """(training, validation) per epoch."""

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.net.parameters())

    def scores(self, stretches: Stretches) -> Float32:
        """(N, T) probabilities that something happens."""
        return self._asked(stretches, lambda judged: torch.sigmoid(judged.anomaly))

    def classes(self, stretches: Stretches) -> Int64:
        """(N, T) numbers of the likeliest classes."""

        def likeliest(judged: Judged) -> Tensor:
            assert judged.classes is not None, "this network was trained without classes"
            return judged.classes.argmax(dim=-1)

        return self._asked(stretches, likeliest).astype(np.int64)

    def _asked(self, stretches: Stretches, answer: Callable[[Judged], Tensor]) -> Float32:
        self.net.eval()
        answers = []
        with torch.inference_mode():
            for first in range(0, len(stretches), _ASK_AT_ONCE):
                part = _Tensors(stretches.part(np.arange(len(stretches))[first : first + _ASK_AT_ONCE]), self)
                answers.append(answer(self.net(part.vectors, part.present)).numpy())
        return np.concatenate(answers).astype(np.float32)


def train_fusion(
    train: Stretches,
    validation: Stretches,
    recipe: FusionRecipe,
    *,
    teacher: TrainedFusion | None = None,
    on_epoch: Callable[[int], None] = lambda _: None,
) -> TrainedFusion:
    """AdamW with a cosine schedule, modality dropout, noise, and the epoch of the best validation loss.

    With a ``teacher`` its judgements count as much as the labels, and what it makes of a window is copied, too.

    Raises:
        ConfigError: no such method.
    """
    if recipe.method not in FUSION_NETS:
        raise ConfigError(f"there is no fusion {recipe.method!r}; choose one of {', '.join(FUSION_NETS)}")
    torch.manual_seed(recipe.seed)
    random = torch.Generator().manual_seed(recipe.seed)
    dims = {name: rows.shape[-1] for name, rows in train.vectors.items()}
    net = FUSION_NETS[recipe.method](dims, width=recipe.width, num_classes=recipe.num_classes)
    centre, spread = _standard(train)
    trained = TrainedFusion(net=net, centre=centre, spread=spread, losses=())
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    num_steps = recipe.num_epochs * math.ceil(len(train) / recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, num_steps, pct_start=0.15)
    examples, held_out = _Tensors(train, trained, teacher), _Tensors(validation, trained)
    losses: list[tuple[float, float]] = []
    best, best_weights = math.inf, copy.deepcopy(net.state_dict())
    for epoch in range(recipe.num_epochs):
        net.train()
        total = 0.0
        for rows in torch.split(torch.randperm(len(train), generator=random), recipe.batch):
            loss = _loss(net, examples.rows(rows).noisy(recipe, random), recipe)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        net.eval()
        with torch.inference_mode():
            losses.append((total / len(train), float(_loss(net, held_out, recipe))))
        on_epoch(epoch)
        if losses[-1][1] < best:
            best, best_weights = losses[-1][1], copy.deepcopy(net.state_dict())
        if epoch - int(np.argmin([held for _, held in losses])) >= recipe.patience:
            break
    net.load_state_dict(best_weights)
    return TrainedFusion(net=net, centre=centre, spread=spread, losses=tuple(losses))


class _Tensors:
    """Stretches as tensors, standardised once."""

    vectors: dict[str, Tensor]
    present: Tensor
    labels: Tensor
    classes: Tensor
    taught: Tensor | None = None
    """(B, T) probabilities of the teacher's."""
    joint: Tensor | None = None
    """(B, T, H) of the teacher's."""

    def __init__(self, stretches: Stretches, scale: TrainedFusion, teacher: TrainedFusion | None = None) -> None:
        self.vectors = {
            name: torch.from_numpy(((rows - scale.centre[name]) / scale.spread[name]).astype(np.float32))
            for name, rows in stretches.vectors.items()
        }
        self.present = torch.from_numpy(stretches.present)
        self.labels, self.classes = torch.from_numpy(stretches.labels), torch.from_numpy(stretches.classes)
        if teacher is not None:
            self.taught = torch.from_numpy(teacher.scores(stretches))
            self.joint = torch.from_numpy(teacher._asked(stretches, _joint))

    def rows(self, rows: Tensor) -> _Tensors:
        part = copy.copy(self)
        part.vectors = {name: rows_of[rows] for name, rows_of in self.vectors.items()}
        part.present, part.labels, part.classes = self.present[rows], self.labels[rows], self.classes[rows]
        part.taught = self.taught[rows] if self.taught is not None else None
        part.joint = self.joint[rows] if self.joint is not None else None
        return part

    def noisy(self, recipe: FusionRecipe, random: torch.Generator) -> _Tensors:
        """As they are seen in training: with modalities taken away, and noise."""
        part = copy.copy(self)
        part.vectors = {
            name: rows + recipe.noise * torch.randn(rows.shape, generator=random) for name, rows in self.vectors.items()
        }
        part.present = dropped(self.present, recipe.modality_dropout, random)
        return part


def _joint(judged: Judged) -> Tensor:
    assert judged.joint is not None
    return judged.joint


def _loss(net: FusionNet, examples: _Tensors, recipe: FusionRecipe) -> Tensor:
    judged: Judged = net(examples.vectors, examples.present)
    match recipe.objective:
        case "window":
            loss = window_loss(judged, examples.labels)
        case "bag":
            loss = bag_loss(judged, examples.labels.amax(dim=1))
        case "ranking":
            loss = ranking_loss(judged, examples.labels.amax(dim=1))
    loss = loss + rebuild_loss(judged)
    if recipe.num_classes:
        loss = loss + class_loss(judged, examples.classes)
    if examples.taught is not None and examples.joint is not None:
        soft = functional.binary_cross_entropy_with_logits(judged.anomaly, examples.taught)  # Hinton et al. 2015
        loss = loss + soft + distillation_loss(_joint(judged), examples.joint)
    return loss


def _standard(stretches: Stretches) -> tuple[dict[str, Float32], dict[str, Float32]]:
    """Mean of each number and deviation of all numbers of a modality together, over the windows in which it is there:
    numbers that hardly vary must not be blown up to noise."""
    centre, spread = {}, {}
    for number, (name, rows) in enumerate(stretches.vectors.items()):
        there = rows[stretches.present[..., number]]
        if not len(there):  # never there: it will be ignored, whatever it is
            there = rows[:1, 0]
        centre[name] = there.mean(axis=0)
        spread[name] = np.full(there.shape[1], max(float(there.std(axis=0).mean()), 1e-3), np.float32)
    return centre, spread
