"""Nobody gets in without the key, by any door; a cookie alone changes nothing from another site."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from services.auth import HASH_CACHE_S, KeyAuth, hash_key, make_key
from tests.services.running import KEY, FakeSite, serving


@pytest.fixture
def stranger(site: FakeSite) -> Any:
    with serving(site.app()) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def every_operation(site: FakeSite) -> list[tuple[str, str]]:
    paths = site.app().openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def test_every_route_but_the_health_checks_refuses_a_request_without_the_key(site: FakeSite, stranger: Any) -> None:
    operations = [*every_operation(site), ("GET", "/openapi.json"), ("GET", "/no/such/page"), ("HEAD", "/metrics")]
    for method, path in operations:
        answer = stranger.request(method, path.replace("{feed_id}", "gate-3").replace("{alert_id}", "gate-3:1"))
        if path in ("/healthz", "/readyz"):
            assert answer.status_code == 200, path
            continue
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(operations) > 15


def test_the_static_shell_needs_no_key_and_its_assets_do_not_lead_out_of_their_folder(stranger: Any) -> None:
    assert stranger.get("/").status_code == 200
    assert stranger.get("/assets/app.js").status_code == 200
    for path in ("/assets/../api.py", "/assets/%2e%2e/api.py", "/assets/..%2fapi.py", "/assets//etc/passwd"):
        assert stranger.get(path).status_code in (401, 404), path


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer", "Basic bW1z", f"Token {KEY}", f"Bearer {KEY}x", KEY])
def test_anything_but_the_key_is_refused(stranger: Any, value: str) -> None:
    answer = stranger.get("/api/v1/feeds", headers={"Authorization": value})
    assert answer.status_code == 401
    assert KEY not in answer.text


def test_while_a_site_has_no_key_nobody_gets_in(site: FakeSite, stranger: Any) -> None:
    site.key_hash = None
    answer = stranger.get("/api/v1/feeds", headers={"Authorization": f"Bearer {KEY}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "no_key_yet")


def log_in(client: httpx.Client) -> None:
    answer = client.post("/api/v1/session", headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 204
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


def test_a_session_cookie_reads_but_changes_something_only_from_the_same_origin(
    site: FakeSite, stranger: httpx.Client
) -> None:
    site.add_feed()
    log_in(stranger)
    assert stranger.get("/api/v1/feeds").status_code == 200
    origin = str(stranger.base_url).rstrip("/")
    tries = [
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": origin}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": origin}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ]
    for headers, status in tries:
        answer = stranger.patch("/api/v1/feeds/gate-3", json={"paused": True}, headers=headers)
        assert answer.status_code == status, headers


def test_logging_out_takes_the_cookie_away(stranger: httpx.Client) -> None:
    log_in(stranger)
    assert stranger.delete("/api/v1/session", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204
    assert stranger.get("/api/v1/feeds").status_code == 401


def test_a_cookie_alone_cannot_start_a_session(stranger: httpx.Client) -> None:
    log_in(stranger)
    assert stranger.post("/api/v1/session", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 401


def run_asgi(auth: KeyAuth, **scope: Any) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect" if scope["type"] == "websocket" else "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    base = {"path": "/ws", "root_path": "", "method": "GET", "headers": [], "query_string": b""}
    asyncio.run(auth(base | scope, receive, send))
    return sent


def test_websockets_are_refused_too() -> None:
    auth = KeyAuth(PlainTextResponse("inside"), key_hash=lambda: hash_key(KEY))
    assert run_asgi(auth, type="websocket")[0]["code"] == 4401


def test_a_new_key_is_honoured_and_the_old_one_refused_after_the_cache_has_run_out() -> None:
    keys, now = [hash_key("old")], [0.0]
    auth = KeyAuth(PlainTextResponse("inside"), key_hash=lambda: keys[0], monotonic=lambda: now[0])

    def status(key: str) -> int:
        return int(run_asgi(auth, type="http", headers=[(b"authorization", f"Bearer {key}".encode())])[0]["status"])

    assert status("old") == 200
    keys[0], now[0] = hash_key("new"), HASH_CACHE_S + 0.1
    assert (status("old"), status("new")) == (401, 200)


def test_keys_are_long_and_never_the_same() -> None:
    keys = {make_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(key.startswith("mms_") and len(key) >= 47 for key in keys)
