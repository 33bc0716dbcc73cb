"""The exposition parses, line by line, whatever the feeds and counters are called."""

from __future__ import annotations

import math
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.metrics import STALE_AFTER_S, render
from tests.services.running import FakeSite

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def parse(text: str) -> dict[tuple[str, str | None], float]:
    """(name, feed) -> value; checks what the text format 0.0.4 demands."""
    assert text.endswith("\n")
    samples: dict[tuple[str, str | None], float] = {}
    typed: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# TYPE "):
            typed.append(line.split(" ")[2])
            continue
        if line.startswith("# HELP "):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        assert typed[-1] == name, "samples of one metric stand together, after their TYPE"
        found = dict(LABEL.findall(labels or ""))
        feed = re.sub(r'\\[\\"n]', lambda m: UNESCAPED[m.group()], found["feed"]) if "feed" in found else None
        assert (name, feed) not in samples
        samples[name, feed] = float(value)
    assert len(typed) == len(set(typed))
    return samples


def show(statuses: dict[str, Any], now_s: float = 100.0) -> dict[tuple[str, str | None], float]:
    return parse(render(statuses=statuses, now_s=now_s, alert_events=7, alerts_open=2, event_streams=1))


def test_a_live_feed_is_up_and_its_counters_are_counters() -> None:
    status = {"state": "live", "updated_s": 99.0, "counters": {"frames": 12.0}, "analysis": {"threshold": 3.5}}
    samples = show({"gate-3": status})
    assert samples["mmstream_feed_up", "gate-3"] == 1
    assert samples["mmstream_frames_total", "gate-3"] == 12
    assert samples["mmstream_analysis_threshold", "gate-3"] == 3.5
    assert samples["mmstream_feed_status_age_seconds", "gate-3"] == 1
    assert samples["mmstream_alert_events_total", None] == 7


def test_a_feed_that_nobody_reports_on_any_more_is_not_up() -> None:
    status = {"state": "live", "updated_s": 0.0}
    assert show({"gate-3": status}, now_s=STALE_AFTER_S + 1)["mmstream_feed_up", "gate-3"] == 0


def test_a_retrying_feed_is_not_up() -> None:
    assert show({"gate-3": {"state": "retrying", "updated_s": 99.0}})["mmstream_feed_up", "gate-3"] == 0


def test_what_models_were_asked_is_told_once_per_shard_though_every_feed_reports_it() -> None:
    counted = {"asked": 5, "dropped_full": 2, "waiting": 3, "trouble": ""}
    status = {"state": "live", "updated_s": 99.0, "shard": 1, "understanding": {"whisper": counted}}
    samples = show({"gate-3": status, "quay": status})
    assert samples["mmstream_moments_asked_total", None] == 5
    assert samples["mmstream_moments_dropped_full_total", None] == 2
    assert samples["mmstream_moments_waiting", None] == 3
    assert samples["mmstream_model_up", None] == 1
    broken = {**status, "understanding": {"whisper": {**counted, "trouble": "there is no folder /models"}}}
    assert show({"gate-3": broken})["mmstream_model_up", None] == 0


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.fixed_dictionaries(
            {
                "state": st.sampled_from(["live", "failed"]),
                "updated_s": st.floats(0, 1e9),
                "counters": st.dictionaries(
                    st.sampled_from(["frames", "frames_total", "späte rahmen", "a-b", "x.y"]), st.floats(), max_size=1
                ),
                "analysis": st.dictionaries(st.text("ab_", max_size=3), st.none() | st.text(max_size=3), max_size=2),
            }
        ),
        max_size=3,
    )
)
def test_whatever_the_names_are_the_text_parses_and_every_feed_is_in_it(statuses: dict[str, Any]) -> None:
    samples = show(statuses)
    assert {feed for name, feed in samples if name == "mmstream_feed_up"} == set(statuses)
    for feed_id, status in statuses.items():
        values = [value for (name, feed), value in samples.items() if feed == feed_id and name.endswith("_total")]
        wanted = list(status["counters"].values())
        assert values == wanted or all(map(math.isnan, values + wanted))


def test_the_endpoint_serves_the_stored_statuses(site: FakeSite, http: Any) -> None:
    site.add_feed()
    site.raise_alert()
    site.store.put_statuses({"gate-3": {"state": "live", "updated_s": site.now_s, "counters": {"packets": 5}}})
    answer = http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples = parse(answer.text)
    assert samples["mmstream_packets_total", "gate-3"] == 5
    assert samples["mmstream_alerts_open", None] == 1
