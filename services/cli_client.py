"""``mmstream feeds ...`` and ``mmstream alerts ...``: a running site from the terminal, over its API."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.client import ApiError, SiteClient

P = ParamSpec("P")
R = TypeVar("R")

feeds_app = typer.Typer(no_args_is_help=True, help="Cameras and other feeds of a running site.")
alerts_app = typer.Typer(no_args_is_help=True, help="Alerts of a running site.")

Url = Annotated[str, typer.Option("--url", envvar="MMSTREAM_URL", help="Where the site answers.")]
Key = Annotated[str, typer.Option("--key", envvar="MMSTREAM_KEY", help="The site's key; better in the environment.")]
DataDir = Annotated[Path, typer.Option("--data-dir", help="The site's data_dir, whose api.key holds the key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
FeedId = Annotated[str, typer.Argument(help="The feed's id.", metavar="FEED")]
By = Annotated[str, typer.Option(help="Who says so.")]
AlertId = Annotated[str, typer.Argument(help="The alert's id, FEED:MILLISECONDS.", metavar="ALERT")]

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_DATA_DIR = Path("mmstream-data")
MOMENTS = ("start_s", "end_s", "peak_s")


def read_key(key: str, data_dir: Path) -> str:
    """The key that was given, or the one in ``data_dir/api.key``."""
    if key:
        return key
    path = data_dir / "api.key"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        cure = "give --key or --data-dir, or set MMSTREAM_KEY"
        raise ApiError(f"there is no key: cannot read {path} ({error.strerror}); {cure}", code="no_key") from None


def plain_failure(command: Callable[P, R]) -> Callable[P, R]:
    """One sentence on stderr and exit code 1 instead of a traceback."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ApiError as error:
            typer.echo(f"mmstream: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run


@contextmanager
def site(url: str, key: str, data_dir: Path) -> Iterator[SiteClient]:
    with SiteClient(url, read_key(key, data_dir)) as client:
        yield client


# --- feeds ---------------------------------------------------------------------------------------------


@feeds_app.command("list")
@plain_failure
def list_feeds(
    url: Url = DEFAULT_URL, key: Key = "", data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False
) -> None:
    """Show every feed and how it is doing."""
    with site(url, key, data_dir) as client:
        feeds = list(client.feeds())
    if as_json:
        print_json(feeds)
        return
    table = Table("feed", "state", "what it says", "url")
    for feed in feeds:
        status = feed["status"] or {}
        state = "paused" if feed["paused"] else "no news" if feed["stale"] else status.get("state", "starting")
        table.add_row(*map(escape, (feed["feed_id"], state, status.get("sentence", ""), feed["settings"]["url"])))
    Console().print(table)


@feeds_app.command("add")
@plain_failure
def add_feed(
    feed_id: FeedId,
    feed_url: Annotated[str, typer.Argument(help="rtsp://, http(s)://, a file, or push:", metavar="URL")],
    name: Annotated[str, typer.Option(help="Shown on the dashboard.")] = "",
    audio: Annotated[bool, typer.Option(help="Receive the sound too.")] = True,
    budget: Annotated[float | None, typer.Option(min=0.0, help="Alerts per day for this feed only.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Play a file for ever.")] = False,
    history: Annotated[list[str] | None, typer.Option(help="A recording of this camera to learn from first.")] = None,
    probe: Annotated[bool, typer.Option(help="Open the feed before adding it.")] = True,
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Probe a feed and add it. Write secrets as '${NAME}': the site reads them from its environment."""
    settings: dict[str, Any] = {"id": feed_id, "url": feed_url, "name": name, "audio": audio, "loop": loop}
    settings |= {"history": history or [], "budget_alerts_per_day": budget}
    with site(url, key, data_dir) as client:
        feed = client.add_feed(settings, probe=probe)
    if as_json:
        print_json(feed)
        return
    video = (feed["probe"] or {}).get("video") or {}
    seen = f" ({', '.join(f'{name} {value}' for name, value in video.items())})" if isinstance(video, dict) else ""
    typer.echo(f"added {feed_id}{seen if video else ''}; it is learning what is normal there")


@feeds_app.command("remove")
@plain_failure
def remove_feed(feed_id: FeedId, url: Url = DEFAULT_URL, key: Key = "", data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Remove a feed. Its alerts stay."""
    with site(url, key, data_dir) as client:
        client.remove_feed(feed_id)
    typer.echo(f"removed {feed_id}")


@feeds_app.command("pause")
@plain_failure
def pause_feed(feed_id: FeedId, url: Url = DEFAULT_URL, key: Key = "", data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Stop watching a feed; what it learned is kept."""
    with site(url, key, data_dir) as client:
        client.patch_feed(feed_id, {"paused": True})
    typer.echo(f"paused {feed_id}")


@feeds_app.command("resume")
@plain_failure
def resume_feed(feed_id: FeedId, url: Url = DEFAULT_URL, key: Key = "", data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Watch a paused feed again."""
    with site(url, key, data_dir) as client:
        client.patch_feed(feed_id, {"paused": False})
    typer.echo(f"resumed {feed_id}")


# --- alerts --------------------------------------------------------------------------------------------


@alerts_app.command("list")
@plain_failure
def list_alerts(
    feed: Annotated[str | None, typer.Option(help="Of this feed only.")] = None,
    state: Annotated[Literal["open", "acknowledged", "closed"] | None, typer.Option(help="In this state only.")] = None,
    severity: Annotated[
        Literal["notice", "alert", "critical"] | None, typer.Option(help="Of this severity only.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="ISO 8601 or Unix seconds.")] = None,
    until: Annotated[str | None, typer.Option(help="ISO 8601 or Unix seconds.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show alerts, newest first."""
    with site(url, key, data_dir) as client:
        query = {"feed": feed, "state": state, "severity": severity, "since": since, "until": until}
        alerts = list(client.alerts(limit=limit, **query))
    if as_json:
        print_json(alerts)
        return
    table = Table("when", "alert", "state", "why", "sentence")
    for alert in alerts:
        state_text = f"{alert['state']} ({alert['verdict']})" if alert["verdict"] else alert["state"]
        row = (when(alert["start_s"]), alert["alert_id"], state_text, _shares(alert), alert["sentence"])
        table.add_row(*map(escape, row))
    Console().print(table)


@alerts_app.command("show")
@plain_failure
def show_alert(
    alert_id: AlertId,
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show everything about one alert."""
    with site(url, key, data_dir) as client:
        alert = client.alert(alert_id)
    if as_json:
        print_json(alert)
        return
    table = Table(show_header=False)
    for name, value in alert.items():
        shown = when(value) if name in ("start_s", "end_s", "peak_s") else _shares(alert) if name == "shares" else value
        table.add_row(name, escape(str(shown)))
    Console().print(table)


@alerts_app.command("follow")
@plain_failure
def follow_alerts(
    last_event_id: Annotated[int | None, typer.Option(min=0, help="Start after this event instead of now.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Print alerts as they happen, until Ctrl-C. With --json: one object per line."""
    with site(url, key, data_dir) as client:
        for number, (sequence, alert) in enumerate(client.follow(last_event_id), start=1):
            if as_json:
                typer.echo(json.dumps({"sequence": sequence, "alert": alert}))
            else:
                typer.echo(f"{when(alert['start_s'])}  {alert['alert_id']}  {alert['state']}  {alert['sentence']}")
            if number == count:
                return


@alerts_app.command("ack")
@plain_failure
def acknowledge(alert_id: AlertId, url: Url = DEFAULT_URL, key: Key = "", data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Say that somebody is looking at it."""
    with site(url, key, data_dir) as client:
        client.ack(alert_id)
    typer.echo(f"acknowledged {alert_id}")


@alerts_app.command("close")
@plain_failure
def close_alert(
    alert_id: AlertId,
    verdict: Annotated[Literal["true", "false_alarm", "unsure"], typer.Option(help="What it was.")],
    note: Annotated[str, typer.Option(help="For whoever reads it later.")] = "",
    by: By = "",
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Close an alert with a verdict and a note."""
    with site(url, key, data_dir) as client:
        client.close_alert(alert_id, verdict, note, by)
    typer.echo(f"closed {alert_id} as {verdict}")


@alerts_app.command("undo")
@plain_failure
def take_back(
    alert_id: AlertId, by: By = "", url: Url = DEFAULT_URL, key: Key = "", data_dir: DataDir = DEFAULT_DATA_DIR
) -> None:
    """Take a verdict back: what it taught the camera is undone."""
    with site(url, key, data_dir) as client:
        client.take_back(alert_id, by)
    typer.echo(f"took the verdict on {alert_id} back")


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=None if not os.isatty(1) else 2))


def when(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _shares(alert: dict[str, Any]) -> str:
    """
    >>> _shares({"shares": {"sound": 0.7, "picture": 0.3}})
    'sound 70 %, picture 30 %'
    """
    parts = sorted(alert["shares"].items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in parts)
