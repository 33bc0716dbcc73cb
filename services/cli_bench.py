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


@bench_app.command("search")
def search_speed(
    moments: Annotated[int, typer.Option(min=1000, help="Moments in the generated archive.")] = 200_000,
    folder: Annotated[Path, typer.Option(help="Where to build it; 2.3 kB per moment while it is built.")] = Path("."),
    queries: Annotated[int, typer.Option(min=5, help="Questions of each kind.")] = 60,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the archive there.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the result.")] = None,
) -> None:
    """Search over a generated archive: latency by kind of question, recall, memory, bytes per moment."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from services.bench_search import bench_search

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("writing", total=1.0)

        def show(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        result = bench_search(moments, folder, show, num_queries=queries, keep=keep)
    table = Table("question", "first s", "p50 s", "p95 s")
    for name, row in result["ours"]["latency"].items():
        table.add_row(name.replace("_", " "), *(f"{row[key]:.3f}" for key in ("first_s", "p50_s", "p95_s")))
    console = Console()
    console.print(table)
    ours = result["ours"]
    console.print(
        f"recall@10 {ours['recall_at_10']:.3f}, memory {ours['rss_mb']} MB, {ours['bytes_per_moment']} bytes per moment"
    )
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n")


@bench_app.command("replay")
def replay_speed(
    days: Annotated[int, typer.Option(min=1, max=31, help="Days that are gone through.")] = 7,
    feeds: Annotated[int, typer.Option(min=1, help="Cameras.")] = 20,
    folder: Annotated[Path, typer.Option(help="Where to build the archive; 2 MB per camera and day.")] = Path("."),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the archive there.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the result.")] = None,
) -> None:
    """Days of many cameras gone through again with something changed: seconds to read, to compute, memory."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from services.bench_replay import bench_replay

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("making days", total=1.0)

        def show(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        result = bench_replay(days, feeds, folder, show, keep=keep)
    table = Table("question", "all s", "CPU s", "read s", "compute s", "alerts")
    for name, row in result["ours"]["questions"].items():
        cells = (f"{row[key]:.2f}" for key in ("all_s", "cpu_s", "read_s", "compute_s"))
        table.add_row(name.replace("_", " "), *cells, str(row["alerts"]))
    console = Console()
    console.print(table)
    ours = result["ours"]
    console.print(
        f"{ours['build']['moments']} moments, {ours['build']['strip_bytes_per_feed_day']} bytes of strips per camera "
        f"and day, memory {ours['max_rss_mb']} MB"
    )
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n")


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


@bench_app.command()
def encode(
    model: Annotated[list[str] | None, typer.Option(help="May be repeated; default: all architectures.")] = None,
    precision: Annotated[str, typer.Option(help="Comma-separated: fp32, bf16, int8 (CPU only).")] = "fp32",
    batch: Annotated[
        str, typer.Option(help="Comma-separated: inputs per call of each of the four callers.")
    ] = "1,8,32",
    seconds: Annotated[float, typer.Option(help="Measured time of each side of each row.", min=1)] = 20.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the result.")] = None,
) -> None:
    """Real architectures with random weights: inputs a second through a replica, beside a bare loop."""
    from services.bench_encode import compare
    from services.bench_models import ARCHITECTURES

    names = model or list(ARCHITECTURES)
    unknown = sorted(set(names) - set(ARCHITECTURES))
    if unknown:
        raise typer.BadParameter(f"no architecture {unknown[0]!r}; choose from {', '.join(ARCHITECTURES)}")
    try:
        batches = [int(part) for part in batch.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--batch {batch!r}: want whole numbers, such as 1,8,32") from None
    if min(batches) < 1:
        raise typer.BadParameter(f"--batch {batch!r}: want at least 1")
    precisions = [part.strip() for part in precision.split(",")]
    with Console(stderr=True).status("starting Ray") as status:
        result = compare(names, precisions, batches, seconds=seconds, device=device, progress=status.update)
    table = Table("model", "format", "a call", "a pass", "bare /s", "replica /s", "ratio", "of CPU s", "streams")
    for row in result["rows"]:
        table.add_row(
            row["model"],
            row["precision"],
            str(row["per_call"]),
            str(row["per_pass"]),
            *(f"{row[side]['inputs_per_s']:.2f}" for side in ("floor", "ours")),
            *(f"{row[ratio]:.2f}" for ratio in ("ratio", "ratio_cpu")),
            f"{row['streams_per_device']:.0f}" if "streams_per_device" in row else "",
        )
    console = Console()
    console.print(table)
    for what, reason in result["skipped"].items():
        console.print(f"{what}: {reason}")
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n")


@bench_app.command("train")
def beside_training(
    cameras: Annotated[int, typer.Option(min=1, help="Rendered cameras.")] = 4,
    seconds: Annotated[float, typer.Option(min=2, help="Measured time of each of the three parts.")] = 60.0,
    workers: Annotated[int, typer.Option(min=1, help="Training processes.")] = 1,
    out: Annotated[Path | None, typer.Option("--json", help="Where to write the result.")] = None,
) -> None:
    """What watching loses while the site trains: how long the API takes, and frames a second, beside without."""
    from mmstream.errors import MmstreamError
    from services.bench_train import compare

    console = Console()
    with Console(stderr=True).status("starting") as status:
        try:
            result = compare(cameras, seconds=seconds, workers=workers, say=status.update)
        except MmstreamError as error:
            console.print(f"[bold red]mmstream:[/] {error}", highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None
    table = Table("", "API p50 s", "API p99 s", "frames per camera and s", "windows per camera and s")
    rows = {"without training": result["floor"]["without"], "beside it": result["ours"]["beside"]}
    names = ("api_p50_s", "api_p99_s", "frames_decoded_per_camera_s", "windows_per_camera_s")
    for what, row in rows.items():
        table.add_row(what, *(f"{row[name]:.4f}" for name in names))
    console.print(table)
    for what, ratio in result["ratio"].items():
        console.print(f"{what}, beside / without: {ratio:.2f}")
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n")
