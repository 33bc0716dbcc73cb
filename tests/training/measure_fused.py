"""How many verdicts trained fusion needs, in a yard where a dog barks: ``python -m tests.training.measure_fused``."""

from __future__ import annotations

import sys

import numpy as np
import torch

from mmstream.fusion.evidence import HarmonicMean
from mmstream.fusion.trained import MonotoneRule, TrainedFuser
from mmstream.fusion.weights import VerdictWeights
from mmstream.training.fused import FILE, FusionKind, FusionTrainee
from mmstream.training.fusion_examples import Examples, gather
from mmstream.training.loop import LocalWorker, fit
from tests.training.test_fused import auc_of, make_corpus


def with_weights(examples: Examples) -> HarmonicMean:
    """As every camera does by itself: each alert's shares at its strongest window."""
    weights, harmonic = VerdictWeights(), HarmonicMean()
    for verdict, bags in (("true", examples.true), ("false_alarm", examples.false)):
        for number, bag in enumerate(bags):
            said = [harmonic.fuse(examples.evidence(row)) for row in bag]
            weights.push(f"{verdict}{number}", verdict, max(said, key=lambda one: one[0])[1])  # type: ignore[arg-type]
    return HarmonicMean(weights.weights())


def main() -> None:
    torch.set_num_threads(1)
    sys.stdout.write("verdicts of each sort | harmonic | + verdict weights | trained (mean of 3 seeds)\n")
    for num_each in (20, 40, 120):
        rows = []
        for seed in range(3):
            trainee = FusionTrainee(make_corpus(num_each, seed=seed), seed=seed)
            fitted = fit(trainee, FusionKind.settings, LocalWorker(device="cpu"))
            rule = MonotoneRule.from_bytes(trainee.export(fitted.module)[FILE])
            later = gather(make_corpus(120, seed=100 + seed))
            fusers = (HarmonicMean(), with_weights(trainee.examples), TrainedFuser(rule=rule))
            rows.append([auc_of(fuser, later) for fuser in fusers])
        sys.stdout.write(" | ".join([str(num_each), *(f"{value:.3f}" for value in np.mean(rows, axis=0))]) + "\n")


if __name__ == "__main__":
    main()
