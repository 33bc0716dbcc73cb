"""The HTTP API over a real store and a real server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest

from mmstream.config import FeedConfig
from mmstream.errors import StoreError, WrongPassword
from mmstream.types import Alert
from services.routes.feeds import MAX_PROBES
from services.routes.stream import follow
from tests.services.running import BEARER, FakeSite, make_alert, make_jpeg, serving

FEEDS, ALERTS = "/api/v1/feeds", "/api/v1/alerts"


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.01)


def assert_problem(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["instance"] == answer.request.url.path
    assert body["type"].endswith(code)
    return str(body["detail"])


# --- feeds ---------------------------------------------------------------------------------------------


def test_feeds_come_with_their_status_and_without_their_passwords(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed(url="rtsp://guard:s3cr3t@10.0.0.7/live?token=abc123")
    sentence = "cannot open rtsp://guard:s3cr3t@10.0.0.7/live"
    site.store.put_statuses({"gate-3": {"state": "retrying", "sentence": sentence, "updated_s": site.now_s}})
    answer = http.get(FEEDS)
    (feed,) = answer.json()["feeds"]
    assert feed["settings"]["url"] == "rtsp://***@10.0.0.7/live?token=***"
    assert (feed["status"]["state"], feed["stale"]) == ("retrying", False)
    for text in (answer.text, http.get(f"{FEEDS}/gate-3").text):
        assert "s3cr3t" not in text
        assert "abc123" not in text


def test_a_status_that_nobody_renews_is_stale(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed()
    site.store.put_statuses({"gate-3": {"state": "live", "updated_s": site.now_s - 3600}})
    assert http.get(f"{FEEDS}/gate-3").json()["stale"] is True


def test_many_feeds_come_in_pages(site: FakeSite, http: httpx.Client) -> None:
    for number in range(5):
        site.add_feed(f"cam-{number}")
    first = http.get(FEEDS, params={"limit": 3}).json()
    second = http.get(FEEDS, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [feed["feed_id"] for feed in first["feeds"] + second["feeds"]] == [f"cam-{n}" for n in range(5)]
    assert second["next_cursor"] is None


def test_a_feed_is_probed_and_then_added(site: FakeSite, http: httpx.Client) -> None:
    answer = http.post(FEEDS, json={"id": "quay", "url": "rtsp://10.0.0.8/x", "name": "Quay"})
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{FEEDS}/quay"
    assert answer.json()["probe"] == {"video": {"codec": "h264"}}
    record = site.store.feed("quay")
    assert record is not None
    assert record.settings["url"] == "rtsp://10.0.0.8/x"
    assert [feed.id for feed in site.probed] == ["quay"]


def test_probe_false_and_pushed_feeds_are_added_unseen(site: FakeSite, http: httpx.Client) -> None:
    assert http.post(FEEDS, params={"probe": False}, json={"id": "a", "url": "rtsp://x/y"}).status_code == 201
    assert http.post(FEEDS, json={"id": "b", "url": "push:"}).status_code == 201
    assert site.probed == []


@pytest.mark.parametrize(
    "found",
    [
        WrongPassword("the camera at rtsp://u:p4ss@cam/x refuses the password"),
        {"error": {"code": "wrong_password", "message": "the camera at rtsp://u:p4ss@cam/x refuses the password"}},
    ],
    ids=["raised", "answered"],
)
def test_a_feed_that_cannot_be_opened_is_not_added(site: FakeSite, http: httpx.Client, found: Any) -> None:
    site.probe_answer = found
    sentence = assert_problem(
        http.post(FEEDS, json={"id": "quay", "url": "rtsp://u:p4ss@cam/x"}), 422, "wrong_password"
    )
    assert "refuses the password" in sentence
    assert "p4ss" not in sentence
    assert site.store.feed("quay") is None


def test_more_probes_than_threads_are_told_to_come_back(site: FakeSite, http: httpx.Client) -> None:
    release, running = threading.Event(), threading.Semaphore(0)

    def slow(feed: FeedConfig) -> Mapping[str, Any]:
        assert feed.id
        running.release()
        assert release.wait(20)
        return {}

    site.prober = slow  # type: ignore[method-assign]
    posts = [
        threading.Thread(target=http.post, args=(FEEDS,), kwargs={"json": {"id": f"c{n}", "url": "rtsp://x/y"}})
        for n in range(MAX_PROBES)
    ]
    for post in posts:
        post.start()
    for _ in posts:
        assert running.acquire(timeout=20)
    answer = http.post(FEEDS, json={"id": "late", "url": "rtsp://x/y"})
    release.set()
    for post in posts:
        post.join(20)
    assert_problem(answer, 503, "busy")
    assert http.post(FEEDS, json={"id": "late", "url": "rtsp://x/y"}).status_code == 201


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"url": "rtsp://x/y"}, "'id' is missing"),
        ({"id": "a:b", "url": "rtsp://x/y"}, "id"),
        ({"id": "a", "url": "gopher://u:p4ss@x/y"}, "cannot open gopher://"),
        ({"id": "a", "url": "rtsp://x/y", "colour": 1}, "there is no setting 'colour'; here are allowed: audio"),
        ({"id": "a", "url": "rtsp://x/y", "open_timeout_s": 1e6}, "open_timeout_s"),
    ],
)
def test_wrong_settings_are_explained(http: httpx.Client, body: Any, wanted: str) -> None:
    sentence = assert_problem(http.post(FEEDS, json=body), 422, "wrong_setting")
    assert wanted in sentence
    assert "p4ss" not in sentence
    assert "feeds.0" not in sentence


def test_an_id_that_is_taken_is_a_conflict(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed()
    assert_problem(http.post(FEEDS, json={"id": "gate-3", "url": "rtsp://x/y"}), 409, "feed_exists")
    assert site.probed == []


def test_a_change_keeps_what_it_does_not_name(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed(name="North gate")
    changed = http.patch(f"{FEEDS}/gate-3", json={"audio": False, "paused": True}).json()
    assert (changed["name"], changed["settings"]["audio"], changed["paused"]) == ("North gate", False, True)
    assert changed["revision"] > 0
    assert http.patch(f"{FEEDS}/gate-3", json={"paused": False}).json()["settings"]["audio"] is False


def test_sending_back_the_redacted_url_does_not_lose_the_password(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed()
    settings = http.get(f"{FEEDS}/gate-3").json()["settings"]
    assert http.patch(f"{FEEDS}/gate-3", json={**settings, "name": "New"}).status_code == 200
    record = site.store.feed("gate-3")
    assert record is not None
    assert record.settings["url"] == "rtsp://guard:s3cr3t@10.0.0.7/live"
    assert record.settings["name"] == "New"


@pytest.mark.parametrize("body", [{"id": "other"}, {"paused": "yes"}, {"transport": "pigeon"}, {"nope": 1}])
def test_a_wrong_change_changes_nothing(site: FakeSite, http: httpx.Client, body: Any) -> None:
    before = site.add_feed()
    assert_problem(http.patch(f"{FEEDS}/gate-3", json=body), 422, "wrong_setting")
    assert site.store.feed("gate-3") == before


def test_a_removed_feed_is_gone(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed()
    assert http.delete(f"{FEEDS}/gate-3").status_code == 204
    assert_problem(http.delete(f"{FEEDS}/gate-3"), 404, "no_such_feed")
    for path in (f"{FEEDS}/gate-3", f"{FEEDS}/gate-3/frame.jpg"):
        assert "gate-3" in assert_problem(http.get(path), 404, "no_such_feed")
    assert_problem(http.patch(f"{FEEDS}/gate-3", json={}), 404, "no_such_feed")


def test_the_last_picture_is_sent_again_only_when_it_changed(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed()
    path = f"{FEEDS}/gate-3/frame.jpg"
    assert_problem(http.get(path), 404, "no_frame_yet")
    site.media.put("feeds/gate-3/last.jpg", make_jpeg(90))
    first = http.get(path)
    assert (first.headers["Content-Type"], first.content) == ("image/jpeg", make_jpeg(90))
    assert "no-cache" in first.headers["Cache-Control"]
    assert http.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert http.head(path).status_code == 200
    site.media.put("feeds/gate-3/last.jpg", make_jpeg(120))
    assert http.get(path, headers={"If-None-Match": first.headers["ETag"]}).content == make_jpeg(120)


# --- alerts --------------------------------------------------------------------------------------------


def test_alerts_come_newest_first_in_pages_that_do_not_overlap(site: FakeSite, http: httpx.Client) -> None:
    alerts = [site.raise_alert(ago_s=100.0 * n) for n in range(1, 6)]
    found, cursor = [], None
    for _ in range(3):
        page = http.get(ALERTS, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [alert["alert_id"] for alert in page["alerts"]]
        cursor = page["next_cursor"]
    assert found == [alert.alert_id for alert in alerts]
    assert cursor is None


def test_what_was_told_to_nobody_is_listed_only_when_asked_for(site: FakeSite, http: httpx.Client) -> None:
    told = site.raise_alert(ago_s=300)
    beyond = site.raise_alert(ago_s=200, suppressed=True)
    notice = site.raise_alert(ago_s=100, severity="notice", state="closed")
    cases: list[tuple[dict[str, str], list[Alert]]] = [
        ({}, [told]),
        ({"quiet": "true"}, [notice, beyond]),
        ({"severity": "notice"}, [notice]),
        ({"quiet": "true", "state": "open"}, [beyond]),
    ]
    for params, wanted in cases:
        found = [alert["alert_id"] for alert in http.get(ALERTS, params=params).json()["alerts"]]
        assert found == [alert.alert_id for alert in wanted], params


def test_alerts_are_filtered(site: FakeSite, http: httpx.Client) -> None:
    old = site.raise_alert(ago_s=7200, severity="critical")
    new = site.raise_alert("quay", ago_s=60, state="acknowledged")
    edge = "2023-11-14T21:13:20Z"  # an hour before site.now_s
    cases: list[tuple[dict[str, str], list[Alert]]] = [
        ({"feed": "quay"}, [new]),
        ({"state": "open"}, [old]),
        ({"severity": "critical"}, [old]),
        ({"since": edge}, [new]),
        ({"until": edge}, [old]),
        ({"since": str(site.now_s - 3600)}, [new]),
        ({"feed": "nobody"}, []),
    ]
    for params, wanted in cases:
        found = [alert["alert_id"] for alert in http.get(ALERTS, params=params).json()["alerts"]]
        assert found == [alert.alert_id for alert in wanted], params


@pytest.mark.parametrize(
    ("params", "code", "word"),
    [
        ({"limit": 501}, "wrong_request", "limit"),
        ({"limit": 0}, "wrong_request", "limit"),
        ({"state": "burning"}, "wrong_request", "acknowledged"),
        ({"since": "yesterday"}, "wrong_request", "ISO 8601"),
        ({"cursor": "garbage"}, "wrong_cursor", "cursor"),
    ],
)
def test_a_wrong_query_is_explained(http: httpx.Client, params: Any, code: str, word: str) -> None:
    assert word in assert_problem(http.get(ALERTS, params=params), 422, code)


def test_one_alert_is_found_by_its_id_with_a_colon(site: FakeSite, http: httpx.Client) -> None:
    alert = site.raise_alert(expected_every_s=float("inf"))
    for alert_id in (alert.alert_id, alert.alert_id.replace(":", "%3A")):
        body = http.get(f"{ALERTS}/{alert_id}").json()
        assert body["alert_id"] == alert.alert_id
        assert body["expected_every_s"] is None
    assert "gate-9:1" in assert_problem(http.get(f"{ALERTS}/gate-9:1"), 404, "no_such_alert")


def test_an_alert_is_acknowledged_once_and_closed_with_a_verdict(site: FakeSite, http: httpx.Client) -> None:
    path = f"{ALERTS}/{site.raise_alert().alert_id}"
    assert http.post(f"{path}/ack").json()["state"] == "acknowledged"
    sequence = site.store.last_sequence()
    assert http.post(f"{path}/ack").status_code == 200
    assert site.store.last_sequence() == sequence
    closed = http.post(f"{path}/close", json={"verdict": "false_alarm", "note": "sweeper"}).json()
    assert (closed["state"], closed["verdict"], closed["note"]) == ("closed", "false_alarm", "sweeper")
    assert_problem(http.post(f"{path}/ack"), 409, "already_closed")
    assert http.post(f"{path}/close", json={"verdict": "true"}).json()["verdict"] == "true"


def test_a_verdict_says_who_gave_it_and_can_be_taken_back(site: FakeSite, http: httpx.Client) -> None:
    path = f"{ALERTS}/{site.raise_alert().alert_id}"
    closed = http.post(f"{path}/close", json={"verdict": "true", "by": "night shift"}).json()
    assert (closed["verdict"], closed["verdict_by"]) == ("true", "night shift")
    undone = http.delete(f"{path}/verdict", params={"by": "day shift"}).json()
    assert (undone["state"], undone["verdict"], undone["verdict_by"]) == ("acknowledged", None, "day shift")
    assert http.delete(f"{path}/verdict").json() == undone
    assert_problem(http.delete(f"{ALERTS}/x:1/verdict"), 404, "no_such_alert")


def test_an_unknown_verdict_or_alert_is_refused(site: FakeSite, http: httpx.Client) -> None:
    path = f"{ALERTS}/{site.raise_alert().alert_id}/close"
    assert "unsure" in assert_problem(http.post(path, json={"verdict": "maybe"}), 422, "wrong_request")
    assert "missing" in assert_problem(http.post(path, json={}), 422, "wrong_request")
    assert "JSON" in assert_problem(
        http.post(path, content=b"{", headers={"Content-Type": "application/json"}), 422, "wrong_request"
    )
    assert_problem(http.post(f"{ALERTS}/x:1/close", json={"verdict": "true"}), 404, "no_such_alert")
    assert_problem(http.post(f"{ALERTS}/x:1/ack"), 404, "no_such_alert")


def test_a_clip_can_be_played_from_the_middle(site: FakeSite, http: httpx.Client) -> None:
    site.media.put("clips/a.mp4", bytes(range(200)))
    path = f"{ALERTS}/{site.raise_alert(clip='clips/a.mp4').alert_id}/clip.mp4"
    whole = http.get(path)
    assert (whole.status_code, whole.headers["Content-Type"], len(whole.content)) == (200, "video/mp4", 200)
    part = http.get(path, headers={"Range": "bytes=50-99"})
    assert (part.status_code, part.content) == (206, bytes(range(50, 100)))
    assert part.headers["Content-Range"] == "bytes 50-99/200"
    assert http.get(path, headers={"Range": "bytes=500-"}).status_code == 416
    head = http.head(path)
    assert (head.headers["Content-Length"], head.content) == ("200", b"")


def test_a_missing_clip_says_whether_it_is_still_coming(site: FakeSite, http: httpx.Client) -> None:
    fresh = site.raise_alert(ago_s=20)
    old = site.raise_alert(ago_s=7200)
    gone = site.raise_alert(ago_s=9000, clip="clips/gone.mp4")
    assert "still being cut" in assert_problem(http.get(f"{ALERTS}/{fresh.alert_id}/clip.mp4"), 404, "clip_pending")
    assert_problem(http.get(f"{ALERTS}/{old.alert_id}/clip.mp4"), 404, "no_clip")
    assert "not kept" in assert_problem(http.get(f"{ALERTS}/{gone.alert_id}/clip.mp4"), 404, "clip_deleted")
    assert_problem(http.get(f"{ALERTS}/{old.alert_id}/thumbnail.jpg"), 404, "no_thumbnail")
    assert_problem(http.get(f"{ALERTS}/x:1/spectrogram.png"), 404, "no_such_alert")


# --- the stream ----------------------------------------------------------------------------------------


def read_events(response: httpx.Response) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for line in response.iter_lines():
        if line.startswith("id: "):
            number = int(line[4:])
        if line.startswith("data: "):
            yield number, json.loads(line[6:])


def test_the_stream_begins_now_and_tells_what_happens(site: FakeSite, http: httpx.Client) -> None:
    site.raise_alert(ago_s=500)
    with http.stream("GET", f"{ALERTS}/stream") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert [next(lines), next(lines), next(lines)] == ["retry: 2000", "id: 1", ""]
        alert = site.raise_alert(sentence="line\nend")
        assert [next(lines), next(lines)] == ["id: 2", "event: alert"]
        assert json.loads(next(lines).removeprefix("data: ")) == json.loads(json.dumps(alert.to_json()))


@pytest.mark.parametrize("how", ["header", "query"])
def test_the_stream_resumes_after_the_last_event_without_a_gap(site: FakeSite, http: httpx.Client, how: str) -> None:
    alerts = [site.raise_alert(ago_s=1000.0 - n) for n in range(250)]
    options: dict[str, Any] = (
        {"headers": {"Last-Event-ID": "3"}} if how == "header" else {"params": {"last_event_id": 3}}
    )
    with http.stream("GET", f"{ALERTS}/stream", **options) as response:
        events = read_events(response)
        found = [next(events) for _ in range(247)]
    assert [number for number, _ in found] == list(range(4, 251))
    assert [alert["alert_id"] for _, alert in found] == [alert.alert_id for alert in alerts[3:]]


def test_the_stream_leaves_out_what_was_told_to_nobody(site: FakeSite, http: httpx.Client) -> None:
    site.raise_alert(ago_s=900, severity="notice", state="closed")
    for number in range(120):  # more than one batch
        site.raise_alert(ago_s=800 - number, suppressed=True)
    told = site.raise_alert(ago_s=10)
    with http.stream("GET", f"{ALERTS}/stream", params={"last_event_id": 0}) as response:
        number, alert = next(read_events(response))
    assert (number, alert["alert_id"]) == (122, told.alert_id)


def test_a_number_from_another_life_of_the_store_starts_at_now(site: FakeSite, http: httpx.Client) -> None:
    with http.stream("GET", f"{ALERTS}/stream", headers={"Last-Event-ID": "9999"}) as response:
        site.raise_alert()
        assert next(read_events(response))[0] == 1


def test_streams_are_bounded_and_give_their_place_back(site: FakeSite, http: httpx.Client) -> None:
    site.max_streams = 4
    streams = [http.stream("GET", f"{ALERTS}/stream") for _ in range(4)]
    for stream in streams:
        assert stream.__enter__().status_code == 200
    assert "max_streams" in assert_problem(http.get(f"{ALERTS}/stream"), 503, "too_many_streams")
    for stream in streams:
        stream.__exit__(None, None, None)
    eventually(lambda: "mmstream_event_streams 0" in http.get("/metrics").text)


def test_a_quiet_stream_sends_a_comment_and_a_failing_store_does_not_end_it() -> None:
    class Failing:
        def events_after(self, *_: int) -> Any:
            raise StoreError("the disk is away")

    async def first_two() -> list[bytes]:
        stream = follow(Failing(), 5, poll_s=0.001, heartbeat_s=0.002)  # type: ignore[arg-type]
        return [await anext(stream), await anext(stream)]

    assert asyncio.run(first_two()) == [b"retry: 2000\nid: 5\n\n", b": nothing new\n\n"]


# --- push ----------------------------------------------------------------------------------------------


def test_pushed_words_and_readings_arrive_with_the_sites_clock(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed("desk", url="push:")
    answer = http.post("/api/v1/text", json={"spans": [{"feed_id": "desk", "text": "smoke"}]})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    http.post("/api/v1/readings", json={"readings": [{"feed_id": "desk", "sensor": "co2", "value": 6, "start_s": 5}]})
    text, reading = site.commands.pushed
    assert (getattr(text, "origin", ""), text.start_s) == ("pushed", site.now_s)
    assert (getattr(reading, "value", 0), reading.start_s, reading.end_s) == (6.0, 5.0, 5.0)


@pytest.mark.parametrize(
    ("span", "status", "code"),
    [
        ({"feed_id": "nobody", "text": "x"}, 404, "no_such_feed"),
        ({"feed_id": "desk", "text": ""}, 422, "wrong_request"),
        ({"feed_id": "desk", "text": "x", "start_s": 1.7e12}, 422, "wrong_request"),
        ({"feed_id": "desk", "text": "x", "start_s": 9, "end_s": 8}, 422, "wrong_request"),
    ],
)
def test_wrong_words_are_refused_whole(site: FakeSite, http: httpx.Client, span: Any, status: int, code: str) -> None:
    site.add_feed("desk", url="push:")
    answer = http.post("/api/v1/text", json={"spans": [{"feed_id": "desk", "text": "good"}, span]})
    assert_problem(answer, status, code)
    assert site.commands.pushed == []


def test_a_full_queue_says_come_back(site: FakeSite, http: httpx.Client) -> None:
    site.add_feed("desk", url="push:")
    answer = http.post("/api/v1/text", json={"spans": [{"feed_id": "desk", "text": "x"}] * 11})
    assert "full" in assert_problem(answer, 503, "busy")
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_of_more_than_a_megabyte_is_refused(http: httpx.Client, announced: bool) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 65536

    headers = {"Content-Type": "application/json"}
    content = b"".join(chunks()) if announced else chunks()
    assert_problem(http.post("/api/v1/text", content=content, headers=headers), 413, "body_too_large")


# --- the site ------------------------------------------------------------------------------------------


def test_the_site_is_ready_only_while_its_store_answers(site: FakeSite, http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"status": "ready"}

    def away() -> int:
        raise StoreError("redis://u:p4ss@db/0 does not answer")

    site.store.last_sequence = away  # type: ignore[method-assign]
    sentence = assert_problem(http.get("/readyz"), 503, "store_unavailable")
    assert "p4ss" not in sentence
    assert http.get("/healthz").status_code == 200


def test_unknown_pages_and_methods_are_problems_too(http: httpx.Client) -> None:
    assert_problem(http.get("/api/v1/nothing"), 404, "no_such_page")
    assert_problem(http.put(FEEDS), 405, "method_not_allowed")


def test_every_answer_carries_strict_headers(http: httpx.Client) -> None:
    for path in ("/", "/assets/app.js", FEEDS, "/nothing"):
        headers = http.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert http.get(FEEDS).headers["Cache-Control"] == "no-store"


@pytest.mark.filterwarnings("error")
def test_the_openapi_page_names_the_key_and_the_settings(http: httpx.Client) -> None:
    page = http.get("/openapi.json").json()
    assert page["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    post = page["paths"][FEEDS]["post"]
    assert post["security"] == [{"key": []}]
    assert "open_timeout_s" in post["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert make_alert().to_json().keys() == page["components"]["schemas"]["Alert"]["properties"].keys()


def test_a_server_that_ends_leaves_no_probing_thread_behind(site: FakeSite) -> None:
    before = set(threading.enumerate())
    with serving(site.app()) as url:
        httpx.post(f"{url}{FEEDS}", json={"id": "a", "url": "rtsp://x/y"}, headers=BEARER, trust_env=False)
        assert [feed.id for feed in site.probed] == ["a"]
    eventually(lambda: not any(thread.name.startswith("probe") for thread in set(threading.enumerate()) - before))
