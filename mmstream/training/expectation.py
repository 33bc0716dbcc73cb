"""The expectation net as something that a site trains by itself: one per camera, from what was normal there.

What it learns and how is `encoders.expectation_training`'s; here is where its samples come from, what is set aside,
and how a version of it is tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from mmstream.encoders.expectation_input import MOVING, Sample, as_seen
from mmstream.encoders.expectation_training import (
    LEARNING_RATE,
    MAX_SAMPLES,
    MIN_SAMPLES,
    STEPS,
    Crops,
    ExpectationNet,
    choose,
    exported,
    loss_of,
    own_torch,
)
from mmstream.errors import ConfigError, StageError
from mmstream.training.corpus import Corpus
from mmstream.training.expectation_past import CHANNELS, BurstEncoder, burst_encoder, histories_of
from mmstream.training.fit_settings import FitSettings, take_settings
from mmstream.training.promote import Trial
from mmstream.training.shadow import shadow_trial
from mmstream.training.trainee import Batch, Step
from mmstream.types import Float32

__all__ = ["BurstEncoder", "ExpectationKind", "ExpectationTrainee", "burst_encoder", "histories_of", "samples_of"]

FILE, STATE_FILE = "model.safetensors", "state.safetensors"
"""What the encoder loads; what the next night's training starts from."""
EPOCHS = 20
EPOCH_STEPS = STEPS // EPOCHS
"""Of all workers together."""
SET_ASIDE = 0.15
"""Of the training samples, the newest: neighbours in time are too alike to be tried on."""
MAX_VALIDATED = 64
EVENTS = ("faster", "other_look")
"""What this channel is for."""
_PREFIX = "expectation."


class ExpectationTrainee:
    """One camera's net. Reads its samples from the corpus when they are asked for, on every worker by itself."""

    def __init__(
        self, feed_id: str, corpus: Corpus, *, seed: int = 0, max_samples: int = MAX_SAMPLES, parent: Path | None = None
    ) -> None:
        """Raises ConfigError: an option is out of range."""
        if not max_samples >= MIN_SAMPLES:
            raise ConfigError(
                f"training.options.expectation: max_samples must be {MIN_SAMPLES} or more, got {max_samples}"
            )
        self.seed = seed
        self._feed_id = feed_id
        self._corpus = corpus
        self._max_samples = max_samples
        self._parent = parent

    def __getstate__(self) -> dict[str, Any]:
        """Without the samples, which are up to 180 MB."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_samples", "_crops")}

    @cached_property
    def _samples(self) -> tuple[Sequence[Sample], Sequence[Sample]]:
        """To learn from, and set aside; in the order of time. Raises StageError: too few."""
        chosen = choose(
            samples_of(self._corpus, self._feed_id), np.random.default_rng(self.seed), count=self._max_samples
        )
        chosen.sort(key=lambda sample: sample.at_s)
        if len(chosen) < MIN_SAMPLES:
            raise StageError(
                f"{len(chosen)} normal pictures with motion vectors are too few to train the expectation channel of "
                f"{self._feed_id} on, want {MIN_SAMPLES}; let it watch for some hours more, or have the camera send "
                "H.264 where its codec gives no motion vectors"
            )
        num_learned = round((1.0 - SET_ASIDE) * len(chosen))
        return chosen[:num_learned], chosen[num_learned:]

    @cached_property
    def _crops(self) -> Crops:
        return Crops(self._samples[0])

    @property
    def num_samples(self) -> int:
        return len(self._samples[0])

    def module(self) -> ExpectationNet:
        """With random weights of the seed, or those that the version in use was exported with."""
        with own_torch(self.seed):
            net = ExpectationNet()
        if self._parent is not None and (state := self._parent / STATE_FILE).is_file():
            try:
                net.load_state_dict(load(state.read_bytes()))
            except (SafetensorError, RuntimeError, KeyError) as error:
                raise StageError(
                    f"{STATE_FILE} of the version in use is not one of this net ({type(error).__name__}); "
                    "roll back, or train another one from scratch"
                ) from None
        return net

    def batches(self, *, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        generator = np.random.default_rng([self.seed, epoch, rank, world_size])
        for _ in range(-(-EPOCH_STEPS // world_size)):
            seen, speeds, row = (torch.from_numpy(array) for array in self._crops.batch(generator))
            yield {"seen": seen, "speeds": speeds, "row": row}

    def step(self, module: torch.nn.Module, batch: Batch) -> Step:
        expected, scale = module(batch["seen"], batch["row"])
        return Step(loss=loss_of(expected.float(), scale.float(), batch["speeds"]), parts={})

    def validate(self, module: torch.nn.Module) -> Mapping[str, float]:
        """``loss``; ``error_px``: how far expected speeds are off where something moves, in pixels per 0.1 s of a
        picture 360 px wide; ``error_px_blind``: the same of who expects the usual speed whatever is seen."""
        aside = self._samples[1]
        spread = aside[:: -(-len(aside) // MAX_VALIDATED)]
        device = next(module.parameters()).device
        usual = np.median(np.concatenate([sample.speeds[sample.speeds > MOVING] for sample in self._samples[0]]))
        losses, errors, blind = [], [], []
        for sample in spread:
            speeds = torch.from_numpy(sample.speeds)[None].to(device)
            expected, scale = module(*(torch.from_numpy(array).to(device) for array in _whole(sample)))
            losses.append(float(loss_of(expected.float(), scale.float(), speeds)))
            moving = speeds > MOVING
            if bool(moving.any()):
                errors.append(float((expected.float() - speeds)[moving].abs().mean()))
                blind.append(float((speeds[moving] - float(usual)).abs().mean()))
        figures = {"loss": float(np.mean(losses))}
        return figures | (
            {"error_px": float(np.mean(errors)), "error_px_blind": float(np.mean(blind))} if errors else {}
        )

    def export(self, module: torch.nn.Module) -> Mapping[str, bytes]:
        assert isinstance(module, ExpectationNet)
        net = module.cpu().eval()
        return {FILE: exported(net, self._samples[0]).save(), STATE_FILE: save(net.state_dict())}


class ExpectationKind:
    """A net for every camera that has shown enough that moves."""

    name: ClassVar[str] = "expectation"
    settings: ClassVar[FitSettings] = FitSettings(
        epochs=EPOCHS, learning_rate=LEARNING_RATE, weight_decay=0.0, warmup_share=0.0, patience=0, precision="fp32"
    )

    def subjects(self, corpus: Corpus) -> Sequence[str]:
        enough = [f for f in corpus.feeds if sum(1 for _ in islice(samples_of(corpus, f), MIN_SAMPLES)) == MIN_SAMPLES]
        return [_PREFIX + feed_id for feed_id in enough]

    def trainee(
        self, subject: str, corpus: Corpus, options: Mapping[str, Any], *, parent: Path | None
    ) -> ExpectationTrainee:
        _, own = take_settings(options, self.settings)
        try:
            trainee = ExpectationTrainee(_feed_of(subject, corpus), corpus, parent=parent, **own)
        except TypeError as error:
            raise ConfigError(f"training.options.expectation: {error}") from None
        assert trainee.num_samples  # too few are said here and not on a worker
        return trainee

    def trial(self, subject: str, files: Path | None, corpus: Corpus) -> Trial:
        """With the net, or what moves without it; some things are made faster, some are made to look otherwise."""
        feed_id = _feed_of(subject, corpus)
        encoder = burst_encoder(files / FILE) if files is not None else None
        return shadow_trial(
            dataclasses.replace(corpus, feeds=(feed_id,)),
            encode=encoder.encode if encoder is not None else None,
            channels=CHANNELS,
            events=EVENTS,
            memory_bytes=sum(array.nbytes for array in encoder.net.arrays.values()) if encoder is not None else 0,
        )


def samples_of(corpus: Corpus, feed_id: str) -> Iterator[Sample]:
    """What a feed's training days have to learn from, in the order of time."""
    for burst in corpus.bursts(feed_id, "train"):
        for found in burst.motion:
            yield Sample(at_s=found.at_s, luma=found.luma, background=found.background, speeds=found.speeds)


def _feed_of(subject: str, corpus: Corpus) -> str:
    feed_id = subject.removeprefix(_PREFIX)
    if not subject.startswith(_PREFIX) or feed_id not in corpus.feeds:
        raise ConfigError(f"{subject!r} is no camera's expectation net; want {_PREFIX}FEED, with a feed of the site")
    return feed_id


def _whole(sample: Sample) -> tuple[Float32, Float32]:
    """-> (1, 2, H, W) seen, (1, 1, rows, cols) row."""
    rows, cols = sample.speeds.shape
    seen = as_seen(sample.luma.astype(np.float32), sample.background.astype(np.float32))
    row = np.repeat(np.arange(rows, dtype=np.float32) / np.float32(rows), cols).reshape(1, 1, rows, cols)
    return seen[None], row
