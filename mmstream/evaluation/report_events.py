"""The page of ``mmstream eval events``."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from mmstream.evaluation.charts import Bar, Line, Mark, Span, bars, clock, interval, plot, timeline
from mmstream.evaluation.metrics import share_interval
from mmstream.evaluation.page import number, seconds, section, share, table, tiles

ROW_S = 1800.0
"""How much time one row of a time line shows."""
LEAKS_ABOVE = 0.55
"""A sham that scores above untouched stretches more often than this shows that the injector leaves traces."""
FALSE_TICKS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RATIO_TICKS = (0.1, 0.3, 1.0, 3.0, 10.0)


def events_page(report: Mapping[str, Any]) -> str:
    at = report["at_one_per_hour"]
    parts = [
        "<p>Recorded feeds through the whole pipeline, causal. Alerts are those that it raised within its budget; "
        "recalls at one false alert per camera-hour come from the same scores at another threshold.</p>",
        _event_tiles(report, at),
        '<div class="pair">',
        section("What any threshold would do", _curve(report, at)),
        section("Realised against nominal rate", _rate(report)),
        "</div>",
    ]
    if at is not None:
        parts.append(section("Found, by type, at one false alert per camera-hour", _types(report, at)))
        if at["by_magnitude"]:
            parts.append(section("Found, by how strong it was", _magnitudes(at["by_magnitude"])))
    parts.append(section("Controls", _controls(report, at)))
    parts += [section(f"Feed {name}", _feed(feed, at)) for name, feed in report["feeds"].items()]
    return "".join(parts)


def _event_tiles(report: Mapping[str, Any], at: Mapping[str, Any] | None) -> str:
    low, high = report["event_recall_95"]
    delay = report["delay_s"]
    shown = [
        (share(report["event_recall"]), f"of {report['num_events']} events found (95 %: {low:.0%} to {high:.0%})"),
        (
            number(report["false_alerts_per_camera_hour"]),
            f"false alerts per camera-hour, in {report['camera_hours']:.1f} h",
        ),
        (number(report["realised_over_nominal"]), "times the budgeted rate"),
        (seconds(delay["p50"]), f"median delay; 90 % within {seconds(delay['p90'])}"),
    ]
    if at is not None:
        shown.append((share(at["event_recall"]), "found at one false alert per camera-hour"))
        shown.append((share(at["sham_rate"]), "of the shams raised there"))
    return tiles(shown)


def _curve(report: Mapping[str, Any], at: Mapping[str, Any] | None) -> str:
    points = [point for point in report["curve"] if point["false_per_hour"] is not None]
    marks = [Mark(name="1 per hour", at=(1.0, at["event_recall"]))] if at is not None and at["event_recall"] else []
    if report["event_recall"] is not None and report["false_alerts_per_camera_hour"] is not None:
        used = (max(0.1, report["false_alerts_per_camera_hour"]), report["event_recall"])
        marks.append(Mark(name="as it ran", at=used, style="used"))
    lines = [
        Line(
            name=name,
            style=style,
            points=[(max(0.1, p["false_per_hour"]), p[field]) for p in points if p[field] is not None],
        )
        for name, style, field in (("shams", "sham", "sham_rate"), ("events", "main", "event_recall"))
    ]
    drawn = plot(
        lines, x_label="false alerts per camera-hour", y_label="found", x_ticks=FALSE_TICKS, marks=marks, log_x=True
    )
    return drawn + '<p class="key">Line: events. Dashed: shams, which should stay low.</p>'


def _rate(report: Mapping[str, Any]) -> str:
    ratio = report["realised_over_nominal"]
    if ratio is None:
        return "<p>No time without events to count false alerts in.</p>"
    low, high = report["realised_over_nominal_95"]
    rows = [
        ("false alerts", str(report["num_false"])),
        ("per camera-hour", f"{report['false_alerts_per_camera_hour']:.2f}"),
        ("budgeted", f"{report['nominal_per_camera_hour']:.2f}"),
        ("realised over nominal", f"{ratio:.2f} (95 %: {low:.2f} to {high:.2f})"),
        ("more alerts in one event", str(report["num_duplicates"])),
        ("suppressed: the budget was used up", str(report["num_suppressed"])),
        ("health alerts without cause", str(report["num_false_health"])),
    ]
    drawn = interval(ratio, (low, high), x_label="times the budgeted rate", x_ticks=RATIO_TICKS)
    return drawn + table(("", ""), rows)


def _types(report: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    drawn = bars([_bar(name, row) for name, row in at["by_type"].items()])
    as_it_ran = report["by_modality"] | report["by_type"]
    rows = [
        (name, str(row["num"]), *_found(row), *_found(as_it_ran[name]))
        for name, row in [*at["by_modality"].items(), *at["by_type"].items()]
    ]
    heads = ("type", "events", "found at 1/h", "median delay", "found as it ran", "median delay")
    return drawn + table(heads, rows)


def _found(row: Mapping[str, Any]) -> tuple[str, str]:
    return share(row["recall"]), seconds(row["delay_s"]["p50"])


def _bar(name: str, row: Mapping[str, Any]) -> Bar:
    hits = round((row["recall"] or 0.0) * row["num"])
    return Bar(
        name=name, value=row["recall"], interval=share_interval(hits, row["num"]), note=f"{hits} of {row['num']}"
    )


def _magnitudes(by_magnitude: Mapping[str, Mapping[str, Any]]) -> str:
    figures = []
    for name, rows in by_magnitude.items():
        points = sorted((float(value), row["recall"]) for value, row in rows.items())
        if len(points) < 2:
            continue
        drawn = plot(
            [Line(name=name, points=points)],
            marks=[Mark(name="", at=point) for point in points],
            x_label="magnitude",
            y_label="found",
            x_ticks=[x for x, _ in points],
            size_px=(290, 210),
        )
        count = sum(row["num"] for row in rows.values())
        figures.append(f"<figure>{drawn}<figcaption>{escape(name)}, {count} events</figcaption></figure>")
    return f'<div class="small">{"".join(figures)}</div>'


def _controls(report: Mapping[str, Any], at: Mapping[str, Any] | None) -> str:
    rows = [
        (f"{name} alone", "recall at 1/h", share(recall)) for name, recall in report["recall_of_channels_alone"].items()
    ]
    if at is not None:
        rows += [(f"shams of {name}", "raised at 1/h", share(row["recall"])) for name, row in at["shams"].items()]
    for name, row in report["sham_auc"].items():
        value = row["auc"]
        verdict = (
            ""
            if value is None
            else f" +- {number(row['error'])}" + (" (leaves traces?)" if value > LEAKS_ABOVE else "")
        )
        rows.append(
            (f"shams of {name} against untouched", f"AUC, {row['num'][0]} and {row['num'][1]}", number(value) + verdict)
        )
    return table(("control", "measure", "value"), rows)


def _feed(feed: Mapping[str, Any], at: Mapping[str, Any] | None) -> str:
    times_s, values = np.array(feed["times_s"]), np.array(feed["scores"])
    if not len(times_s):
        return "<p>Nothing was judged.</p>"
    threshold = at["threshold"] if at is not None else None
    spans = [_span(event, threshold) for event in feed["events"]]
    flags = [
        Mark(name=alert["sentence"] or clock(alert["opened_s"]), at=(alert["opened_s"], 0), style=alert["of"])
        for alert in feed["alerts"]
    ]
    flags += [Mark(name=item["cause"], at=(item["opened_s"], 0), style="health") for item in feed["health"]]
    top_value = max(1.0, float(np.quantile(values, 0.999)), (threshold or 0.0) * 1.3)
    rows = [
        timeline(
            times_s,
            values,
            from_s=from_s,
            to_s=min(from_s + ROW_S, float(times_s[-1]) + 1.0),
            top_value=top_value,
            threshold=threshold,
            spans=[span for span in spans if span.start_s < from_s + ROW_S and span.end_s > from_s],
            ticks=[flag for flag in flags if from_s <= flag.at[0] < from_s + ROW_S],
        )
        for from_s in np.arange(0.0, float(times_s[-1]), ROW_S).tolist()
    ]
    key = (
        '<p class="key">Behind the scores:<i style="background:var(--good)"></i>event found at 1/h'
        '<i style="background:var(--bad)"></i>missed<i style="background:var(--sham)"></i>sham. '
        "Flags: alerts as it ran; red ones are false, orange ones are of the camera's own health.</p>"
    )
    return (
        f"<p>Learned {feed['learned_s'] / 60:.0f} min; budget {feed['alerts_per_day']:g} a day.</p>"
        + "".join(rows)
        + key
    )


def _span(event: Mapping[str, Any], threshold: float | None) -> Span:
    found = threshold is not None and event["peak"] is not None and event["peak"] > threshold
    magnitude = "" if event["magnitude"] is None else f" {event['magnitude']:g}"
    return Span(
        name=f"{event['type']}{magnitude} at {clock(event['start_s'])}",
        start_s=event["start_s"],
        end_s=event["end_s"],
        style="sham" if event["sham"] else "found" if found else "missed",
    )
