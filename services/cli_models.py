"""``mmstream models pull``: pretrained weights ahead of time, so that a site can start and run without a network."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from mmstream.config import SiteConfig, load_site
from mmstream.encoders import hub, intact
from mmstream.errors import ConfigError
from services import cli_versions

models_app = typer.Typer(help="Models: the site's own versions, and pretrained ones.", no_args_is_help=True)
models_app.command("list")(cli_versions.list_models)
models_app.command("show")(cli_versions.show_model)
models_app.command("promote")(cli_versions.promote)
models_app.command("rollback")(cli_versions.roll_back)
console = Console(stderr=True)


@models_app.command()
def pull(
    site_yaml: Annotated[Path | None, typer.Argument(help="The site whose models are wanted.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A Hub id 'owner/name' or a folder; may be repeated.")] = None,
    to: Annotated[Path | None, typer.Option(help="Put each into DIR/owner/name, not into the Hub's cache.")] = None,
    check: Annotated[bool, typer.Option(help="Only check what is here; fetch nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Fetch the weights that a site names (SITE_YAML) or that you name (--model), and check every file."""
    try:
        names = wanted_models(load_site(site_yaml) if site_yaml is not None else None, model or [])
    except ConfigError as error:
        raise _failed(error, 2) from None
    rows = [_pulled(name, to, check) for name in names]
    if as_json:
        print(json.dumps({"models": rows}))  # noqa: T201
    else:
        _show(rows)
    if any(row["problems"] for row in rows):
        raise typer.Exit(1)


def wanted_models(site: SiteConfig | None, names: Sequence[str]) -> list[str]:
    """Hub ids and folders, each once: those that are named, and every ``folder`` in a site's options.

    Raises:
        ConfigError: there is none.
    """
    found = list(names)
    for section in (site.encoders, site.understanding) if site is not None else ():
        found += [str(options["folder"]) for options in section.options.values() if options.get("folder")]
    if not found:
        raise ConfigError("there is nothing to pull: the site names no folder in its options; give --model owner/name")
    return list(dict.fromkeys(found))


def _pulled(name: str, to: Path | None, check: bool) -> dict[str, Any]:
    """One model as it is now: where, its files, and what is wrong with it in sentences."""
    try:
        place = _place(name, to, check)
    except ConfigError as error:
        return {"model": name, "folder": "", "size_bytes": 0, "files": [], "problems": [error.sentence]}
    files = intact.check_folder(place)
    return {
        "model": name,
        "folder": str(place),
        "size_bytes": sum(file.size_bytes for file in files),
        "files": [{"name": file.name, "size_bytes": file.size_bytes, "checked": file.checked} for file in files],
        "problems": [file.problem for file in files if file.problem],
    }


def _place(name: str, to: Path | None, check: bool) -> Path:
    if not hub.is_hub_id(name):
        return hub.local_folder(name)
    beside = to / name if to is not None else None
    if not check:
        with _progress_of(name) as progress:
            return hub.fetch(name, to=beside, progress=progress)
    place = beside if beside is not None else hub.fetched(name)
    if place is None or not place.is_dir():
        raise ConfigError(f"{name} is not here; run 'mmstream models pull --model {name}' where there is a network")
    return place


def _show(rows: Sequence[dict[str, Any]]) -> None:
    here = [row for row in rows if row["folder"]]
    table = Table("model", "folder", "MB", "files", "checked against", "")
    for row in here:
        kinds = sorted({file["checked"] for file in row["files"]} - {"-"})
        state = "[red]not usable[/]" if row["problems"] else "[green]whole[/]"
        size_mb = f"{row['size_bytes'] / 1e6:.1f}"
        table.add_row(row["model"], row["folder"], size_mb, str(len(row["files"])), ", ".join(kinds), state)
    if here:
        Console().print(table)
    for row in rows:
        for problem in row["problems"]:
            console.print(f"[bold red]mmstream:[/] {row['model']}: {problem}", highlight=False, soft_wrap=True)


def _failed(error: Exception, code: int) -> typer.Exit:
    console.print(f"[bold red]mmstream:[/] {error}", highlight=False, soft_wrap=True)
    return typer.Exit(code)


@contextlib.contextmanager
def _progress_of(name: str) -> Iterator[type[Any]]:
    """A bar in the terminal, as the class like tqdm that huggingface_hub reports to."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(name, total=None)

        class Bar(_Bar):
            def refresh(self) -> None:
                if self.is_of_bytes:
                    shown.update(task, completed=self.n, total=self.total or None)

        yield Bar


class _Bar:
    """As much of tqdm as huggingface_hub calls. A download has three; the one of the bytes written is shown."""

    def __init__(self, *, total: float | None = None, initial: float = 0, desc: str = "", **_: Any) -> None:
        self.total, self.n = total, float(initial)
        self.is_of_bytes = desc.startswith("Reconstructing")
        self.format_dict: dict[str, Any] = {}

    def refresh(self) -> None:
        """Draw."""

    def update(self, n: float | None = 1) -> None:
        self.n += n or 0
        self.refresh()

    def set_postfix_str(self, *_: Any, **__: Any) -> None:
        """The speed: the terminal's bar has its own."""

    set_description = set_description_str = set_postfix_str

    def close(self) -> None:
        """The terminal's bar is taken away with the last of them."""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
