"""``mmstream models list|show|promote|rollback``: versions of a running site's own models, over its API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.cli_client import (
    DEFAULT_DATA_DIR,
    DEFAULT_URL,
    AsJson,
    DataDir,
    Key,
    Url,
    plain_failure,
    print_json,
    site,
    when,
)
from services.client import ApiError, SiteClient

ASK_EVERY_S = 0.5
NONE = "as it is shipped"

Model = Annotated[str, typer.Argument(help="The model's name, such as site.", metavar="MODEL")]
Version = Annotated[str, typer.Argument(help="The version's name.", metavar="VERSION")]
Wait = Annotated[bool, typer.Option(help="Wait until it is in use.")]


@plain_failure
def list_models(
    url: Url = DEFAULT_URL, key: Key = "", data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False
) -> None:
    """Show the models that the site has trained, and which version of each is in use."""
    with site(url, key, data_dir) as client:
        models = client.models()
    if as_json:
        print_json(models)
        return
    if not models:
        typer.echo("no models yet; train some with 'mmstream train'")
        return
    table = Table("model", "in use", "since", "why", "how it does")
    for model in models:
        since = when(model["since_s"]) if model["since_s"] else ""
        cells = (model["name"], model["version"] or NONE, since, model["reason"], model["look"])
        table.add_row(*map(escape, cells))
    Console().print(table)


@plain_failure
def show_model(
    name: Model,
    version: Annotated[str, typer.Argument(help="One of its versions; without it: all.", metavar="[VERSION]")] = "",
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show a model's versions, or where one of them comes from."""
    with site(url, key, data_dir) as client:
        found = client.model(name, version)
    if as_json:
        print_json(found)
    elif version:
        _show_version(found)
    else:
        table = Table("version", "made", "state", "why")
        for each in found["versions"]:
            table.add_row(*map(escape, (each["version"], when(each["made_s"]), each["state"], each["reason"])))
        Console().print(table)


@plain_failure
def promote(
    name: Model,
    version: Version,
    force: Annotated[bool, typer.Option("--force", help="Also when the gate has refused it.")] = False,
    wait: Wait = True,
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Put a version to use: what is normal is learned under it first, then it is swapped in while the site runs."""
    with site(url, key, data_dir) as client:
        _swap(client, name, lambda: client.promote(name, version, force=force), wait=wait, as_json=as_json)


@plain_failure
def roll_back(
    name: Model,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads it later.")] = "",
    wait: Wait = True,
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Use the version before again, or none where there was none."""
    with site(url, key, data_dir) as client:
        _swap(client, name, lambda: client.roll_back(name, reason), wait=wait, as_json=as_json)


def _swap(client: SiteClient, name: str, begin: Callable[[], dict[str, Any]], *, wait: bool, as_json: bool) -> None:
    before = client.model(name)["swap"]
    model = begin()
    if not wait:
        print_json(model) if as_json else typer.echo(f"{name} is being swapped")
        return
    with Console(stderr=True).status(f"{name}: learning what is normal under it, then swapping"):
        while (swap := model["swap"]) in (None, before) or swap["state"] == "running":
            time.sleep(ASK_EVERY_S)
            model = client.model(name)
    if swap["state"] == "failed":
        raise ApiError(f"{name} was not swapped: {swap['sentence']}", code="swap_failed")
    if as_json:
        print_json(model)
        return
    typer.echo(f"{name}: {swap['version'] or NONE} is in use, after {swap['ended_s'] - swap['began_s']:.1f} s")
    if swap["sentence"]:
        typer.echo(swap["sentence"])


def _show_version(version: dict[str, Any]) -> None:
    table = Table(show_header=False)
    lineage = version["lineage"]
    learned = f"{when(lineage['from_s'])} to {when(lineage['to_s'])}" if lineage["to_s"] else ""
    rows = {
        "version": version["version"],
        "state": version["state"],
        "why": version["reason"],
        "made": when(version["made_s"]),
        "learned from": learned,
        "feeds": ", ".join(lineage["feeds"]),
        "windows": str(lineage["num_windows"]),
        "started from": lineage["parent"] or "nothing",
        "mmstream": lineage["code"],
        "figures": ", ".join(f"{name} {value:.4g}" for name, value in lineage["metrics"].items()),
        "settings": ", ".join(f"{name} {value}" for name, value in lineage["settings"].items()),
        "files": "\n".join(f"{name} sha256:{digest}" for name, digest in version["files"].items()),
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    Console().print(table)
