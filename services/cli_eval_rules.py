"""``mmstream eval rules``: rules in words and word search, on rendered scenes that know what they show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from services.cli_eval import _bar, _explained, _write, eval_app


@eval_app.command()
def rules(
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the report.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the scenes, the training and the days.")] = 0,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Of the training; the control takes a fifth.")] = 8000,
    scenes: Annotated[int, typer.Option("--scenes", min=10, help="How many to learn from.")] = 8000,
    models: Annotated[
        Path | None, typer.Option("--models", help="Keep the trained models here; those that are there are taken.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of torch.")] = 1,
) -> None:
    """Train a small CLIP on captioned scenes, load it as any pretrained model, and ask it about scenes never seen:
    AUC of each rule, recall of word search, and whether the rules keep their budget on days of ordinary life."""
    import torch

    from mmstream.evaluation.rule_budget import BudgetSize
    from mmstream.evaluation.rules import Size, evaluate_rules
    from mmstream.training.contrastive import Recipe

    torch.set_num_threads(threads)
    size = Size(
        num_scenes=scenes,
        recipe=Recipe(num_steps=steps, seed=seed),
        shuffled_recipe=Recipe(num_steps=max(1, steps // 5), seed=seed),
        budget=BudgetSize(),
    )
    with _explained(out), _bar(Console(stderr=True)) as progress:
        task = progress.add_task("rendering", total=None)
        report = evaluate_rules(
            size,
            seed=seed,
            models=models,
            note=lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
        )
    console = Console()
    console.print(_table(report))
    budget = report["budget"]
    low, high = budget["alerts_per_day_95"]
    recalls = ", ".join(f"{name} {share:.0%}" for name, share in budget["event_recall"].items())
    console.print(
        f"recall@10 of word search {report['recall_at_10']:.3f} (chance {report['recall_at_10_by_chance']:.3f})\n"
        f"budget {budget['nominal_per_day']:g} a day: {budget['alerts_per_day']:.2f} a day "
        f"(95 %: {low:.2f} to {high:.2f}) over {budget['camera_days']} rule-days; events found: {recalls}",
        soft_wrap=True,
    )
    _write(report, out)


def _table(report: Mapping[str, Any]) -> Table:
    controls = report["controls"]
    table = Table("rule", "AUC", *(name.replace("_", " ") for name in controls))
    for text, area in report["rule_auc"].items():
        table.add_row(text, f"{area:.3f}", *(f"{control['rule_auc'][text]:.3f}" for control in controls.values()))
    found = (f"{control['recall_at_10']:.3f}" for control in controls.values())
    table.add_row("recall@10", f"{report['recall_at_10']:.3f}", *found, style="bold")
    return table
