"""Ped2's normal clips as a site: what a night of learning gives, judged before and after.

``python -m tests.training.measure_ped2 FOLDER [--seeds 0 1 2] [--clips N]``, FOLDER with ``train``, ``test`` and
``labels.json``. Per seed: footage from the normal clips, the expectation net trained on the older part of it, tried on
the newer part, promoted if the gate lets it through; then ``mmstream eval video`` with that registry.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mmstream.edge_models import current_model, subject_of
from mmstream.evaluation.video import FEED_ID, PICTURE_ENCODERS, clips_in, evaluate
from mmstream.training.corpus import Corpus
from mmstream.training.expectation import ExpectationKind
from mmstream.training.night import Entry, Night
from mmstream.training.open_corpus import corpus_of_clips
from mmstream.training.registry import Registry

HELD_OUT_SHARE = 0.3


def judged(normal: Path, test: Path, labels: Path, registry: Path) -> dict[str, Any]:
    """As ``mmstream eval video --models`` does."""
    model = current_model(str(registry), subject_of("expectation", FEED_ID))
    trained = {"expectation": {"weights": model.data, "version": model.version}} if model is not None else {}
    return evaluate(normal, test, labels, encoders=(*PICTURE_ENCODERS, *trained), options=trained)


def learned(corpus: Corpus, place: Path, seed: int) -> Entry:
    """One night; what the gate lets through is in use afterwards."""
    registry = Registry(place)

    def promote(name: str, version: str, reason: str) -> None:
        registry.promote(name, version, reason=reason, at_s=time.time())

    night = Night(
        registry=registry,
        kinds=[ExpectationKind()],
        options={ExpectationKind.name: {"seed": seed}},
        promote=promote,
        now=time.time,
        seed=seed,
    )
    report = night.run(corpus)
    assert report.entries, report.sentence
    return report.entries[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=0, help="only so many normal clips; 0: all")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="mmstream-ped2-") as scratch:
        normal = Path(scratch, "normal")
        normal.mkdir()
        for clip in clips_in(asked.folder / "train")[: asked.clips or None]:
            (normal / clip.name).symlink_to(clip.resolve())
        folders = normal, asked.folder / "test", asked.folder / "labels.json"
        corpus = corpus_of_clips(normal, held_out_share=HELD_OUT_SHARE)
        table = Table("seed", "AUC", "95 %", "events", "false frames", "delay s", "trained in s", "gate")

        def row(name: str, report: dict[str, Any], took_s: float, gate: str) -> None:
            low, high = report["micro_auc_95"]
            delay = report["delay_s_median"]
            table.add_row(
                name,
                f"{report['micro_auc']:.4f}",
                f"{low:.3f} to {high:.3f}",
                f"{report['event_recall']:.2f}",
                f"{report['false_frame_rate']:.1%}",
                "" if delay is None else f"{delay:.2f}",
                f"{took_s:.0f}",
                gate,
            )

        row("before", judged(*folders, Path(scratch, "none")), 0.0, "")
        for seed in asked.seeds:
            place = Path(scratch, f"models-{seed}")
            began_s = time.monotonic()
            entry = learned(corpus, place, seed)
            took_s = time.monotonic() - began_s
            console.print(f"seed {seed}: {entry.outcome}: {entry.sentence} {dict(entry.figures)}", soft_wrap=True)
            row(str(seed), judged(*folders, place), took_s, entry.outcome)
        console.print(table)


if __name__ == "__main__":
    main()
