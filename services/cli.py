"""The command line: thin commands, each with ``--help``; exit code 2 for wrong use, 1 for failure."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from mmstream.config import FeedConfig, SiteConfig, load_site
from mmstream.errors import ConfigError, MmstreamError, SourceError
from services.cli_bench import bench_app
from services.cli_client import alerts_app, feeds_app
from services.cli_eval import eval_app
from services.cli_models import models_app
from services.cli_replay import replay
from services.cli_search import search
from services.cli_train import train

app = typer.Typer(
    name="mmstream",
    help="Watches, listens and reads every camera; alerts only on what is unusual for that one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(feeds_app, name="feeds")
app.add_typer(alerts_app, name="alerts")
app.add_typer(bench_app, name="bench")
app.add_typer(eval_app, name="eval")
app.command("search")(search)
app.command("train")(train)
app.command("replay")(replay)
app.add_typer(models_app, name="models")

console = Console(stderr=True)

Address = Annotated[
    str | None, typer.Option(help="A running Ray cluster ('auto' finds it); without it: a Ray of its own.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def fail(error: Exception, code: int = 1) -> typer.Exit:
    """Print one plain sentence; the exit to raise."""
    console.print(f"[bold red]mmstream:[/] {error}", highlight=False, soft_wrap=True)
    return typer.Exit(code)


@app.command()
def run(
    site_yaml: Annotated[
        Path | None, typer.Argument(help="The site's settings; without it: defaults, no feeds.")
    ] = None,
    address: Address = None,
) -> None:
    """Run a site on this machine or on a Ray cluster until interrupted."""
    try:
        site = load_site(site_yaml) if site_yaml is not None else SiteConfig()
    except ConfigError as error:
        raise fail(error, 2) from None
    serve_site(site, address)


@app.command()
def demo(
    data: Annotated[Path, typer.Option(help="Where recordings, clips and learned state go.")] = Path("mmstream-data"),
    port: Annotated[int, typer.Option(help="Port of the dashboard.")] = 8000,
    open_browser: Annotated[bool, typer.Option(help="Open the dashboard in a browser.")] = True,
) -> None:
    """Watch four rendered cameras with the embedded default: no server, no download, no GPU."""
    from services.demo import DemoCameras, demo_site, render_history

    with DemoCameras() as cameras:
        try:
            with progress_bar() as bar:
                site = demo_site(data, port=port, cameras=cameras, history=render_history(data, bar))
        except MmstreamError as error:
            raise fail(error) from None
        serve_site(site, None, open_browser=open_browser)


def serve_site(site: SiteConfig, address: str | None, *, open_browser: bool = False) -> None:
    """Start, show what is being learned, wait for Ctrl-C or SIGTERM, stop in order."""
    from services.app import Site

    stop = threading.Event()
    stop_on_signals(stop)
    with progress_bar() as bar:
        task = bar.add_task("starting", total=None)
        running = Site(site, address=address, progress=lambda step: bar.update(task, description=step))
        try:
            running.start()
            stop_on_signals(stop)  # Ray has put its own handler of SIGTERM in, which prints a stack
        except (MmstreamError, ConnectionError) as error:
            running.stop()
            raise fail(error, 2 if isinstance(error, ConfigError) else 1) from None
    for reason in running.without.values():
        console.print(f"[yellow]Without one encoder:[/] {escape(reason)}", highlight=False, soft_wrap=True)
    announce(running.url, running.new_key, running.key_file, open_browser=open_browser)
    try:
        show_learning(running, stop)
        stop.wait()
    finally:
        console.print("Stopping: writing what was learned ...")
        running.stop()


def stop_on_signals(stop: threading.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())


def announce(url: str, new_key: str | None, key_file: Path, *, open_browser: bool) -> None:
    key = new_key or (key_file.read_text().strip() if key_file.is_file() else "")
    console.print(f"[bold green]Dashboard:[/] {url}/", highlight=False)
    if new_key:
        console.print(f"[bold]API key[/] (shown once, kept in {key_file}): {new_key}", highlight=False, soft_wrap=True)
    if open_browser and key:
        import webbrowser

        webbrowser.open(f"{url}/#key={key}")


def show_learning(running: Any, stop: threading.Event) -> None:
    """A bar per feed while recordings are learned; returns when none is learning any more."""
    with progress_bar() as bar:
        tasks: dict[str, Any] = {}
        while not stop.wait(0.5):
            learning = 0
            statuses = running.statuses()
            for feed_id, status in statuses.items():
                share = status.get("learning")
                if share is None and feed_id not in tasks:
                    continue
                if feed_id not in tasks:
                    tasks[feed_id] = bar.add_task(f"learning what is normal at {feed_id}", total=1.0)
                bar.update(tasks[feed_id], completed=1.0 if share is None else share)
                learning += share is not None
            if statuses and not learning:
                return
            if not running.config.feeds:
                return


def progress_bar() -> Progress:
    return Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), console=console, transient=True)


@app.command()
def probe(
    url: Annotated[str, typer.Argument(help="rtsp://, rtsps://, http(s):// or a file.")],
    frame: Annotated[Path | None, typer.Option(help="Where to save one picture of it.")] = Path("frame.jpg"),
    transport: Annotated[str, typer.Option(help="tcp or udp, for RTSP.")] = "tcp",
    timeout_s: Annotated[float, typer.Option(help="Give up after so long.")] = 10.0,
    as_json: JsonFlag = False,
) -> None:
    """Open a feed and say what it is: codecs, size, rates, sound, clock; save one picture."""
    from pydantic import ValidationError

    from mmstream.config import explain
    from mmstream.sources.probe import probe as probe_feed

    try:
        feed = FeedConfig(id="probe", url=url, transport=transport, audio=True)
    except ValidationError as error:
        raise fail(ConfigError(explain(error, "probe")), 2) from None
    try:
        report = probe_feed(feed, timeout_s=timeout_s)
    except (ConfigError, SourceError) as error:
        raise fail(error, 2) from None
    value = report.to_json()
    if report.first_picture is not None and frame is not None:
        Image.fromarray(report.first_picture).save(frame, quality=90)
        value["frame"] = str(frame)
    if as_json:
        print(json.dumps(value))  # noqa: T201
    elif "error" not in value:
        table = Table("", "", show_header=False)
        for name, item in value.items():
            shown = ", ".join(f"{key} {part}" for key, part in item.items()) if isinstance(item, dict) else str(item)
            table.add_row(name.replace("_", " "), shown)
        Console().print(table)
    if "error" in value:
        raise fail(ConfigError(value["error"]["message"]), 2)


@app.command()
def doctor(
    site_yaml: Annotated[Path | None, typer.Argument(help="Check what this site needs, too.")] = None,
    address: Address = None,
    as_json: JsonFlag = False,
) -> None:
    """Check this machine: /dev/shm, ports, FFmpeg, GPU, clock, disk, Redis; each finding with its cure."""
    from services.doctor import run_checks

    try:
        site = load_site(site_yaml) if site_yaml is not None else None
    except ConfigError as error:
        raise fail(error, 2) from None
    findings = run_checks(site, address=address)
    if as_json:
        rows = [{"name": f.name, "ok": f.ok, "sentence": f.sentence, "cure": f.cure} for f in findings]
        print(json.dumps(rows))  # noqa: T201
    else:
        colours = {"ok": "green", "warning": "yellow", "failed": "red"}
        table = Table("check", "", "finding", "cure")
        for finding in findings:
            colour = colours[finding.ok]
            table.add_row(finding.name, f"[{colour}]{finding.ok}[/]", finding.sentence, finding.cure)
        Console().print(table)
    if any(finding.ok == "failed" for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the ``mmstream`` command."""
    try:
        app()
    except MmstreamError as error:
        console.print(f"[bold red]mmstream:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
