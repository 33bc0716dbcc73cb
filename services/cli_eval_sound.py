"""``mmstream eval sound``: unusual sounds in hours of composed street, beside simple controls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from services.cli_eval import _bar, _explained, _write, eval_app


@eval_app.command()
def sound(
    audio: Annotated[Path, typer.Option("--audio", help="Folder of sounds to compose hours of street from.")],
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the report.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=20, help="How many compositions, each of 9 hours.")] = 2,
) -> None:
    """Composed hours: learn, set the threshold, judge events and shams; then a background never heard before."""
    from mmstream.evaluation.sound import evaluate_sound

    with _explained(out), _bar(Console(stderr=True)) as progress:
        task = progress.add_task("reading", total=None)
        report = evaluate_sound(
            audio, seeds=range(1, seeds + 1), note=lambda what: progress.update(task, description=what)
        )
    console = Console()
    console.print(_table(report["mean"]))
    for place in ("unseen", "elsewhere"):
        first = report["mean"][place]["first_hours"]
        console.print(
            f"{place}: {first['false_alerts']:.1f} false alerts in the first {first['hours']:.0f} hours", soft_wrap=True
        )
    _write(report, out)


def _table(mean: Mapping[str, Any]) -> Table:
    table = Table(
        "background",
        "detector",
        "AUC",
        "against shams",
        "recall at 1/h",
        "from +5 dB",
        "shams",
        "preset: recall",
        "false/h",
    )
    for name, found in (("known", mean["known"]), ("unseen, 2 h later", mean["unseen"]["afterwards"])):
        table.add_row(
            name,
            "ours",
            f"{found['auc']:.3f}",
            f"{found['auc_against_shams']:.3f}",
            f"{found['recall_at_1_per_hour']:.2f}",
            f"{found['recall_from_5_db']:.2f}",
            f"{found['shams_above']:.1%}",
            f"{found['preset']['recall']:.2f}",
            f"{found['preset']['false_alerts_per_hour']:.1f}",
        )
        for control, row in found["controls"].items():
            table.add_row("", control, f"{row['auc']:.3f}", "", f"{row['recall_at_1_per_hour']:.2f}")
    return table
