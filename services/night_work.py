"""What a night does on a running site, in a process of its own: footage in, versions into the registry, figures out."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmstream.config import SiteConfig, TrainingSection
from mmstream.settle import one_thread_per_product
from mmstream.storage.open import open_media, open_store
from mmstream.training.curves import Curves
from mmstream.training.loop import Epoch, FitSettings, Fitted, LocalWorker, fit
from mmstream.training.night import FitWith, Night, NightReport, Progress, Promote, fit_here, kinds_of
from mmstream.training.open_corpus import corpus_of_clips, open_corpus
from mmstream.training.plots import plots_of_night
from mmstream.training.registry import Registry
from mmstream.training.trainee import Trainee
from mmstream.training.versions import REPLICAS, encoders_of, head_of, registry_of
from services.app import connect
from services.finetune import fit_on_ray, num_workers_now
from services.training_jobs import TrainingJob
from services.training_worker import NICENESS

log = logging.getLogger(__name__)

Note = Callable[[Mapping[str, Any]], None]
"""Takes changes of the `TrainingJob`: how far it has come."""
ShouldStop = Callable[[], bool]

REPORT, CHECKPOINTS = "report.json", "checkpoints"
MAX_KEPT = 60
"""Nights whose report and curves stay in data_dir."""
SHARES = {"fitting": (0.0, 0.7), "trying": (0.7, 0.95), "deciding": (0.95, 1.0), "done": (1.0, 1.0)}
"""Phase of one model -> from where to where it goes, as a share of the model's part of the night."""
IN_WORDS = {"fitting": "learning", "trying": "trying it on days it has not seen", "deciding": "deciding", "done": ""}


def be_humble(num_threads: int = 1) -> None:
    """Everything of a night comes after the watching, on every core."""
    os.nice(NICENESS)
    one_thread_per_product()
    torch.set_num_threads(num_threads)


def models_here(site: SiteConfig, models: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those whose encoder the site runs, and those left out."""
    subjects_of = {"site": ("site",), "adapter": tuple(name for name in REPLICAS if head_of(name) == "adapter")}
    run = {
        "expectation": "expectation" in site.encoders.edge,
        **{
            model: any(encoders_of(name, site.encoders.replicas) for name in names)
            for model, names in subjects_of.items()
        },
    }
    here = [model for model in models if run.get(model, True)]
    return here, [model for model in models if model not in here]


def run_night(
    site: SiteConfig,
    job: TrainingJob,
    *,
    promote: Promote,
    note: Note,
    should_stop: ShouldStop,
    now: Callable[[], float] = time.time,
) -> NightReport:
    """The night of a running site; leaves ``training/JOB/report.json``, plots and curves in data_dir.

    Raises:
        StoreError: the store, the footage or the registry cannot be read.
        ConfigError: there is no such model.
    """
    folder = site.site.data_dir / "training" / job.job
    for left in folder.parent.glob(f"*/{CHECKPOINTS}"):  # of a night that was killed
        shutil.rmtree(left, ignore_errors=True)
    store = open_store(site, write=False)
    try:
        note({"phase": "looking at the footage"})
        corpus = open_corpus(site, store, open_media(site), now_s=now())
    finally:
        store.close()
    if job.feeds:
        corpus = dataclasses.replace(corpus, feeds=tuple(feed for feed in corpus.feeds if feed in job.feeds))
    here, _ = models_here(site, job.models)
    night = Night(
        registry=Registry(registry_of(site)),
        kinds=kinds_of(here),
        options=site.training.options,
        promote=promote if job.promote else None,
        fit_with=with_curves(
            on_ray(site.training, folder, should_stop), folder / "curves", site.training.wandb_project
        ),
        now=now,
        on_progress=lambda progress: note(changes_of(progress)),
        should_stop=should_stop,
    )
    return write_report(night.run(corpus), folder)


def train_on_clips(
    clips: Path,
    registry: Path,
    *,
    models: Sequence[str],
    seed: int,
    workers: int,
    promote: bool,
    held_out_share: float,
    on_progress: Callable[[Progress], None],
    note: Callable[[str], None],
) -> NightReport:
    """A night without a site: in this process, or on a Ray of its own from two ``workers`` on.

    Raises:
        ConfigError: no such folder, no clip in it, or no such model.
        SourceError: a clip cannot be read.
        StoreError: the registry cannot be read or written.
    """
    torch.set_num_threads(1)  # the nets are small: more threads wait for each other, and make figures differ
    kinds, versions = kinds_of(models), Registry(registry)
    corpus = corpus_of_clips(clips, held_out_share=held_out_share, note=lambda name: note(f"reading {name}"))
    with tempfile.TemporaryDirectory(prefix="mmstream-train-") as folder:
        if workers > 1:
            connect(None)
        section = TrainingSection(workers=workers)
        night = Night(
            registry=versions,
            kinds=kinds,
            options={kind.name: {"seed": seed} for kind in kinds},
            promote=partial(_point, versions) if promote else None,
            fit_with=on_ray(section, Path(folder), lambda: False) if workers > 1 else fit_here,
            now=time.time,
            on_progress=on_progress,
            seed=seed,
        )
        return night.run(corpus)


def _point(registry: Registry, name: str, version: str, reason: str) -> None:
    """Nothing runs that could be given the version: the pointer is all there is."""
    registry.promote(name, version, reason=reason, at_s=time.time())


def on_ray(section: TrainingSection, folder: Path, should_stop: ShouldStop) -> FitWith:
    """On Ray Train; in this process, when there is no room for a single worker and none needs a GPU."""

    def fit_with(subject: str, trainee: Trainee, settings: FitSettings, on_epoch: Callable[[Epoch], None]) -> Fitted:
        if num_workers_now(section) < 1 and not section.gpus_per_worker:
            log.info("no CPU is free for a training worker: %s is trained where the night runs", subject)
            return fit(trainee, settings, Asked(should_stop), on_epoch=on_epoch)
        return fit_on_ray(
            trainee,
            settings,
            section,
            storage=str(folder / CHECKPOINTS),
            name=subject,
            on_progress=on_epoch,
            should_stop=should_stop,
        )

    return fit_with


def with_curves(fit_with: FitWith, folder: Path, wandb_project: str = "") -> FitWith:
    """The same, and the figures of every epoch as curves in ``folder``."""

    def fit_and_draw(
        subject: str, trainee: Trainee, settings: FitSettings, on_epoch: Callable[[Epoch], None]
    ) -> Fitted:
        with Curves(folder, name=subject, wandb_project=wandb_project) as curves:

            def drawn(epoch: Epoch) -> None:
                curves.add(epoch.number, epoch.figures)
                on_epoch(epoch)

            return fit_with(subject, trainee, settings, drawn)

    return fit_and_draw


class Asked(LocalWorker):
    """The only worker, which stops when it is asked to."""

    def __init__(self, should_stop: ShouldStop) -> None:
        super().__init__(device="cpu")
        self.should_stop = should_stop  # type: ignore[method-assign]


def changes_of(progress: Progress) -> dict[str, Any]:
    """A night's progress, as changes of its job."""
    epoch = progress.epoch
    figures = epoch.figures if epoch is not None else {}
    begin, end = SHARES[progress.phase]
    inside = epoch.number / epoch.of if epoch is not None else 0.0
    share = (progress.number - 1 + begin + (end - begin) * inside) / progress.of
    return {
        "phase": IN_WORDS[progress.phase] or progress.sentence,
        "subject": progress.subject,
        "epoch": epoch.number if epoch is not None else 0,
        "epochs": epoch.of if epoch is not None else 0,
        "share": share,
        "figures": {name: value for name, value in figures.items() if math.isfinite(value)},
    }


def write_report(report: NightReport, folder: Path) -> NightReport:
    """The oldest nights beside ``folder`` go; their names are in the order of time."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{REPORT}.part"
    part.write_text(json.dumps(report.to_json(), indent=1) + "\n")
    part.replace(folder / REPORT)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    plots_of_night(report, folder)
    for old in sorted(folder.parent.iterdir())[:-MAX_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return report


def results_of(report: NightReport) -> list[dict[str, Any]]:
    """Of every model what somebody wants to see in a list; the rest is in the report's file."""
    names = ("kind", "subject", "outcome", "sentence", "version", "parent", "figures")
    return [{name: entry[name] for name in names} for entry in report.to_json()["entries"]]
