"""``mmstream eval fusion``: ways to join modalities in one table, beside controls."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from services.cli_eval import _bar, _explained, _write, eval_app

COLUMNS = ("auc", "auc_picture", "auc_sound", "auc_both", "auc_disagreement", "auc_one_lost", "ap", "f1")

FILE_WIDTH = 160
"""Of the table where there is no terminal that says how wide it is."""


@eval_app.command()
def fusion(
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the report.")] = None,
    stretches: Annotated[int, typer.Option("--stretches", min=100, help="Of 8 windows each, to learn from.")] = 8000,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=10, help="Other scenes, other starting weights.")] = 3,
    methods: Annotated[str, typer.Option("--methods", help="Comma-separated; empty: all of them.")] = "",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="At most.")] = 12,
    fights: Annotated[
        Path | None, typer.Option("--fights", help="Folder with index.csv: clips that are labelled as a whole.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of torch.")] = 1,
) -> None:
    """Rendered scenes in which events show in the picture, in the sound, in both, or only in their disagreement: every
    fusion network, single modalities, the label-free harmonic mean, and variants of the training."""
    import torch

    from mmstream.evaluation.fusion import FusionSize, evaluate_fusion
    from mmstream.training.fusion_nets import FUSION_NETS
    from mmstream.training.fusion_training import FusionRecipe

    torch.set_num_threads(threads)
    chosen = tuple(name.strip() for name in methods.split(",") if name.strip()) or tuple(FUSION_NETS)
    size = FusionSize(num_stretches=stretches, num_seeds=seeds, methods=chosen, recipe=FusionRecipe(num_epochs=epochs))
    with _explained(out), _bar(Console(stderr=True)) as progress:
        task = progress.add_task("rendering", total=None)

        def note(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        report = evaluate_fusion(size, note=note)
        if fights is not None:
            from mmstream.evaluation.fights import evaluate_fights

            report["fights"] = evaluate_fights(fights, methods=chosen, num_seeds=seeds, note=note)
    console = Console() if sys.stdout.isatty() else Console(width=FILE_WIDTH)
    console.print(_table(report["methods"]))
    if fights is not None:
        console.print(_fights_table(report["fights"]))
    _write(report, out)


def _table(methods: Mapping[str, Any]) -> Table:
    table = Table(
        Column("", no_wrap=True),
        *(name.removeprefix("auc_").replace("_", " ") for name in COLUMNS),
        "parameters",
        "ms/window",
    )
    for name, row in methods.items():
        cost = (
            [f"{row['parameters']['mean']:.0f}", f"{row['ms_per_window']['mean']:.4f}"] if "parameters" in row else []
        )
        table.add_row(name, *(_figure(row.get(column)) for column in COLUMNS), *cost)
    return table


def _figure(found: Mapping[str, float | None] | None) -> str:
    if found is None or found["mean"] is None:
        return ""
    spread = "" if found["high"] is None else f" ±{found['high'] - found['mean']:.3f}"
    return f"{found['mean']:.3f}{spread}"


def _fights_table(fights: Mapping[str, Any]) -> Table:
    table = Table("fights", "AUC", "95 %", "AP", "95 %", title=f"{fights['num_clips']} clips")
    for name, row in fights["methods"].items():
        low, high = row["auc_95"]
        ap_low, ap_high = row["ap_95"]
        table.add_row(
            name, f"{row['auc']:.3f}", f"{low:.3f} to {high:.3f}", f"{row['ap']:.3f}", f"{ap_low:.3f} to {ap_high:.3f}"
        )
    return table
