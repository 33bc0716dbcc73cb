"""What the feeds counted, as Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmstream import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STALE_AFTER_S = 60.0
"""A status that nobody has renewed for so long says nothing about now."""

_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")

Samples = list[tuple[Mapping[str, str], float]]


def is_stale(status: Mapping[str, Any], now_s: float) -> bool:
    return now_s - float(status.get("updated_s", 0.0)) > STALE_AFTER_S


def render(
    *,
    statuses: Mapping[str, Mapping[str, Any]],
    now_s: float,
    alert_events: int,
    alerts_open: int,
    event_streams: int,
) -> str:
    """All metrics of the site. ``statuses`` is what `StoreReader.statuses` gives."""
    families: dict[str, tuple[str, str, Samples]] = {
        "mmstream_build_info": ("gauge", "Which mmstream answers.", [({"version": __version__}, 1.0)]),
        "mmstream_feeds": ("gauge", "Feeds that have reported a status.", [({}, float(len(statuses)))]),
        "mmstream_alert_events_total": ("counter", "Lines in the alert log.", [({}, float(alert_events))]),
        "mmstream_alerts_open": ("gauge", "Alerts that nobody has acknowledged or closed.", [({}, float(alerts_open))]),
        "mmstream_event_streams": ("gauge", "Event streams connected to this process.", [({}, float(event_streams))]),
    }
    for feed_id, status in sorted(statuses.items()):
        for name, kind, help_text, value in _of_feed(status, now_s):
            families.setdefault(name, (kind, help_text, []))[2].append(({"feed": feed_id}, value))
    for labels, name, kind, help_text, value in _of_models(statuses):
        families.setdefault(name, (kind, help_text, []))[2].append((labels, value))
    return "".join(_family(name, *families[name]) for name in families)


def _of_feed(status: Mapping[str, Any], now_s: float) -> Iterator[tuple[str, str, str, float]]:
    up = status.get("state") == "live" and not is_stale(status, now_s)
    yield "mmstream_feed_up", "gauge", "1 while the feed delivers.", float(up)
    age_s = max(0.0, now_s - float(status.get("updated_s", now_s)))
    yield "mmstream_feed_status_age_seconds", "gauge", "Time since the feed's status was renewed.", age_s
    for key, value in sorted(_numbers(status.get("counters"))):
        name = f"mmstream_{_NOT_A_NAME.sub('_', key).removesuffix('_total')}_total"
        yield name, "counter", f"Counter '{key}' of the feed since its shard started.", value
    for key, value in sorted(_numbers(status.get("analysis"))):
        name = f"mmstream_analysis_{_NOT_A_NAME.sub('_', key)}"
        yield name, "gauge", f"Analysis value '{key}' of the feed.", value


def _of_models(
    statuses: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, str], str, str, str, float]]:
    """What each shard asked each model of ``understanding``; all feeds of a shard report the same."""
    shards = {str(status.get("shard", 0)): status.get("understanding") for status in statuses.values()}
    for shard, models in sorted(shards.items()):
        for model, counted in sorted(models.items() if isinstance(models, Mapping) else ()):
            labels = {"model": model, "shard": shard}
            for key, value in sorted(_numbers(counted)):
                if key == "waiting":
                    yield labels, "mmstream_moments_waiting", "gauge", "Moments that wait for the model.", value
                    continue
                name = f"mmstream_moments_{_NOT_A_NAME.sub('_', key)}_total"
                yield labels, name, "counter", f"Moments put to the model: '{key}' since the shard started.", value
            usable = isinstance(counted, Mapping) and not counted.get("trouble")
            yield labels, "mmstream_model_up", "gauge", "1 while the model can be asked.", float(usable)


def _numbers(values: object) -> Iterator[tuple[str, float]]:
    if isinstance(values, Mapping):
        yield from ((str(key), float(value)) for key, value in values.items() if isinstance(value, int | float))


def _family(name: str, kind: str, help_text: str, samples: Samples) -> str:
    escaped_help = help_text.replace("\\", "\\\\").replace("\n", "\\n")
    lines = [f"# HELP {name} {escaped_help}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    """
    >>> _labels({"feed": 'a"b'})
    '{feed="a\\\\"b"}'
    """
    pairs = (f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{{{','.join(pairs)}}}" if labels else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    """
    >>> _number(3.0), _number(0.25), _number(float("inf")), _number(float("nan"))
    ('3', '0.25', '+Inf', 'NaN')
    """
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
