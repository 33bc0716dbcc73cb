"""The site's own picture and sound networks, learned from nothing but its footage.

What is seen belongs to what is heard in the same window, and what comes next follows from both (`objectives`); a large
encoder may teach them on top. No labels: what the vectors must give is room for what differs on one camera.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from mmstream.encoders.site_net import FORMAT, PARTS, about, told_by
from mmstream.errors import ConfigError, StageError
from mmstream.training.augment import Augmentation, augmented_mels, augmented_pictures
from mmstream.training.corpus import Corpus
from mmstream.training.footage import BURST_WINDOWS
from mmstream.training.objectives import alignment_loss, prediction_loss, spread_loss, teacher_loss
from mmstream.training.site_figures import FORESEEN, figures
from mmstream.training.site_nets import Seen, SiteNet, together
from mmstream.training.stock import Counted, Stock, drawn
from mmstream.training.teacher import Teacher
from mmstream.training.trainee import Batch, Step

WEIGHTS = "model.safetensors"
VALIDATION_SHARE = 0.1
MOST_ASIDE = 256
LEAST_BATCHES = 40
"""Of an epoch: of little footage it takes several rounds, each with other windows of the bursts."""
VALIDATION_BATCH = 64
LEAST_OF_PART = 50
"""Windows with a picture (or sound), below which no network for it is exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """``training.options.site``, beside what `FitSettings` takes.

    Raises:
        ConfigError: a value that makes no sense.
    """

    seed: int = 0
    batch: int = 32
    """Bursts, two windows of each."""
    least_bursts: int = 200
    """Fewer are too few to learn from."""
    most_bursts: int = 3000
    """More are thinned evenly: 600 MB."""
    modality_dropout: float = 0.3
    """Share of windows whose prediction is not told of the picture, and the same of the sound."""
    alignment: float = 1.0
    """Weights of the losses."""
    prediction: float = 1.0
    spread: float = 1.0
    distillation: float = 1.0
    teacher: str = ""
    """A replica encoder of pictures, such as ``vision``, that the picture network learns from, too."""
    folder: str = ""
    """Of the teacher; empty: what the site runs it with."""
    flip: bool = False
    """Mirror half of the pictures: only where it does not matter which way things go."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is not type(field.default) and not (isinstance(field.default, float) and type(value) is int):
                raise ConfigError(f"{field.name} must be a {type(field.default).__name__}, got {value!r}")
        numbers = {"batch": 2, "least_bursts": 4, "most_bursts": self.least_bursts, "seed": 0}
        weights = ("modality_dropout", "alignment", "prediction", "spread", "distillation")
        for name, least in {**numbers, **dict.fromkeys(weights, 0)}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)!r}")
        if self.modality_dropout >= 1:
            raise ConfigError(f"modality_dropout must be below 1, got {self.modality_dropout!r}")


class SiteTrainee:
    """Both networks being trained. The bursts are read when they are first needed, and never pickled."""

    def __init__(self, corpus: Corpus, recipe: Recipe, *, parent: Path | None = None) -> None:
        """Raises StageError: fewer bursts than wanted."""
        self._counted = Counted.of(corpus)
        if self._counted.num_bursts < recipe.least_bursts:
            raise StageError(
                f"{self._counted.num_bursts} bursts are too few to train the site's networks on, want "
                f"{recipe.least_bursts}; let the site watch for some hours more"
            )
        self.seed = recipe.seed
        self._corpus, self._recipe = corpus, recipe
        self._parent = (parent / WEIGHTS).read_bytes() if parent is not None else None
        self._teacher = Teacher.of(recipe.teacher, recipe.folder, corpus) if recipe.teacher else None
        self._augmentation = Augmentation(flip=recipe.flip)
        self._stock: Stock | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stock": None}

    # -- what the loop asks for ---------------------------------------------------------------------

    def module(self) -> nn.Module:
        torch.manual_seed(self.seed)
        net = SiteNet(teacher_dim=self._teacher.dim if self._teacher is not None else 0)
        if self._parent is not None and told_by(self._parent).get("format") == FORMAT:
            own = net.state_dict()
            kept = {name: value for name, value in load(self._parent).items() if name in own}
            net.load_state_dict({name: value for name, value in kept.items() if value.shape == own[name].shape}, False)
        return net

    def batches(self, *, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        rows, _ = self.stock.split(VALIDATION_SHARE)
        shared = np.random.default_rng([self.seed, epoch])
        chosen: list[npt.NDArray[np.intp]] = []
        while len(chosen) < LEAST_BATCHES:
            chosen += drawn(self.stock, rows, batch=self._recipe.batch, random=shared)
        random = np.random.default_rng([self.seed, epoch, rank])
        for number in range(-(-len(chosen) // world_size)):  # the last of some workers is the first of others again
            mine = chosen[(number * world_size + rank) % len(chosen)]
            first = random.integers(0, BURST_WINDOWS - 1, len(mine))
            yield self._batch(mine, first, random)

    def step(self, module: nn.Module, batch: Batch) -> Step:
        seen: Seen = module(batch["pictures"], batch["mels"], batch["has"], batch["told"])
        with torch.autocast(seen.picture.device.type, enabled=False):
            parts = self._losses(seen, batch)
            # every head takes part in every batch: workers that train together wait for all gradients
            loss = self._loss(parts) + sum(0.0 * value.sum() for value in seen.tensors().values())
        return Step(loss=loss, parts={name: float(value.detach()) for name, value in parts.items()})

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        """The loss without augmentation, and `site_figures.figures`.

        What is not foreseen counts here as a share of what varies: networks that say the same of everything, as they do
        at first, would foresee it best.
        """
        _, aside = self.stock.split(VALIDATION_SHARE)
        rows = aside[np.linspace(0, len(aside), min(MOST_ASIDE, len(aside)), endpoint=False).astype(np.intp)]
        batch = self._batch(rows, np.zeros(len(rows), np.int64), None)
        device = next(module.parameters()).device
        inputs = [torch.split(batch[name], VALIDATION_BATCH) for name in ("pictures", "mels", "has", "told")]
        with torch.no_grad():
            seen = together([module(*(each.to(device) for each in part)).cpu() for part in zip(*inputs, strict=True)])
        losses, found = self._losses(seen, batch), figures(seen, batch)
        shares = [1.0 - found[name] for name in FORESEEN if name in found]
        if shares:
            losses["prediction"] = torch.tensor(shares).mean()
        return {"loss": float(self._loss(losses)), **found}

    def export(self, module: nn.Module) -> Mapping[str, bytes]:
        counted = self._counted
        counts = zip(PARTS, (counted.num_pictures, counted.num_sounds), strict=True)
        parts = tuple(name for name, count in counts if count >= LEAST_OF_PART)
        told = {**about(parts=parts), "bursts": str(counted.num_bursts), "feeds": str(len(self._corpus.feeds))}
        state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
        return {WEIGHTS: save(state, told)}

    # -- a batch, and what it should give -----------------------------------------------------------

    @property
    def stock(self) -> Stock:
        if self._stock is None:
            self._stock = Stock.of(self._corpus, most=self._recipe.most_bursts)
        return self._stock

    def _batch(
        self, rows: npt.NDArray[np.intp], first: npt.NDArray[np.int64], random: np.random.Generator | None
    ) -> dict[str, Tensor]:
        """Windows ``first`` of the bursts ``rows``, then those a second later; without ``random`` as they are."""
        pairs = np.stack([first, first + 1], axis=1)
        pictures = torch.from_numpy(self.stock.pictures[rows[:, None], pairs])
        mels = torch.from_numpy(self.stock.mels[rows[:, None], pairs].astype(np.float32))
        has = torch.from_numpy(self.stock.has[rows[:, None], pairs])
        told = torch.ones_like(has)
        if random is not None:
            pictures = augmented_pictures(pictures, self._augmentation, random)
            mels = augmented_mels(mels, self._augmentation, random)
            told = torch.from_numpy(random.random(has.shape) >= self._recipe.modality_dropout)
        batch = {"pictures": pictures, "mels": mels, "has": has, "told": told}
        batch |= {"burst": torch.from_numpy(rows)[:, None].expand(-1, 2)}
        batch |= {"feed": torch.from_numpy(self.stock.feeds[rows])[:, None].expand(-1, 2)}
        if self._teacher is not None:
            batch["taught"] = torch.from_numpy(self._teacher.vectors(self.stock.pictures, rows[:, None], pairs))
        return {name: value.transpose(0, 1).flatten(0, 1).contiguous() for name, value in batch.items()}

    def _loss(self, parts: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([getattr(self._recipe, name) * value for name, value in parts.items()]).sum()

    def _losses(self, seen: Seen, batch: Batch) -> dict[str, Tensor]:
        """By the names of their weights; without what the batch has too little for."""
        has, feed = batch["has"], batch["feed"]
        half = len(has) // 2
        losses: dict[str, list[Tensor]] = {"alignment": [], "prediction": [], "spread": [], "distillation": []}
        both = has.all(dim=1)
        if int(both.sum()) > 1:
            aligned = seen.aligned_picture[both], seen.aligned_sound[both]
            losses["alignment"].append(alignment_loss(*aligned, batch["burst"][both], feed[both]))
        knows = (has & batch["told"])[:half].any(dim=1)
        for part, (vectors, expected) in enumerate(((seen.picture, seen.next_picture), (seen.sound, seen.next_sound))):
            follows = knows & has[half:, part]
            if bool(follows.any()):
                losses["prediction"].append(prediction_loss(expected[:half][follows], vectors[half:][follows]))
            if int(has[:, part].sum()) > 1:
                losses["spread"].append(spread_loss(vectors[has[:, part]], feed[has[:, part]]))
        if seen.taught is not None and bool(has[:, 0].any()):
            losses["distillation"].append(teacher_loss(seen.taught[has[:, 0]], batch["taught"][has[:, 0]]))
        return {name: torch.stack(values).mean() for name, values in losses.items() if values}
