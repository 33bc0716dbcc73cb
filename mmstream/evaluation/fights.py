"""Fusion networks on clips that are labelled as a whole: weak labels, judged on videos they have never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.evaluation.fusion_figures import average_precision
from mmstream.evaluation.metrics import Flags, auc
from mmstream.training.audiovisual import Stretches
from mmstream.training.fights import MODALITIES, Clips, folds, read_clips
from mmstream.training.fusion_training import FusionRecipe, Objective, train_fusion
from mmstream.types import Float64

NUM_FOLDS = 5
RECIPE = FusionRecipe(
    objective="ranking", width=16, num_epochs=20, batch=16, modality_dropout=0.3, patience=20, noise=0.3
)
"""No clip is spared for stopping early: there are too few videos."""
NUM_DRAWS = 2000
MEAN_SPEED = 1
"""Where the motion vector has the mean speed over the whole picture."""

Rows = npt.NDArray[np.intp]
Note = Callable[[str, int, int], None]


def evaluate_fights(
    folder: Path,
    *,
    methods: Sequence[str],
    num_seeds: int,
    note: Note = lambda _what, _done, _total: None,
) -> dict[str, Any]:
    """Methods and controls -> AUC and AP over clips, with 95 % bootstrap intervals over videos' clips; every clip is
    judged by networks that learned from other source groups, averaged over seeds.

    Raises:
        ConfigError: the folder has no usable index.
        SourceError: a clip cannot be read.
    """
    clips = read_clips(folder, note=note)
    data, first = clips.stretches, "gated" if "gated" in methods else methods[0]
    contestants: list[tuple[str, Stretches, str, Objective]] = [(method, data, method, "ranking") for method in methods]
    contestants += [(f"{first}, top-k", data, first, "bag")]
    contestants += [(f"{name} only", data.only(name), first, "ranking") for name in MODALITIES]
    controls = {
        "majority": np.zeros(len(clips)),
        "mean speed": data.vectors["motion"][..., MEAN_SPEED].mean(axis=1).astype(np.float64),
        "a sound track": data.present[..., MODALITIES.index("sound")].mean(axis=1),
    }
    table = {name: _judged(scores, clips) for name, scores in controls.items()}
    for number, (name, stretches, method, objective) in enumerate(contestants):
        note(f"fights: {name}", number, len(contestants))
        table[name] = _judged(_crossed(clips, stretches, method, objective, num_seeds), clips)
    return {"num_clips": len(clips), "num_groups": len(np.unique(clips.groups)), "seeds": num_seeds, "methods": table}


def _crossed(clips: Clips, stretches: Stretches, method: str, objective: Objective, num_seeds: int) -> Float64:
    """(N,) score of each clip, as its strongest moment has it."""
    fold_of = folds(clips.labels, clips.groups, NUM_FOLDS)
    scores = np.zeros((num_seeds, len(clips)))
    for seed in range(num_seeds):
        recipe = replace(RECIPE, method=method, objective=objective, seed=seed)
        for fold in range(NUM_FOLDS):
            others, judged = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            learned = stretches.part(_even(others, clips.labels[others], np.random.default_rng([seed, fold])))
            trained = train_fusion(learned, learned, recipe)
            scores[seed, judged] = trained.scores(stretches.part(judged)).max(axis=1)
    averaged: Float64 = scores.mean(axis=0)
    return averaged


def _even(rows: Rows, labels: Flags, random: np.random.Generator) -> Rows:
    """As many clips of either label, the rarer ones twice: the share of a label among the others says what is left for
    those to be judged, and would be held against them."""
    rare = rows[labels] if 2 * labels.sum() < len(rows) else rows[~labels]
    return np.concatenate([rows, random.choice(rare, len(rows) - 2 * len(rare))])


def _judged(scores: Float64, clips: Clips) -> dict[str, Any]:
    random = np.random.default_rng(0)
    draws = [random.integers(0, len(clips), len(clips)) for _ in range(NUM_DRAWS)]
    usable = [rows for rows in draws if 0 < clips.labels[rows].sum() < len(rows)]
    return {
        "auc": auc(scores, clips.labels),
        "auc_95": _interval(auc, scores, clips.labels, usable),
        "ap": average_precision(scores, clips.labels),
        "ap_95": _interval(average_precision, scores, clips.labels, usable),
    }


def _interval(
    figure: Callable[[Float64, Flags], float], scores: Float64, labels: Flags, draws: Sequence[np.ndarray[Any, Any]]
) -> list[float]:
    found = [figure(scores[rows], labels[rows]) for rows in draws]
    return [float(value) for value in np.percentile(found, (2.5, 97.5))]
