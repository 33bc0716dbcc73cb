from __future__ import annotations

import dataclasses
import json

from mmstream.alerts.requests import MAX_WAITING, EvidenceRequests
from mmstream.types import Alert, alert_id


def make_alert(start_s: float = 100.0, end_s: float = 104.0, **shares: float) -> Alert:
    return Alert(
        alert_id=alert_id("a", start_s),
        feed_id="a",
        start_s=start_s,
        end_s=end_s,
        state="open",
        severity="alert",
        surprise=5.0,
        peak_s=103.0,
        expected_every_s=1e5,
        shares=shares or {"picture": 1.0},
    )


def make_requests() -> EvidenceRequests:
    return EvidenceRequests("a", pre_roll_s=10.0, post_roll_s=5.0)


def test_the_first_clip_shows_what_opened_the_alert():
    requests = make_requests()
    requests.opened(make_alert(), window_s=2.0)
    [request] = requests.wanted()
    assert (request.start_s, request.end_s, request.final) == (90.0, 104.0, False)


def test_the_final_clip_replaces_the_first_and_only_its_own_answer_ends_it():
    requests = make_requests()
    requests.opened(make_alert(), window_s=2.0)
    requests.closed(make_alert(end_s=130.0, sound=1.0))
    [request] = requests.wanted()
    assert (request.start_s, request.end_s, request.final, request.spectrogram) == (90.0, 135.0, True, True)
    requests.done(request.alert_id, final=False)
    assert requests.wanted() == [request]
    requests.done(request.alert_id, final=True)
    assert requests.wanted() == []


def test_requests_that_nobody_answers_are_bounded_and_counted():
    requests = make_requests()
    for number in range(2 * MAX_WAITING):
        requests.opened(make_alert(start_s=100.0 * number), window_s=2.0)
    assert len(requests.wanted()) == MAX_WAITING
    assert requests.num_given_up == MAX_WAITING


def test_they_say_where_the_strangest_channel_saw_it_and_which_band_was_heard():
    requests = make_requests()
    regions = {"appearance": (0.0, 0.0, 0.1, 0.1), "motion": (0.5, 0.5, 0.75, 0.75)}
    channels = {"appearance": 0.3, "motion": 0.001}
    alert = dataclasses.replace(make_alert(), regions=regions, channels=channels, band_hz=(300.0, 900.0))
    requests.opened(alert, window_s=2.0)
    [request] = requests.wanted()
    assert (request.region, request.band_hz) == ((0.5, 0.5, 0.75, 0.75), (300.0, 900.0))


def test_they_survive_as_json():
    first, second = make_requests(), make_requests()
    alert = dataclasses.replace(make_alert(), regions={"motion": (0.5, 0.5, 0.75, 0.75)}, band_hz=(300.0, 900.0))
    first.opened(alert, window_s=2.0)
    first.opened(make_alert(start_s=900.0, sound=1.0), window_s=2.0)
    second.load(json.loads(json.dumps(first.state())))
    assert second.wanted() == first.wanted()
