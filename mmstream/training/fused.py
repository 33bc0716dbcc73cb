"""Trained fusion as something that a site learns by itself, from what operators have said of its alerts.

The rule is `fusion.trained.MonotoneRule`, with gradients (`training.monotone`). What is asked of it is an order, not a
probability (multiple-instance ranking: an alert is a bag of windows, of which the strongest counts): alerts called true
above false alarms, and above the most unusual windows of which nobody was told. With few verdicts it is held near the
harmonic mean.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmstream.errors import ConfigError
from mmstream.fusion.evidence import HarmonicMean
from mmstream.fusion.trained import MonotoneRule, TrainedFuser, on_scale_of
from mmstream.training.corpus import Corpus
from mmstream.training.events import EVENTS
from mmstream.training.fit_settings import FitSettings, take_settings
from mmstream.training.fusion_examples import MIN_VERDICTS, Examples, Rows, gather, num_verdicts
from mmstream.training.monotone import MonotoneNet
from mmstream.training.promote import Trial
from mmstream.training.shadow import shadow_trial
from mmstream.training.trainee import Batch, Step

SUBJECT = "fusion"
FILE = "model.safetensors"
SET_ASIDE = 0.25
"""Of the verdicts of either sort, the newest: they say when to stop."""
STEPS = 30
"""Of an epoch, all workers together."""
BAGS = 24
ORDINARY = 256
"""Of each sort, and windows, in a batch."""
PRIOR = 100.0
"""So many verdicts weigh as much as staying with the harmonic mean."""
SIMPLE = 0.02
"""Weight of what has been changed at all."""
MAX_SCALED = 4000
"""Ordinary windows that the scale is set by."""


class FusionTrainee:
    """The site's one rule. Always learned anew: it takes seconds, and a verdict that was taken back leaves no trace."""

    def __init__(self, corpus: Corpus, *, seed: int = 0) -> None:
        self.seed = seed
        self._corpus = corpus

    def __getstate__(self) -> dict[str, Any]:
        return {"seed": self.seed, "_corpus": self._corpus}

    @cached_property
    def examples(self) -> Examples:
        return gather(self._corpus)

    @cached_property
    def _usual(self) -> Tensor:
        """(n,) what the harmonic mean says of every window."""
        untrained = MonotoneNet(self.examples.aspects)
        with torch.no_grad():
            untrained.out.zero_()
            usual: Tensor = untrained(self._heights)
        return usual

    @cached_property
    def _heights(self) -> Tensor:
        return torch.from_numpy(self.examples.heights)

    def module(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return MonotoneNet(self.examples.aspects)

    def batches(self, *, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        random = np.random.default_rng([self.seed, epoch, rank])
        true, false = (_parted(bags)[0] for bags in (self.examples.true, self.examples.false))
        for _ in range(-(-STEPS // world_size)):
            yield self._batch(_drawn(true, random), _drawn(false, random), self._some_ordinary(random))

    def step(self, module: nn.Module, batch: Batch) -> Step:
        order, apart = self._losses(module, batch)
        rest = self._simple(module)
        share = self._share
        loss = share * order + (1.0 - share) * apart + SIMPLE * rest
        return Step(loss=loss, parts={"order": float(order.detach()), "apart": float(apart.detach())})

    def validate(self, module: nn.Module) -> Mapping[str, float]:
        """``loss``, and on the newest verdicts ``auc``: how often a true alert stands above a false one;
        ``auc_harmonic``: the same of the harmonic mean."""
        random = np.random.default_rng(self.seed)
        true, false = (_parted(bags)[1] for bags in (self.examples.true, self.examples.false))
        batch = self._batch(true, false, self._some_ordinary(random))
        device = next(module.parameters()).device
        batch = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
        with torch.no_grad():
            order, apart = self._losses(module, batch)
            tops = _tops(module(batch["heights"]), batch)
        usual = _tops(batch["usual"], batch)
        return {
            "loss": float(self._share * order + (1.0 - self._share) * apart),
            "auc": _auc(*tops[:2]),
            "auc_harmonic": _auc(*usual[:2]),
        }

    def export(self, module: nn.Module) -> Mapping[str, bytes]:
        """On the scale of the harmonic mean: ordinary windows set it."""
        inner = module.cpu()
        assert isinstance(inner, MonotoneNet)
        rule = inner.rule(self.examples.aspects)
        rows = self.examples.ordinary[:: -(-len(self.examples.ordinary) // MAX_SCALED) or 1]
        if len(rows):
            fuser, harmonic = TrainedFuser(rule=rule), HarmonicMean()
            both = [(fuser.fuse(e)[0], harmonic.fuse(e)[0]) for e in (self.examples.evidence(row) for row in rows)]
            raw, read = on_scale_of(*np.array(both).T)
            rule = dataclasses.replace(rule, raw=raw, read=read)
        return {FILE: rule.to_bytes()}

    # -- inside -------------------------------------------------------------------------------------

    @property
    def _share(self) -> float:
        """How much verdicts count against staying with the harmonic mean."""
        count = len(self.examples.true) + len(self.examples.false)
        return count / (count + PRIOR)

    def _batch(self, true: Sequence[Rows], false: Sequence[Rows], ordinary: Rows) -> Batch:
        bags = [*true, *false]
        rows = np.concatenate([*bags, ordinary])
        owner = np.concatenate([np.repeat(np.arange(len(bags)), [len(b) for b in bags]), np.full(len(ordinary), -1)])
        return {
            "heights": self._heights[rows],
            "usual": self._usual[rows],
            "owner": torch.from_numpy(owner),
            "num_true": len(true),
            "num_bags": len(bags),
        }

    def _some_ordinary(self, random: np.random.Generator) -> Rows:
        ordinary = self.examples.ordinary
        return ordinary[random.integers(len(ordinary), size=ORDINARY)] if len(ordinary) else ordinary

    def _losses(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """-> how wrong the order is, how far ordinary windows are from the harmonic mean."""
        said: Tensor = module(batch["heights"])
        true, false, ordinary = _tops(said, batch)
        order = functional.softplus(1.0 - (true[:, None] - false[None, :])).mean()
        if not len(ordinary):
            return order, order * 0.0
        quiet = functional.softplus(1.0 - (true[:, None] - ordinary[None, :])).mean()
        usual = batch["usual"][batch["owner"] < 0]
        return order + 0.5 * quiet, (ordinary - usual).square().mean()

    def _simple(self, module: nn.Module) -> Tensor:
        inner = getattr(module, "module", module)  # a wrapped one, when several train together
        assert isinstance(inner, MonotoneNet)
        return inner.factors.square().sum() + inner.slopes.square().sum() + inner.out.square().sum()


class FusionKind:
    """One rule for the site, once its operators have judged enough alerts of either sort."""

    name: ClassVar[str] = "fusion"
    settings: ClassVar[FitSettings] = FitSettings(
        epochs=30, learning_rate=0.02, weight_decay=0.0, patience=8, precision="fp32"
    )

    def subjects(self, corpus: Corpus) -> Sequence[str]:
        return (SUBJECT,) if min(num_verdicts(corpus).values()) >= MIN_VERDICTS else ()

    def trainee(
        self, subject: str, corpus: Corpus, options: Mapping[str, Any], *, parent: Path | None
    ) -> FusionTrainee:
        del parent  # learned anew
        if subject != SUBJECT:
            raise ConfigError(f"{subject!r} is no fusion rule; want {SUBJECT!r}")
        _, own = take_settings(options, self.settings)
        try:
            trainee = FusionTrainee(corpus, **own)
        except TypeError as error:
            raise ConfigError(f"training.options.fusion: {error}") from None
        assert trainee.examples.true  # too few are said here and not on a worker
        return trainee

    def trial(self, subject: str, files: Path | None, corpus: Corpus) -> Trial:
        """The held-out footage with modalities joined by this rule, or by the harmonic mean. The rule takes
        microseconds beside the encoders' milliseconds: no time is compared."""
        del subject
        rule = MonotoneRule.from_bytes((files / FILE).read_bytes()) if files is not None else None
        return shadow_trial(
            corpus,
            encode=None,
            channels={},
            events=tuple(EVENTS),
            fuser=TrainedFuser(rule=rule) if rule is not None else HarmonicMean(),
            memory_bytes=sum(array.nbytes for array in rule.arrays.values()) if rule is not None else 0,
        )


def _parted(bags: Sequence[Rows]) -> tuple[Sequence[Rows], Sequence[Rows]]:
    """-> (to learn from, the newest)."""
    aside = max(1, round(SET_ASIDE * len(bags)))
    return bags[:-aside], bags[-aside:]


def _drawn(bags: Sequence[Rows], random: np.random.Generator) -> list[Rows]:
    return [bags[number] for number in random.permutation(len(bags))[:BAGS]]


def _tops(said: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """-> the strongest window of each true alert, of each false one, and every ordinary window."""
    owner = batch["owner"]
    inside = owner >= 0
    start = torch.full((batch["num_bags"],), -math.inf, device=said.device, dtype=said.dtype)
    tops = start.scatter_reduce(0, owner[inside], said[inside], "amax")
    return tops[: batch["num_true"]], tops[batch["num_true"] :], said[~inside]


def _auc(true: Tensor, false: Tensor) -> float:
    above = true[:, None] - false[None, :]
    return float(((above > 0).float() + 0.5 * (above == 0).float()).mean())
