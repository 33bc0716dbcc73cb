"""How good a trained model is, in the usual figures: classes or scores, regions, narration. By torchmetrics, lazily.

A figure that cannot be computed is absent, and `Report.missing` says why: nothing here is made up to fill a table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmstream.training.promote import Trial
from mmstream.types import Float64, Region

NUM_BINS = 10
"""Of a reliability curve."""
MAX_POINTS = 200
"""Of a curve in a report: more cannot be told apart."""
UNUSUAL = ("normal", "unusual")
ROUGES = ("rouge1", "rouge2", "rougeL")

Curve = tuple[tuple[float, ...], tuple[float, ...]]
"""(x, y), x in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Figures by name, the curves behind them, and what is missing."""

    names: tuple[str, ...] = UNUSUAL
    figures: Mapping[str, float] = field(default_factory=dict)
    """``accuracy precision recall f1 auc ap ece``; of several classes the mean over classes."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """[true][said]."""
    roc: Curve = ((), ())
    """False positive rate, recall."""
    pr: Curve = ((), ())
    """Recall, precision."""
    reliability: Curve = ((), ())
    """Mean probability said, share that was so; of bins with something in them."""
    missing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def figures(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    *,
    threshold: float = 0.5,
    names: Sequence[str] = UNUSUAL,
) -> Report:
    """``labels`` (N,) and ``scores`` (N,): two classes, of which the second is said above ``threshold``; or ``scores``
    (N, K): probabilities of K classes called ``names``.

    Scores outside [0, 1] are no probabilities: they are ranked, and there is no calibration to speak of.

    Raises:
        ValueError: shapes do not fit, or a score is no number.
    """
    truth, said = np.asarray(labels, np.int64), np.asarray(scores, np.float64)
    if truth.ndim != 1 or said.shape[:1] != truth.shape or not truth.size or not np.isfinite(said).all():
        raise ValueError(f"want labels (N,) and finite scores (N,) or (N, K), got {truth.shape} and {said.shape}")
    if said.ndim == 1:
        return _two(truth, said, threshold, tuple(names))
    if said.shape[1] != len(names):
        raise ValueError(f"{said.shape[1]} classes were scored and {len(names)} have a name")
    return _several(truth, said, tuple(names))


def figures_of_trial(trial: Trial) -> Report:
    """Of the held-out days: events against ordinary bursts, by how far each was above its camera's threshold."""
    above = (*trial.normal_above, *trial.events_above)
    if not above:
        return Report(missing=("There is nothing to compare: no burst and no event was tried.",))
    labels = [0] * len(trial.normal_above) + [1] * len(trial.events_above)
    return figures(labels, above, threshold=0.0)


def region_figures(
    found: Sequence[Mapping[Region, float]], wanted: Sequence[Sequence[Region]]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Per picture: regions that were found with how sure, and those that are there. -> figures, what is missing.

    ``iou``: of the best region found for each that is there, 0 where there is none. ``map``, ``map_50``: COCO's mean
    average precision.
    """
    from torchmetrics.functional.detection import intersection_over_union

    best: list[float] = []
    for regions, truth in zip(found, wanted, strict=True):
        for box in truth:
            pairs = intersection_over_union(_boxes(list(regions)), _boxes([box]), aggregate=False)
            best.append(float(pairs.max()) if regions else 0.0)
    if not best:
        return {}, ("There is no region to compare with.",)
    figures = {"iou": float(np.mean(best))}
    if find_spec("pycocotools") is None:
        return figures, ("There is no mAP: pycocotools is not installed (pip install pycocotools).",)
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(box_format="xyxy", backend="pycocotools")
    for regions, truth in zip(found, wanted, strict=True):
        sure = torch.tensor(list(regions.values()), dtype=torch.float32)
        # COCO's sizes are pixels: shares of a picture of 1000 px
        said = {"boxes": 1000 * _boxes(list(regions)), "scores": sure, "labels": torch.zeros(len(regions)).long()}
        there = {"boxes": 1000 * _boxes(truth), "labels": torch.zeros(len(truth)).long()}
        metric.update([said], [there])
    result = metric.compute()
    return figures | {name: float(result[name]) for name in ("map", "map_50")}, ()


def narration_figures(
    told: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """What was told and, for each, one or more sentences that a person wrote. -> figures, what is missing.

    ``bleu`` (Papineni et al., 2002; up to 4 words, smoothed; 0 where no four in a row are common) and the F1 of
    ``rouge1``, ``rouge2`` and ``rougeL`` (Lin, 2004). They count common words: a true sentence in other words scores
    low.
    """
    from torchmetrics.functional.text import bleu_score, rouge_score

    if len(told) != len(references):
        raise ValueError(f"{len(told)} were told and {len(references)} have references")
    if not told or not all(references):
        return {}, ("There is no narration with a reference to compare with.",)
    bleu = float(bleu_score(list(told), [list(each) for each in references], smooth=True))
    rouge = rouge_score(list(told), [list(each) for each in references], rouge_keys=ROUGES)
    return {"bleu": bleu} | {key: float(rouge[f"{key}_fmeasure"]) for key in ROUGES}, ()


def _two(truth: npt.NDArray[np.int64], said: Float64, threshold: float, names: tuple[str, ...]) -> Report:
    from torchmetrics.functional import classification as by

    target = torch.from_numpy(truth)
    decided = torch.from_numpy((said > threshold).astype(np.int64))
    found = {
        "accuracy": float(by.binary_accuracy(decided, target)),
        "precision": float(by.binary_precision(decided, target)),
        "recall": float(by.binary_recall(decided, target)),
        "f1": float(by.binary_f1_score(decided, target)),
    }
    confusion = _rows(by.binary_confusion_matrix(decided, target))
    if len(set(truth.tolist())) < 2:
        only = names[int(truth[0])]
        return Report(
            names=names, figures=found, confusion=confusion, missing=(f"There is nothing but {only}: no AUC.",)
        )
    ranks = torch.from_numpy(_ranks(said))
    found |= {"auc": float(by.binary_auroc(ranks, target)), "ap": float(by.binary_average_precision(ranks, target))}
    wrong, right, _ = by.binary_roc(ranks, target)
    precision, recall, _ = by.binary_precision_recall_curve(ranks, target)
    missing: tuple[str, ...] = ("The scores are no probabilities: no calibration.",)
    reliability: Curve = ((), ())
    if said.min() >= 0.0 and said.max() <= 1.0:
        found["ece"] = float(by.binary_calibration_error(torch.from_numpy(said), target, n_bins=NUM_BINS))
        reliability, missing = _reliability(said, truth == 1), ()
    return Report(
        names=names,
        figures=found,
        confusion=confusion,
        roc=_curve(wrong, right),
        pr=_curve(recall.flip(0), precision.flip(0)),
        reliability=reliability,
        missing=missing,
    )


def _several(truth: npt.NDArray[np.int64], said: Float64, names: tuple[str, ...]) -> Report:
    from torchmetrics.functional import classification as by

    count = len(names)
    target, scores = torch.from_numpy(truth), torch.from_numpy(said)
    decided = scores.argmax(dim=1)
    found = {
        "accuracy": float(by.multiclass_accuracy(decided, target, count, average="micro")),
        "precision": float(by.multiclass_precision(decided, target, count)),
        "recall": float(by.multiclass_recall(decided, target, count)),
        "f1": float(by.multiclass_f1_score(decided, target, count)),
        "ece": float(by.multiclass_calibration_error(scores, target, count, n_bins=NUM_BINS)),
    }
    absent = sorted(set(range(count)) - set(truth.tolist()))
    missing: tuple[str, ...] = ()
    if absent:
        missing = (f"There is no {', no '.join(names[number] for number in absent)}: no AUC.",)
    else:
        found["auc"] = float(by.multiclass_auroc(scores, target, count))
        found["ap"] = float(by.multiclass_average_precision(scores, target, count))
    return Report(
        names=names,
        figures=found,
        confusion=_rows(by.multiclass_confusion_matrix(decided, target, count)),
        reliability=_reliability(said.max(axis=1), decided.numpy() == truth),
        missing=missing,
    )


def _ranks(said: Float64) -> Float64:
    """In (0, 1), equal where the scores are equal: torchmetrics squeezes what lies outside through a sigmoid, in which
    large scores become one."""
    _, places = np.unique(said, return_inverse=True)
    ranks: Float64 = (places + 0.5) / (places.max() + 1)
    return ranks


def _reliability(said: Float64, so: npt.NDArray[np.bool_]) -> Curve:
    bins = np.minimum((said * NUM_BINS).astype(np.intp), NUM_BINS - 1)
    filled = np.unique(bins)
    return (
        tuple(float(said[bins == number].mean()) for number in filled),
        tuple(float(so[bins == number].mean()) for number in filled),
    )


def _curve(x: torch.Tensor, y: torch.Tensor) -> Curve:
    kept = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(np.intp))
    return tuple(x.numpy()[kept].tolist()), tuple(y.numpy()[kept].tolist())


def _rows(matrix: torch.Tensor) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(count) for count in row) for row in matrix.tolist())


def _boxes(regions: Sequence[Region]) -> torch.Tensor:
    return torch.tensor(regions, dtype=torch.float32).reshape(-1, 4)
