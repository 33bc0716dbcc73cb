"""Ways to join modalities, in one table: the same rendered stretches, several seeds, beside controls.

Every seed draws other stretches on other cameras and starts from other weights. Networks learn on some cameras, stop by
others, and are asked about a third lot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmstream.errors import ConfigError
from mmstream.evaluation.fusion_controls import harmonic_mean
from mmstream.evaluation.fusion_figures import auc_of_event, balanced_accuracy, best_threshold, figures_of, interval
from mmstream.fusion.evidence import HarmonicMean
from mmstream.fusion.trained import ARRAYS, MonotoneRule, TrainedFuser
from mmstream.stages import Fuser
from mmstream.training.audiovisual import EVENTS, Stretches, rendered_stretches
from mmstream.training.fusion_nets import FUSION_NETS
from mmstream.training.fusion_training import FusionRecipe, TrainedFusion, train_fusion
from mmstream.types import Evidence, Modality

TRAIN_CAMERAS, VALIDATION_CAMERAS, TEST_CAMERAS = range(40), range(40, 60), range(100, 140)
VALIDATION_SHARE, TEST_SHARE = 0.2, 0.25
SMALL_WIDTH = 8
STUDENT_SHARE = 0.25
"""Of the labelled stretches a student is given so many; its teacher has judged the others for it."""

Note = Callable[[str, int, int], None]
"""Told (what is being done, how many are done, of how many)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSize:
    """How much is rendered and learned."""

    num_stretches: int = 8000
    num_seeds: int = 3
    methods: tuple[str, ...] = tuple(FUSION_NETS)
    recipe: FusionRecipe = field(default_factory=FusionRecipe)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenes:
    """What one seed has drawn."""

    train: Stretches
    validation: Stretches
    test: Stretches
    halved: Stretches
    """The test stretches, each with one of the modalities lost."""

    @classmethod
    def drawn(cls, num_stretches: int, seed: int) -> Scenes:
        def some(share: float, cameras: Sequence[int], lot: int) -> Stretches:
            count = max(60, round(share * num_stretches))
            return rendered_stretches(count, cameras=cameras, seed=10 * seed + lot, missing_share=0.1 * (lot < 2))

        test = some(TEST_SHARE, TEST_CAMERAS, 2)
        lost = np.random.default_rng(seed).integers(2, size=len(test))
        present = test.present.copy()
        present[np.arange(len(test)), :, lost] = False
        return cls(
            train=some(1.0, TRAIN_CAMERAS, 0),
            validation=some(VALIDATION_SHARE, VALIDATION_CAMERAS, 1),
            test=test,
            halved=replace(test, present=present),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One contestant on one seed."""

    name: str
    group: str
    figures: Mapping[str, float]


def evaluate_fusion(size: FusionSize, *, note: Note = lambda _what, _done, _total: None) -> dict[str, Any]:
    """The report of ``mmstream eval fusion``: contestant -> mean and 99 % interval over seeds of each figure.

    Raises:
        ConfigError: there is no such method.
    """
    unknown = [name for name in size.methods if name not in FUSION_NETS]
    if unknown or not size.methods:
        raise ConfigError(f"there is no fusion {', '.join(unknown) or '(none)'}; choose of {', '.join(FUSION_NETS)}")
    started_s = time.monotonic()
    rows: list[_Row] = []
    total = size.num_seeds * (len(size.methods) + 11)
    for seed in range(size.num_seeds):
        note(f"seed {seed}: rendering", len(rows), total)
        scenes = Scenes.drawn(size.num_stretches, seed)
        for row in _contestants(scenes, size, seed):
            rows.append(row)
            note(f"seed {seed}: {row.name}", len(rows), total)
    return {
        "stretches": size.num_stretches,
        "seeds": size.num_seeds,
        "epochs": size.recipe.num_epochs,
        "events": list(EVENTS),
        "methods": _over_seeds(rows),
        "live_us": {"harmonic": live_us(HarmonicMean()), "trained": live_us(TrainedFuser(rule=_some_rule()))},
        "seconds": round(time.monotonic() - started_s, 1),
    }


def _contestants(scenes: Scenes, size: FusionSize, seed: int) -> Iterator[_Row]:
    recipe = replace(size.recipe, seed=seed)
    yield _Row(
        name="majority", group="control", figures=figures_of(np.zeros(scenes.test.labels.shape), scenes.test, 1.0)
    )
    for agreement in (False, True):
        name = "harmonic mean + agreement" if agreement else "harmonic mean"
        yield _Row(name=name, group="without labels", figures=_unlabelled(scenes, agreement=agreement))
    trained: dict[str, TrainedFusion] = {}
    for method in size.methods:
        yield _Row(name=method, group="method", figures=_learned(scenes, replace(recipe, method=method), keep=trained))
    first = replace(recipe, method="gated" if "gated" in size.methods else size.methods[0])
    for only in scenes.train.vectors:
        yield _Row(name=f"{only} only", group="control", figures=_learned(_only(scenes, only), first))
    for name, variant in _variants(first).items():
        yield _Row(name=f"{first.method}, {name}", group="variant", figures=_learned(scenes, variant))
    few = replace(scenes, train=scenes.train.part(np.arange(max(1, round(STUDENT_SHARE * len(scenes.train))))))
    small = replace(first, width=SMALL_WIDTH)
    yield _Row(name=f"{first.method}, small, few labels", group="variant", figures=_learned(few, small))
    teacher = trained[first.method]
    yield _Row(
        name=f"{first.method}, small, taught",
        group="variant",
        figures=_learned(scenes, small, teacher=teacher, num_labelled=len(few.train)),
    )


def _variants(recipe: FusionRecipe) -> dict[str, FusionRecipe]:
    return {
        "no modality dropout": replace(recipe, modality_dropout=0.0),
        "names of events too": replace(recipe, num_classes=1 + len(EVENTS)),
        "stretch labels, top-k": replace(recipe, objective="bag"),
        "stretch labels, ranking": replace(recipe, objective="ranking"),
    }


def _only(scenes: Scenes, modality: str) -> Scenes:
    return Scenes(
        train=scenes.train.only(modality),
        validation=scenes.validation.only(modality),
        test=scenes.test.only(modality),
        halved=scenes.halved.only(modality),
    )


def _learned(
    scenes: Scenes,
    recipe: FusionRecipe,
    *,
    keep: dict[str, TrainedFusion] | None = None,
    teacher: TrainedFusion | None = None,
    num_labelled: int | None = None,
) -> dict[str, float]:
    """Train and judge. With a ``teacher`` only the first ``num_labelled`` stretches have labels of their own."""
    started_s = time.monotonic()
    train = scenes.train
    if teacher is not None:
        said = teacher.scores(train)
        said[:num_labelled] = train.labels[:num_labelled]
        train = replace(train, labels=said)
    trained = train_fusion(train, scenes.validation, recipe, teacher=teacher)
    if keep is not None:
        keep[recipe.method] = trained
    train_s = time.monotonic() - started_s
    asked_s = time.monotonic()
    scores = trained.scores(scenes.test).astype(np.float64)
    window_ms = 1000.0 * (time.monotonic() - asked_s) / scores.size
    threshold = best_threshold(
        trained.scores(scenes.validation).ravel().astype(np.float64), scenes.validation.labels.ravel() > 0
    )
    figures = figures_of(scores, scenes.test, threshold)
    figures["auc_one_lost"] = auc_of_event(trained.scores(scenes.halved).astype(np.float64), scenes.halved, "both")
    if recipe.num_classes:
        figures["class_accuracy"] = balanced_accuracy(trained.classes(scenes.test), scenes.test)
    return figures | {"parameters": trained.num_parameters, "ms_per_window": window_ms, "train_s": train_s}


def _unlabelled(scenes: Scenes, *, agreement: bool) -> dict[str, float]:
    surprise = harmonic_mean(scenes.train, scenes.validation, scenes.test, agreement=agreement)
    usual = harmonic_mean(scenes.train, scenes.validation, scenes.validation, agreement=agreement)
    figures = figures_of(surprise, scenes.test, best_threshold(usual.ravel(), scenes.validation.labels.ravel() > 0))
    halved = harmonic_mean(scenes.train, scenes.validation, scenes.halved, agreement=agreement)
    return figures | {"auc_one_lost": auc_of_event(halved, scenes.halved, "both")}


def live_us(fuser: Fuser) -> float:
    """CPU microseconds of joining one window with five aspects in four modalities, the least of 20 rounds."""
    modalities: tuple[Modality, ...] = ("picture", "picture", "sound", "words", "agreement")
    evidence = [
        Evidence(channel=f"aspect {number}", modality=modality, p=0.1 / (number + 1))
        for number, modality in enumerate(modalities)
    ]
    rounds = []
    for _ in range(20):
        started_s = time.process_time()
        for _ in range(50):
            fuser.fuse(evidence)
        rounds.append((time.process_time() - started_s) / 50)
    return round(1e6 * min(rounds), 1)


def _some_rule() -> MonotoneRule:
    """What it has learned costs the same, whatever it is."""
    return MonotoneRule(
        arrays={name: np.ones(shape) for name, shape in ARRAYS.items()}, raw=(0.0, 9.0), read=(0.0, 9.0)
    )


def _over_seeds(rows: Sequence[_Row]) -> dict[str, Any]:
    together: dict[str, Any] = {}
    for name in dict.fromkeys(row.name for row in rows):
        of_name = [row for row in rows if row.name == name]
        figures = {key: interval([row.figures[key] for row in of_name]) for key in of_name[0].figures}
        together[name] = {"group": of_name[0].group, **figures}
    return together
