"""``mmstream train``: have a running site learn now, or learn from a folder of clips without any site."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table

from mmstream.errors import ConfigError, MmstreamError
from services.cli_client import DEFAULT_DATA_DIR, DEFAULT_URL, DataDir, Key, Url, site
from services.client import SiteClient

if TYPE_CHECKING:
    from mmstream.training.night import NightReport

LOOK_EVERY_S = 0.5
OFFLINE_MODELS = ("expectation",)
HELD_OUT_SHARE = 0.3

Show = Callable[[Mapping[str, Any]], None]
"""Takes a `TrainingJob` as JSON, or changes of one."""


def train(
    model: Annotated[
        list[str] | None, typer.Option(help="Train this model; may be repeated. Default: the site's.")
    ] = None,
    feed: Annotated[list[str] | None, typer.Option(help="On this feed's footage only; may be repeated.")] = None,
    promote: Annotated[
        bool | None, typer.Option(help="Put what is better to use, or leave it for 'models promote'.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop the training that runs.")] = False,
    clips: Annotated[Path | None, typer.Option(help="No site: learn from the clips in this folder.")] = None,
    models: Annotated[Path | None, typer.Option(help="With --clips: the registry, a folder.")] = None,
    seed: Annotated[int, typer.Option(help="With --clips: of everything that is drawn.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="With --clips: processes; from two on, on Ray Train.")] = 1,
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the report; '-' prints it.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Learn, try what was learned on days that it has not seen, and use what is better.

    Without --clips: the running site does it, on what its cameras have recorded; Ctrl-C only stops watching it.
    """
    console = Console(stderr=True)
    try:
        if clips is None:
            if models is not None:
                raise ConfigError("--models needs --clips: a running site has a registry of its own")
            with site(url, key, data_dir) as client:
                job = _stop(client) if cancel else _have_it_learn(client, model, feed, promote, console)
        else:
            if models is None or feed or cancel:
                raise ConfigError("--clips needs --models, a folder for the registry, and no --feed or --cancel")
            job = _learn(clips, models, model or OFFLINE_MODELS, seed, workers, promote is not False, console)
    except MmstreamError as error:
        console.print(f"[bold red]mmstream:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    _say(job, out)
    results = job.get("results", ())
    if job["state"] == "failed" or (results and all(result["outcome"] == "failed" for result in results)):
        raise typer.Exit(1)


def _stop(client: SiteClient) -> dict[str, Any]:
    job = client.cancel_training()
    return job | {"sentence": f"{job['job']} stops; what is in use stays in use."}


def _have_it_learn(
    client: SiteClient,
    models: Sequence[str] | None,
    feeds: Sequence[str] | None,
    promote: bool | None,
    console: Console,
) -> dict[str, Any]:
    job = client.train({"models": models or [], "feeds": feeds or [], "promote": promote})
    with _progress(console) as show:
        return follow(client, job["job"], show)


def follow(
    client: SiteClient, job_id: str, show: Show, *, wait: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """-> the job, once it has ended."""
    while True:
        known = client.training()
        for job in [known["current"], *known["last"]]:
            if job is not None and job["job"] == job_id:
                show(job)
                if job["state"] != "running":
                    return dict(job)
        wait(LOOK_EVERY_S)


def _learn(
    clips: Path, registry: Path, models: Sequence[str], seed: int, workers: int, promote: bool, console: Console
) -> dict[str, Any]:
    """Without a site; -> a job, as the API would tell of it."""
    from services.night_work import changes_of, results_of, train_on_clips

    with _progress(console) as show:
        report: NightReport = train_on_clips(
            clips,
            registry,
            models=models,
            seed=seed,
            workers=workers,
            promote=promote,
            held_out_share=HELD_OUT_SHARE,
            on_progress=lambda progress: show(changes_of(progress)),
            note=lambda what: show({"phase": what}),
        )
    return {
        "state": "done" if report.entries else "failed",
        "sentence": report.sentence,
        "results": results_of(report),
        "report": report.to_json(),
    }


class _progress:
    """A line that says what is being done, with a bar as far as one can say."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        self._bar = Progress(*columns, console=console, transient=True)

    def __enter__(self) -> Show:
        self._bar.start()
        task = self._bar.add_task("starting", total=None)

        def show(job: Mapping[str, Any]) -> None:
            percent = job.get("percent", 100.0 * job.get("share", 0.0))
            self._bar.update(
                task, description=escape(line_of(job)), total=100.0 if percent else None, completed=percent
            )

        return show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def line_of(job: Mapping[str, Any]) -> str:
    """
    >>> line_of({"subject": "site", "phase": "learning", "epoch": 3, "epochs": 9, "figures": {"validation/loss": 0.5}})
    'site: learning, epoch 3 of 9, loss 0.500'
    >>> line_of({"phase": "reading day-1.mp4"})
    'reading day-1.mp4'
    """
    epoch = f"epoch {job['epoch']} of {job['epochs']}" if job.get("epoch") else ""
    loss = job.get("figures", {}).get("validation/loss")
    parts = (job.get("phase", ""), epoch, f"loss {loss:.3f}" if loss is not None else "")
    subject = f"{job['subject']}: " if job.get("subject") else ""
    return subject + ", ".join(part for part in parts if part)


def _say(job: Mapping[str, Any], out: Path | None) -> None:
    """What came of it; for people, and for programs where they asked."""
    report = job.get("report", job)
    if out is not None and str(out) == "-":
        typer.echo(json.dumps(report))
        return
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n")
    console = Console()
    if job.get("results"):
        table = Table("model", "what became of it", "version", "why")
        for result in job["results"]:
            table.add_row(*(escape(str(result[name])) for name in ("subject", "outcome", "version", "sentence")))
        console.print(table)
    console.print(escape(job["sentence"]), highlight=False, soft_wrap=True)
