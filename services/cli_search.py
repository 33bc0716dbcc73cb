"""``mmstream search``: past moments of a running site, from the terminal."""

from __future__ import annotations

from typing import Annotated, Literal

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


@plain_failure
def search(
    words: Annotated[str, typer.Argument(help="What was said, written or seen; in any language.")] = "",
    like: Annotated[str | None, typer.Option(help="More like this moment or alert: its id.")] = None,
    feed: Annotated[str | None, typer.Option(help="Of this feed only.")] = None,
    state: Annotated[Literal["normal", "suspect", "alert"] | None, typer.Option(help="In this state only.")] = None,
    since: Annotated[str | None, typer.Option(help="ISO 8601 or Unix seconds.")] = None,
    until: Annotated[str | None, typer.Option(help="ISO 8601 or Unix seconds.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Find past moments by words or by example, by feed, state and time; without words or --like the newest."""
    with site(url, key, data_dir) as client:
        query = {"like": like, "feed": feed, "state": state, "since": since, "until": until}
        moments = list(client.search(words, limit=limit, **query))
    if as_json:
        print_json(moments)
        return
    if not moments:
        typer.echo("nothing found")
        return
    table = Table("when", "moment", "state", "surprise", "text", "why")
    for moment in moments:
        cells = (moment["state"], f"{moment['surprise']:.1f}", moment["text"], "; ".join(moment["why"]))
        table.add_row(when(moment["start_s"]), *map(escape, (moment["moment_id"], *cells)))
    Console().print(table)
