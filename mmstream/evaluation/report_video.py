"""The page of ``mmstream eval video``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmstream.evaluation.charts import Line, Span, plot, timeline
from mmstream.evaluation.page import number, seconds, section, share, table, tiles
from mmstream.evaluation.video import Labels

NUM_ROC_POINTS = 400


def video_page(report: Mapping[str, Any], labels: Labels | None) -> str:
    parts = ["<p>Clips frame by frame, causal, learned from normal clips only; nothing is normalised per clip.</p>"]
    if "micro_auc" in report:
        low, high = report["micro_auc_95"]
        parts.append(
            tiles(
                [
                    (number(report["micro_auc"]), f"AUC over all frames (95 %: {low:.3f} to {high:.3f})"),
                    (share(report["event_recall"]), "of the events found at the threshold from normal clips"),
                    (share(report["false_frame_rate"]), "of the normal frames above it"),
                    (seconds(report["delay_s_median"]), "median delay"),
                ]
            )
        )
        rows = [(name.replace("_", " "), number(value)) for name, value in report["controls"].items()]
        controls = section("Controls: AUC of what knows nothing", table(("control", "AUC"), rows))
        roc = section("Frames", _roc(report["clips"], labels)) if labels is not None else ""
        parts.append(f'<div class="pair">{roc}{controls}</div>')
    for name, clip in report["clips"].items():
        inside = "" if clip["auc"] is None else f", AUC {clip['auc']:.3f} inside"
        parts.append(section(f"Clip {name}{inside}", _clip(name, clip, report["threshold"], labels)))
    return "".join(parts)


def _roc(clips: Mapping[str, Any], labels: Labels) -> str:
    scores = np.concatenate([np.array(clip["scores"]) for clip in clips.values()])
    flags = np.concatenate([labels.flags(name, len(clip["scores"])) for name, clip in clips.items()])
    normal, unusual = np.sort(scores[~flags]), np.sort(scores[flags])
    thresholds = np.quantile(scores, np.linspace(1.0, 0.0, NUM_ROC_POINTS))
    points = [
        (
            1.0 - float(np.searchsorted(normal, u, "left")) / len(normal),
            1.0 - float(np.searchsorted(unusual, u, "left")) / len(unusual),
        )
        for u in thresholds
    ]
    lines = [
        Line(name="chance", points=[(0, 0), (1, 1)], style="chance"),
        Line(name="detector", points=[(0.0, 0.0), *points]),
    ]
    return plot(lines, x_label="normal frames above", y_label="unusual frames above", x_ticks=(0, 0.25, 0.5, 0.75, 1))


def _clip(name: str, clip: Mapping[str, Any], threshold: float, labels: Labels | None) -> str:
    values = np.array(clip["scores"])
    ranges: Sequence[tuple[int, int]] = labels.ranges.get(name, ()) if labels is not None else ()
    spans = [
        Span(
            name=f"frames {first} to {last}",
            start_s=first - 1,
            end_s=last,
            style="found" if (values[first - 1 : last] > threshold).any() else "missed",
        )
        for first, last in ranges
    ]
    frames = np.arange(len(values), dtype=np.float64)
    top_value = max(float(values.max(initial=0.0)), threshold * 1.2, 1e-6)
    return timeline(
        frames, values, from_s=0.0, to_s=float(len(values)), top_value=top_value, threshold=threshold, spans=spans
    )
