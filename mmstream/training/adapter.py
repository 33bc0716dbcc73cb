"""Adapters (LoRA) that move a pretrained picture encoder towards what a site's own cameras show.

Nothing is labelled: windows of one burst show the same scene a second apart and belong together, those of other bursts
do not (InfoNCE: van den Oord et al., 2018, arXiv:1807.03748). What the frozen model would have said pulls back, so that
its words still mean what they meant: rules and searches go on working.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mmstream.encoders.low_rank import SETTINGS, WEIGHTS, attached, load_adapter
from mmstream.encoders.vision import PretrainedVisionEncoder
from mmstream.errors import ConfigError, StageError
from mmstream.training.corpus import Corpus
from mmstream.training.embed import embedder
from mmstream.training.footage import Burst
from mmstream.training.promote import Trial
from mmstream.training.shadow import bytes_of, shadow_trial
from mmstream.training.sizing import fitted
from mmstream.training.trainee import Batch, Step, Trainee
from mmstream.types import UInt8

ENCODER = "vision"
"""The replica encoder whose models can be adapted."""
SUBJECT = f"adapter.{ENCODER}"
MIN_BURSTS = 100
VALIDATION_SHARE = 5
"""One burst in five of the training days is set aside."""
TEMPERATURE = 0.1
MOST_TOLD_APART = 256
"""Bursts of a validation loss, which grows with the number of others."""


class Adapted(nn.Module):
    """The frozen model with what is learned beside it."""

    def __init__(self, encoder: PretrainedVisionEncoder, *, rank: int, alpha: int, dropout: float) -> None:
        super().__init__()
        self._sight, self.scaler = encoder.sight, encoder.sight.scaler
        self.net: Any = attached(encoder.net, rank=rank, alpha=alpha, dropout=dropout)

    def forward(self, pictures: torch.Tensor, *, frozen: bool = False) -> torch.Tensor:
        """uint8 (N, H, W, 3) of any size -> (N, D) of length 1; ``frozen``: what the model says without the adapter."""
        sized = fitted(pictures, self._sight.wants)
        if not frozen:
            return self._vectors(sized)
        with torch.no_grad(), self.net.disable_adapter():
            return self._vectors(sized)

    def _vectors(self, pictures: torch.Tensor) -> torch.Tensor:
        features = self._sight.features(self.net.get_base_model(), pictures, torch.float32)
        return functional.normalize(features.float().flatten(1))


class AdapterTrainee:
    """One adapter being trained."""

    def __init__(
        self,
        pictures: UInt8,
        encoder: Mapping[str, Any],
        *,
        parent: Path | None = None,
        seed: int = 0,
        rank: int = 8,
        alpha: int = 16,
        dropout: float = 0.05,
        batch: int = 32,
        keep: float = 1.0,
    ) -> None:
        """``pictures``: uint8 (bursts, pictures of each, H, W, 3). ``encoder``: what the encoder is made with. ``keep``
        weighs how strongly the frozen model pulls back."""
        self.seed = seed
        self._encoder = dict(encoder)
        self._parent = parent
        self._rank, self._alpha, self._dropout = rank, alpha, dropout
        self._batch, self._keep = batch, keep
        aside = np.arange(len(pictures)) % VALIDATION_SHARE == VALIDATION_SHARE - 1
        self._learned, self._aside = pictures[~aside], pictures[aside]

    def module(self) -> nn.Module:
        torch.manual_seed(self.seed)
        encoder = PretrainedVisionEncoder(**{**self._encoder, "precision": "fp32", "words": False, "device": "cpu"})
        module = Adapted(encoder, rank=self._rank, alpha=self._alpha, dropout=self._dropout)
        if self._parent is not None:
            load_adapter(module.net, self._parent)
        return module

    def batches(self, *, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(len(self._learned))
        share = max(1, len(order) // world_size)
        mine = order[rank * share : (rank + 1) * share]
        random = np.random.default_rng((self.seed, epoch, rank))
        for start in range(0, len(mine), self._batch):
            chosen = mine[start : start + self._batch]
            if len(chosen) < 2:
                return  # alone it has nothing to be told from
            pairs = np.stack([random.permutation(self._learned.shape[1])[:2] for _ in chosen])
            first, second = (_cropped(self._learned[chosen, pairs[:, place]], random) for place in (0, 1))
            yield {"first": torch.from_numpy(first), "second": torch.from_numpy(second)}

    def step(self, module: nn.Module, batch: Batch) -> Step:
        both = torch.cat([batch["first"], batch["second"]])
        vectors, frozen = module(both), module(both, frozen=True)
        half = len(both) // 2
        together = pairing_loss(vectors[:half], vectors[half:])
        moved = 1.0 - (vectors * frozen).sum(1).mean()
        loss = together + self._keep * moved
        return Step(loss=loss, parts={"together": float(together.detach()), "moved": float(moved.detach())})

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        """``retrieved``: the share of set aside windows whose nearest one is of the same burst."""
        vectors, frozen = (self._vectors(module, frozen=frozen) for frozen in (False, True))
        together = float(pairing_loss(vectors[:MOST_TOLD_APART, 0], vectors[:MOST_TOLD_APART, 1]))
        moved = 1.0 - float((vectors * frozen).sum(-1).mean())
        return {
            "loss": together + self._keep * moved,
            "moved": moved,
            "retrieved": retrieved(vectors),
            "retrieved_before": retrieved(frozen),
        }

    def export(self, module: nn.Module) -> Mapping[str, bytes]:
        adapted: Any = module
        with tempfile.TemporaryDirectory() as folder:
            for settings in adapted.net.peft_config.values():
                settings.base_model_name_or_path = ""  # a path of the machine that trained it helps nobody
            adapted.net.save_pretrained(folder)
            return {name: (Path(folder) / name).read_bytes() for name in (SETTINGS, WEIGHTS)}

    def _vectors(self, module: nn.Module, *, frozen: bool) -> torch.Tensor:
        """(bursts set aside, 2, D): of the first and the last window of each."""
        ends = self._aside[:, [0, -1]]
        rows = ends.reshape(-1, *ends.shape[2:])
        with torch.inference_mode():
            parts = [
                module(torch.from_numpy(rows[start : start + self._batch]), frozen=frozen)
                for start in range(0, len(rows), self._batch)
            ]
        return torch.cat(parts).reshape(len(ends), 2, -1)


class AdapterKind:
    """Sites that run ``vision`` with a transformer can train an adapter for it."""

    name: ClassVar[str] = "adapter"

    def subjects(self, corpus: Corpus) -> Sequence[str]:
        if ENCODER not in corpus.encoders:
            return ()
        enough = 0
        for feed_id in corpus.feeds:
            enough += sum(_pictures(burst) is not None for burst in corpus.bursts(feed_id, "train"))
        return (SUBJECT,) if enough >= MIN_BURSTS else ()

    def trainee(self, subject: str, corpus: Corpus, options: Mapping[str, Any], *, parent: Path | None) -> Trainee:
        made_with = _made_with(subject, corpus)
        found = [_pictures(burst) for feed_id in corpus.feeds for burst in corpus.bursts(feed_id, "train")]
        pictures = [each for each in found if each is not None]
        if len(pictures) < MIN_BURSTS:
            raise StageError(
                f"{len(pictures)} bursts with pictures are too few to train {subject}, want {MIN_BURSTS}; "
                "let the site watch for some hours more"
            )
        try:
            return AdapterTrainee(np.stack(pictures), made_with, parent=parent, **options)
        except TypeError as error:
            raise ConfigError(f"training.options.adapter: {error}") from None

    def trial(self, subject: str, files: Path | None, corpus: Corpus) -> Trial:
        made_with = _made_with(subject, corpus)
        tried = embedder(subject, files, "", {ENCODER: {**made_with, "words": False}})
        assert tried is not None  # the encoder runs without an adapter, too
        return shadow_trial(
            corpus,
            encode=tried.encode,
            channels=tried.channels,
            events=("object_passes", "object_stays"),
            memory_bytes=bytes_of(PretrainedVisionEncoder(**made_with).net),  # an adapter is added to the weights
        )


def pairing_loss(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Row i of one belongs to row i of the other; both ways (InfoNCE). (N, D) of length 1 each."""
    alike = first @ second.T / TEMPERATURE
    truth = torch.arange(len(first), device=first.device)
    return (functional.cross_entropy(alike, truth) + functional.cross_entropy(alike.T, truth)) / 2


def retrieved(vectors: torch.Tensor) -> float:
    """(N, 2, D) -> the share of rows whose nearest second window is their own."""
    alike = vectors[:, 0] @ vectors[:, 1].T
    return float((alike.argmax(1) == torch.arange(len(alike), device=alike.device)).float().mean())


def _made_with(subject: str, corpus: Corpus) -> dict[str, Any]:
    encoder = subject.partition(".")[2]
    if encoder != ENCODER or ENCODER not in corpus.encoders:
        raise ConfigError(f"{subject!r} cannot be trained here: the site runs no encoder {encoder!r} that has adapters")
    return {name: value for name, value in corpus.encoders[ENCODER].items() if name != "adapter"}


def _pictures(burst: Burst) -> UInt8 | None:
    """(windows, H, W, 3); None: fewer than two windows have one."""
    shown = [glimpse.picture for glimpse in burst.glimpses if glimpse.picture is not None]
    return np.stack([shown[0], shown[-1]]) if len(shown) >= 2 else None


def _cropped(pictures: UInt8, random: np.random.Generator) -> UInt8:
    """Each shifted by up to a tenth, edges repeated, and a little lighter or darker."""
    side_px = pictures.shape[1]
    most = side_px // 10
    padded = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    corners = random.integers(0, 2 * most + 1, (len(pictures), 2))
    moved = np.stack(
        [each[top : top + side_px, left : left + side_px] for each, (top, left) in zip(padded, corners, strict=True)]
    )
    gain = random.uniform(0.8, 1.2, (len(pictures), 1, 1, 1)).astype(np.float32)
    brighter: UInt8 = np.clip(moved.astype(np.float32) * gain, 0, 255).astype(np.uint8)
    return brighter
