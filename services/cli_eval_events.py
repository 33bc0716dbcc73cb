"""``mmstream eval events``, ``eval make`` and ``eval report``: recorded feeds through the whole pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from mmstream.errors import ConfigError
from services.cli_eval import _explained, _write, eval_app

Html = Annotated[Path | None, typer.Option("--html", help="Where to write the report as one page with plots.")]


class _Bars:
    """A bar for each name that something is told about."""

    def __init__(self) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        self.progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._tasks: dict[str, TaskID] = {}

    def note(self, name: str, share: float) -> None:
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task(name, total=1.0)
        self.progress.update(self._tasks[name], completed=share)


@eval_app.command()
def events(
    manifest: Annotated[Path, typer.Argument(help="YAML or JSON: feeds, and what happens in them.")],
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the report.")] = None,
    html: Html = None,
) -> None:
    """Recorded feeds through the whole pipeline: events found, false alerts, delays, the budget kept."""
    from mmstream.evaluation.events import evaluate_events

    shown = _Bars()
    with _explained(out), _explained(html), shown.progress:
        report = evaluate_events(manifest, note=shown.note)
    console = Console()
    console.print(_table(report))
    console.print(_summary(report), soft_wrap=True)
    _write(report, out)
    _write_html(report, html, title=f"Events of {manifest.stem}")


@eval_app.command()
def make(
    normal: Annotated[Path, typer.Option("--normal", help="A recording of one camera, or a folder of its clips.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write recordings and manifest.yaml to.")],
    audio: Annotated[Path | None, typer.Option("--audio", help="Folder: background, ordinary and unusual.")] = None,
    unusual: Annotated[Path | None, typer.Option("--unusual", help="Clips in which something happens.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="Which of their frames are unusual.")] = None,
    learn_minutes: Annotated[float, typer.Option(min=1.0, help="How much to learn from.")] = 60.0,
    judge_minutes: Annotated[float, typer.Option(min=2.0, help="How much to judge.")] = 240.0,
    every_minutes: Annotated[float, typer.Option(min=1.0, help="One event or sham in so much time.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Another number gives another day.")] = 0,
    unseen: Annotated[bool, typer.Option("--unseen", help="Judge only clips that are never learned.")] = False,
) -> None:
    """Make a test set for `eval events` from normal clips: events of known strength, shams, untouched time."""
    from mmstream.evaluation.testset import make_test_set

    shown = _Bars()
    with _explained(None), shown.progress:
        manifest = make_test_set(
            normal,
            out,
            audio=audio,
            unusual=unusual,
            labels=labels,
            learn_s=learn_minutes * 60,
            judge_s=judge_minutes * 60,
            every_s=every_minutes * 60,
            seed=seed,
            unseen=unseen,
            note=shown.note,
        )
    Console().print(f"Made {manifest}. Judge it: mmstream eval events {manifest}", soft_wrap=True)


@eval_app.command()
def report(
    source: Annotated[Path, typer.Argument(help="What `eval events` or `eval video` wrote with --json.")],
    html: Annotated[Path, typer.Option("--html", help="Where to write the page.")],
    labels: Annotated[Path | None, typer.Option("--labels", help="The labels of `eval video`, for its ROC.")] = None,
) -> None:
    """One page with plots from a report."""
    from mmstream.evaluation.video import Labels

    with _explained(html):
        try:
            found = json.loads(source.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {source}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{source} is not JSON ({error}); give what --json wrote") from error
        _write_html(found, html, title=source.stem, labels=Labels.read(labels) if labels is not None else None)


def _write_html(found: dict[str, Any], html: Path | None, *, title: str, labels: Any = None) -> None:
    from mmstream.evaluation.report import html_of

    if html is not None:
        html.write_text(html_of(found, title=title, labels=labels), encoding="utf-8")


def _table(report: dict[str, Any]) -> Table:
    table = Table("type", "events", "found", "delay s", "found at 1/h", "delay s")
    at = report["at_one_per_hour"]
    for name, row in [*report["by_modality"].items(), *report["by_type"].items()]:
        other = {} if at is None else (at["by_modality"] | at["by_type"]).get(name, {})
        table.add_row(name, str(row["num"]), *_found(row), *_found(other))
    return table


def _found(row: dict[str, Any]) -> tuple[str, str]:
    if not row or row["recall"] is None:
        return "-", "-"
    delay_s = row["delay_s"]["p50"]
    return f"{row['recall']:.0%}", "-" if delay_s is None else f"{delay_s:.1f}"


def _summary(report: dict[str, Any]) -> str:
    lines = []
    if report["event_recall"] is not None:
        lines.append(f"As it ran: {report['event_recall']:.0%} of {report['num_events']} events found.")
    if report["realised_over_nominal"] is not None:
        low, high = report["realised_over_nominal_95"]
        lines.append(
            f"{report['num_false']} false alerts in {report['camera_hours']:.2f} camera-hours, "
            f"{report['realised_over_nominal']:.2f} times the budget (95 %: {low:.2f} to {high:.2f}); "
            f"{report['num_duplicates']} more in the same events, {report['num_suppressed']} suppressed."
        )
    at = report["at_one_per_hour"]
    if at is not None and at["event_recall"] is not None:
        shams = "" if at["sham_rate"] is None else f", shams {at['sham_rate']:.0%}"
        lines.append(f"At one false alert per camera-hour: {at['event_recall']:.0%} found{shams}.")
    for modality, row in report["sham_auc"].items():
        if row["auc"] is not None:
            lines.append(f"Shams of {modality} against untouched: AUC {row['auc']:.2f} +- {row['error']:.2f}.")
    return "\n".join(lines)
