"""``mmstream replay``: what would have been, from the terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
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

SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0}
MAX_SHOWN = 40
PHRASE = "phrase"
"""The name of a rule that is only tried."""


@plain_failure
def replay(
    budget: Annotated[float | None, typer.Option(min=0.001, help="Alerts a day of every camera asked about.")] = None,
    weight: Annotated[list[str] | None, typer.Option(help="MODALITY=WEIGHT, e.g. sound=2; may be repeated.")] = None,
    rule: Annotated[str | None, typer.Option(help="Fusion rule: harmonic, fisher, mean, linear, max.")] = None,
    says: Annotated[list[str] | None, typer.Option(help="Try a rule for this phrase; may be repeated.")] = None,
    without_rule: Annotated[list[str] | None, typer.Option(help="Take this rule away; may be repeated.")] = None,
    model: Annotated[str | None, typer.Option(help="What the gate found about SUBJECT@VERSION.")] = None,
    since: Annotated[str, typer.Option(help="7d, 12h, ISO 8601 or Unix seconds.")] = "7d",
    until: Annotated[str | None, typer.Option(help="The same; until now when left out.")] = None,
    feed: Annotated[list[str] | None, typer.Option(help="Of this feed; may be repeated.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show which alerts of the last days would have come or gone with something changed; without a change, how well
    going through them again finds those that there were."""
    question: dict[str, Any] = {"since": moment(since), "feeds": feed or []}
    question |= {"alerts_per_day": budget} if budget is not None else {}
    question |= {"until": moment(until)} if until else {}
    question |= {"weights": weights_of(weight)} if weight else {}
    question |= {"fusion": rule} if rule else {}
    question |= {"rules": [{"name": PHRASE, "says": says}]} if says else {}
    question |= {"without_rules": without_rule} if without_rule else {}
    if model:
        question = {"model": model}
    with site(url, key, data_dir) as client:
        answer = client.replay(question)
    if as_json:
        print_json(answer)
        return
    console = Console()
    if not model:
        console.print(_by_feed(answer))
        if answer["alerts"]:
            console.print(_listed(answer["alerts"][:MAX_SHOWN]))
        left = len(answer["alerts"]) - MAX_SHOWN + answer["num_left_out"]
        if left > 0:
            console.print(f"{left} more; --json shows them")
    for note in answer["notes"]:
        console.print(note, highlight=False)


def moment(text: str) -> str | float:
    """So long ago, or the time as it was given.

    >>> moment("2026-11-01T08:00:00Z"), round(time.time() - moment("2h")) == 7200
    ('2026-11-01T08:00:00Z', True)
    """
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)([dhm])", text.strip())
    return time.time() - float(ago[1]) * SECONDS[ago[2]] if ago else text


def weights_of(pairs: Sequence[str]) -> dict[str, float]:
    """
    >>> weights_of(["sound=2", "words=0.5"])
    {'sound': 2.0, 'words': 0.5}
    """
    weights = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            raise typer.BadParameter(f"--weight {pair!r}: want MODALITY=WEIGHT, such as sound=2") from None
    return weights


def _by_feed(answer: dict[str, Any]) -> Table:
    table = Table("feed", "now", "then", "appeared", "vanished", "over budget")
    names = ("now", "then", "appeared", "vanished", "over_budget")
    for feed_id, numbers in answer["feeds"].items():
        table.add_row(escape(feed_id), *(str(numbers[name]) for name in names))
    table.add_section()
    table.add_row("all", *(str(answer["total"][name]) for name in names))
    return table


def _listed(alerts: Sequence[dict[str, Any]]) -> Table:
    table = Table("", "when", "feed", "severity", "surprise", "why")
    for alert in alerts:
        shares = sorted(alert["shares"].items(), key=lambda part: -part[1])
        why = alert["cause"] or ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares if share >= 0.01)
        cells = (alert["feed_id"], alert["severity"], f"{alert['surprise']:.1f}", why)
        table.add_row(alert["fate"], when(alert["start_s"]), *map(escape, cells))
    return table
