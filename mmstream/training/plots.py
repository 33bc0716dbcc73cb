"""Pictures of a report: ROC, precision and recall, reliability, confusion, and the curves of a training.

Colours are those of Okabe and Ito (2008), which people who do not see red or green tell apart; dashes differ, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from mmstream.training.night_report import NightReport
from mmstream.training.report import Curve, Report, figures_of_trial

BLUE, ORANGE, GREEN, VERMILLION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
STYLES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (VERMILLION, ":"), (GREY, (0, (5, 1))))
SIZE_INCH = (4.8, 4.0)
DPI = 120


def plots(reports: Mapping[str, Report], folder: Path) -> list[Path]:
    """Draw what the reports hold; -> the files. ``reports``: name in the legend -> report, at most five.

    ``roc.png`` and ``pr.png`` have a line for each, ``reliability.png``, too; ``confusion-NAME.png`` is one's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [
        _lines(
            {f"{name} (AUC {r.figures['auc']:.3f})": r.roc for name, r in reports.items() if r.roc[0]},
            folder / "roc.png",
            title="Found against false alarms, at every threshold",
            labels=("share of normal moments raised", "share of events found"),
            reference="chance",
        ),
        _lines(
            {f"{name} (AP {r.figures['ap']:.3f})": r.pr for name, r in reports.items() if r.pr[0]},
            folder / "pr.png",
            title="How many alerts are true, at every recall",
            labels=("share of events found (recall)", "share of alerts that are true (precision)"),
        ),
        _lines(
            {f"{name} (ECE {r.figures['ece']:.3f})": r.reliability for name, r in reports.items() if r.reliability[0]},
            folder / "reliability.png",
            title="Are probabilities what they say?",
            labels=("probability that was said", "share that was so"),
            reference="exact",
            marker="o",
        ),
    ]
    drawn += [_confusion(name, report, folder) for name, report in reports.items() if report.confusion]
    return [path for path in drawn if path is not None]


def plot_training(epochs: Sequence[Mapping[str, float]], path: Path, *, title: str) -> Path | None:
    """The losses of every epoch, in training and on what was set aside; None where there are none."""
    names = [name for name in ("train/loss", "validation/loss") if any(name in epoch for epoch in epochs)]
    if not names:
        return None
    figure, axes = _new(title, ("epoch", "loss"))
    for number, name in enumerate(names):
        colour, dash = STYLES[number]
        x = [at for at, epoch in enumerate(epochs, 1) if math.isfinite(epoch.get(name, math.nan))]
        label = {"train/loss": "training", "validation/loss": "set aside"}[name]
        axes.plot(x, [epochs[at - 1][name] for at in x], color=colour, linestyle=dash, marker=".", label=label)
    if "validation/loss" in names:
        aside = [epoch.get("validation/loss", math.nan) for epoch in epochs]
        best = int(np.nanargmin(aside)) + 1 if np.isfinite(aside).any() else 1
        axes.axvline(best, color=GREY, linewidth=0.8, label=f"kept: epoch {best}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _saved(figure, path)


def plots_of_night(report: NightReport, folder: Path) -> list[Path]:
    """Of every model that was tried, under ``folder/SUBJECT``: its training, and both sides on the held-out days, the
    numbers behind them as ``figures.json``; -> all files."""
    drawn: list[Path] = []
    for entry in report.entries:
        own = folder / entry.subject
        if entry.epochs:
            own.mkdir(parents=True, exist_ok=True)
            path = plot_training(entry.epochs, own / "training.png", title=f"Training of {entry.subject}")
            drawn += [path] if path is not None else []
        if entry.old is not None and entry.new is not None:
            before = "in use" if entry.parent else "without"
            sides = {before: figures_of_trial(entry.old), "new": figures_of_trial(entry.new)}
            drawn += plots(sides, own)
            numbers = own / "figures.json"
            numbers.write_text(json.dumps({name: side.to_json() for name, side in sides.items()}) + "\n")
            drawn.append(numbers)
    return drawn


def _lines(
    curves: Mapping[str, Curve],
    path: Path,
    *,
    title: str,
    labels: tuple[str, str],
    reference: str = "",
    marker: str = "",
) -> Path | None:
    if not curves:
        return None
    if len(curves) > len(STYLES):
        raise ValueError(f"at most {len(STYLES)} lines can be told apart, got {len(curves)}")
    figure, axes = _new(title, labels)
    if reference:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, label=reference)
    for (name, (x, y)), (colour, dash) in zip(curves.items(), STYLES, strict=False):
        axes.plot(x, y, color=colour, linestyle=dash, marker=marker, label=name, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="best")
    return _saved(figure, path)


def _confusion(name: str, report: Report, folder: Path) -> Path:
    counts = np.array(report.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _new(f"What was said of what was there: {name}", ("said", "was there"))
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    ticks = range(len(report.names))
    axes.set(xticks=ticks, yticks=ticks, xticklabels=report.names, yticklabels=report.names)
    axes.grid(visible=False)
    for (row, col), count in np.ndenumerate(counts):
        colour = "white" if shares[row, col] > 0.5 else "black"
        axes.text(col, row, f"{count}\n{shares[row, col]:.0%}", ha="center", va="center", color=colour)
    return _saved(figure, folder / f"confusion-{''.join(c if c.isalnum() else '-' for c in name)}.png")


def _new(title: str, labels: tuple[str, str]) -> tuple[Any, Any]:
    """A figure of its own, without pyplot's global state: reports are drawn beside whatever else draws."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=SIZE_INCH, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(title, fontsize=10.0)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
    return figure, axes


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path)
    return path
