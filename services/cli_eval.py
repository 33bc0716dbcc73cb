"""``mmstream eval``: how well the detector detects on recordings, beside simple controls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column, Table

from mmstream.errors import ConfigError, SourceError, StageError, StoreError

if TYPE_CHECKING:
    from mmstream.edge_models import EdgeModel
    from mmstream.encoders.expectation_net import TrainedNet
    from mmstream.types import Frame

eval_app = typer.Typer(help="How well the detector detects, beside simple controls.", no_args_is_help=True)


@eval_app.command()
def video(
    normal: Annotated[Path, typer.Option("--normal", help="Folder of clips in which nothing is unusual.")],
    test: Annotated[Path, typer.Option("--test", help="Folder of clips to judge.")],
    labels: Annotated[Path | None, typer.Option("--labels", help="JSON file: which frames are unusual.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the report.")] = None,
    train: Annotated[
        bool,
        typer.Option("--train", help="Add the expectation channel, trained on --normal: half a minute of one core."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the training.")] = 0,
    models: Annotated[
        Path | None,
        typer.Option("--models", help="Registry: with its version of expectation.clip, if one is in use."),
    ] = None,
) -> None:
    """Clips, frame by frame: causal, learned from --normal only, nothing normalised per clip."""
    from mmstream.evaluation.video import PICTURE_ENCODERS, evaluate

    with _explained(out), _bar(Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=None)
        model = _in_use(models, train=train) if models is not None else None
        trained = {"expectation": {"weights": model.data, "version": model.version}} if model is not None else {}
        report = evaluate(
            normal,
            test,
            labels,
            encoders=(*PICTURE_ENCODERS, *trained),
            options=trained,
            train=_trainer(bar, seed) if train else None,
            note=lambda what: bar.update(task, description=what),
        )
    report["models"] = {"expectation": model.version} if model is not None else {}
    console = Console()
    if models is not None:
        used = f"with expectation {model.version}" if model is not None else "no version of expectation.clip is in use"
        console.print(f"{models}: {used}", soft_wrap=True, highlight=False)
    table = Table("clip", "frames", "unusual", "AUC inside", "above threshold")
    for name, clip in report["clips"].items():
        inside = "" if clip["auc"] is None else f"{clip['auc']:.3f}"
        table.add_row(name, str(clip["num_frames"]), str(clip["num_unusual"]), inside, str(clip["above_threshold"]))
    console.print(table)
    if labels is not None:
        low, high = report["micro_auc_95"]
        controls = ", ".join(f"{name} {value:.3f}" for name, value in report["controls"].items())
        delay = "none found" if report["delay_s_median"] is None else f"median delay {report['delay_s_median']:.1f} s"
        console.print(
            f"AUC {report['micro_auc']:.3f} (95 %: {low:.3f} to {high:.3f}); {controls}\n"
            f"at the threshold from normal clips: events found {report['event_recall']:.0%}, "
            f"false frames {report['false_frame_rate']:.1%}, {delay}",
            soft_wrap=True,
        )
    _write(report, out)


@eval_app.command()
def series(
    folder: Annotated[Path, typer.Option("--data", help="Folder of CSV files in NAB's format.")],
    windows: Annotated[Path, typer.Option("--windows", help="JSON file with the labelled windows of each.")],
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the report.")] = None,
) -> None:
    """Sensor series: NAB's score (standard profile, one threshold over all), and a windowed Gaussian's."""
    from mmstream.evaluation.series import evaluate_series

    with _explained(out), _bar(Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=None)
        report = evaluate_series(
            folder,
            windows,
            progress=lambda name, number, total: bar.update(task, description=name, completed=number, total=total),
        )
    console = Console()
    console.print(_table(report))
    console.print(
        f"NAB score {report['nab_score']:.1f}, windowed Gaussian {report['controls']['windowed_gaussian']:.1f}, "
        f"without the hold {report['controls']['without_hold']:.1f} "
        f"({report['num_series']} series, {report['num_windows']} windows)",
        soft_wrap=True,
    )
    _write(report, out)


def _in_use(registry: Path, *, train: bool) -> EdgeModel | None:
    """Before anything has been trained and promoted there is none, and motion judges alone."""
    from mmstream.edge_models import current_model, subject_of
    from mmstream.evaluation.video import FEED_ID

    if train:
        raise ConfigError("--train makes a model and --models brings one: give one of the two")
    return current_model(str(registry), subject_of("expectation", FEED_ID))


def _trainer(bar: Progress, seed: int) -> Callable[[Iterator[Frame]], TrainedNet]:
    """Torch is imported only where somebody wants it."""

    def train(frames: Iterator[Frame]) -> TrainedNet:
        from mmstream.encoders.expectation_training import train_expectation

        task = bar.add_task("steps", total=None)
        try:
            return train_expectation(
                frames, seed=seed, progress=lambda done, total: bar.update(task, completed=done, total=total)
            )
        finally:
            bar.remove_task(task)

    return train


@contextmanager
def _explained(out: Path | None) -> Iterator[None]:
    """What is wrong with the input, or with where the report shall go, in one sentence and exit code 2."""
    try:
        if out is not None and not out.absolute().parent.is_dir():
            raise ConfigError(f"no folder {out.absolute().parent} to write {out.name} to: make it first")
        yield
    except (ConfigError, SourceError, StageError, StoreError) as error:
        Console(stderr=True).print(f"[bold red]mmstream:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _write(report: Mapping[str, Any], out: Path | None) -> None:
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n")


def _bar(console: Console) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True)


def _table(report: dict[str, Any]) -> Table:
    table = Table(
        Column("series", overflow="fold"),
        "rows",
        "interval s",
        "windows",
        "found",
        "false rows",
        "score",
        "windowed Gaussian",
    )
    for name, row in report["series"].items():
        table.add_row(
            name,
            str(row["num_rows"]),
            f"{row['interval_s']:.0f}",
            str(row["num_windows"]),
            str(row["num_found"]),
            str(row["num_false_rows"]),
            f"{row['score']:.1f}",
            f"{row['controls']['windowed_gaussian']:.1f}",
        )
    return table


from services import cli_eval_events, cli_eval_fusion, cli_eval_rules, cli_eval_sound  # noqa: E402, F401  # register their commands on eval_app
