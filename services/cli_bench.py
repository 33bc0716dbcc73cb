"""``mmstream bench``: what the path costs, beside the bare floor, in one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

bench_app = typer.Typer(help="Cost per camera-second, latency and memory, beside the bare floor.", no_args_is_help=True)


@bench_app.callback()
def _group() -> None:
    """Keeps ``pipeline`` a subcommand while it is the only one."""


@bench_app.command()
def pipeline(
    urls: Annotated[list[str], typer.Argument(help="Live feeds, e.g. eight rtsp:// URLs.")],
    seconds: Annotated[float, typer.Option(help="Measured time of each configuration.", min=5)] = 30.0,
    warmup_s: Annotated[float, typer.Option(help="Left out before each measurement.", min=0)] = 15.0,
    only: Annotated[str, typer.Option(help="Comma-separated configurations; default: all.")] = "",
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the result.")] = None,
) -> None:
    """Demux only, bare decode, one process (gate off and on), and Ray: CPU seconds per camera-second."""
    from services.bench import CONFIGURATIONS, compare

    names = [name.strip() for name in only.split(",") if name.strip()] or list(CONFIGURATIONS)
    unknown = sorted(set(names) - set(CONFIGURATIONS))
    if unknown:
        raise typer.BadParameter(f"no configuration {unknown[0]!r}; choose from {', '.join(CONFIGURATIONS)}")
    result = compare(urls, names, seconds=seconds, warmup_s=warmup_s)
    table = Table("configuration", "CPU s per camera-s", "of decode", "of demux", "memory MB", "latency p50/p95 s")
    for name, row in result["all"].items():
        latency = row.get("latency_s") or {}
        table.add_row(
            name,
            f"{row['cpu_s_per_camera_s']:.4f}",
            *(f"{row[f'ratio_to_{floor}']:.2f}" if f"ratio_to_{floor}" in row else "" for floor in ("decode", "demux")),
            f"{row['memory_mb']:.0f}",
            f"{latency['p50']:.2f} / {latency['p95']:.2f}" if latency else "",
        )
    console = Console()
    console.print(table)
    for what, ratio in result["ratio"].items():
        console.print(f"{what}: {ratio:.2f}")
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n")
