"""A running site from a program: a thin, synchronous client over its HTTP API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx

from mmstream.errors import MmstreamError

API = "/api/v1"
PROBE_TIMEOUT_S = 90.0
REPLAY_TIMEOUT_S = 330.0
SILENT_AFTER_S = 45.0
"""The stream sends a comment every 15 s: three missed ones, and the connection is dead."""
RETRY_S = (0.5, 1.0, 2.0, 5.0)
"""How long to wait before connecting again; the last one is repeated."""


class ApiError(MmstreamError):
    """The site answered with a problem, or not at all (``status`` 0). The sentence is for people."""

    def __init__(self, sentence: str, *, status: int = 0, code: str = "unreachable") -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


class SiteEvent(NamedTuple):
    sequence: int
    alert: dict[str, Any]


class SiteClient:
    """Talks to the site at ``base_url`` with ``key``. Close it, or use it as a context manager."""

    def __init__(self, base_url: str, key: str, *, transport: httpx.BaseTransport | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ApiError(f"want a URL such as http://127.0.0.1:8000, got {base_url!r}", code="wrong_url")
        self._base_url = base_url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._base_url + API,
            headers={"Authorization": f"Bearer {key}"},
            timeout=30.0,
            transport=transport,
            # a proxy of the environment cannot reach this machine's own loopback
            trust_env=parts.hostname not in ("127.0.0.1", "localhost", "::1"),
        )

    def __enter__(self) -> SiteClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # --- feeds -------------------------------------------------------------------------------------

    def feeds(self) -> Iterator[dict[str, Any]]:
        return self._pages("/feeds", "feeds", {})

    def add_feed(self, settings: Mapping[str, Any], *, probe: bool = True) -> dict[str, Any]:
        """``settings`` is a `config.FeedConfig` as JSON; the site probes the feed first."""
        params = {"probe": str(probe).lower()}
        return self._call("POST", "/feeds", json=dict(settings), params=params, timeout=PROBE_TIMEOUT_S)

    def patch_feed(self, feed_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        return self._call("PATCH", f"/feeds/{_part(feed_id)}", json=dict(changes))

    def remove_feed(self, feed_id: str) -> None:
        self._call("DELETE", f"/feeds/{_part(feed_id)}")

    # --- alerts ------------------------------------------------------------------------------------

    def alerts(self, *, limit: int | None = None, **query: str | None) -> Iterator[dict[str, Any]]:
        """Newest first, page by page; ``limit`` in all (None: every one). ``query``: feed, state, severity,
        since, until."""
        params = {name: value for name, value in query.items() if value is not None}
        params["limit"] = str(min(limit or 500, 500))
        alerts = self._pages("/alerts", "alerts", params)
        return alerts if limit is None else (alert for _, alert in zip(range(limit), alerts, strict=False))

    def alert(self, alert_id: str) -> dict[str, Any]:
        return self._call("GET", f"/alerts/{_part(alert_id)}")

    def ack(self, alert_id: str) -> dict[str, Any]:
        return self._call("POST", f"/alerts/{_part(alert_id)}/ack")

    def close_alert(self, alert_id: str, verdict: str, note: str = "", by: str = "") -> dict[str, Any]:
        said = {"verdict": verdict, "note": note, "by": by}
        return self._call("POST", f"/alerts/{_part(alert_id)}/close", json=said)

    def take_back(self, alert_id: str, by: str = "") -> dict[str, Any]:
        return self._call("DELETE", f"/alerts/{_part(alert_id)}/verdict", params={"by": by})

    # --- models --------------------------------------------------------------------------------------

    def models(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "/models")["models"])

    def model(self, name: str, version: str = "") -> dict[str, Any]:
        """A model with its versions, or one of them."""
        return self._call("GET", f"/models/{_part(name)}" + (f"/{_part(version)}" if version else ""))

    def promote(self, name: str, version: str, *, force: bool = False) -> dict[str, Any]:
        """Answers at once; the model's ``swap`` tells when it is in use."""
        return self._call("POST", f"/models/{_part(name)}/promote", json={"version": version, "force": force})

    def roll_back(self, name: str, reason: str = "") -> dict[str, Any]:
        return self._call("POST", f"/models/{_part(name)}/rollback", json={"reason": reason})

    # --- training ------------------------------------------------------------------------------------

    def train(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """``wanted``: models, feeds, promote, each optional; -> the job that was started."""
        return self._call("POST", "/train", json=dict(wanted))

    def training(self) -> dict[str, Any]:
        """The training that runs (``current``, None when none does) and the ``last`` ones, newest first."""
        return self._call("GET", "/train")

    def cancel_training(self) -> dict[str, Any]:
        return self._call("DELETE", "/train")

    # --- past moments ------------------------------------------------------------------------------

    def search(self, words: str = "", *, limit: int = 20, **query: str | None) -> Iterator[dict[str, Any]]:
        """Moments that have these words, or look or sound like them, best first; newest first without words or
        ``like``. ``query``: like, feed, state, since, until."""
        params = {name: value for name, value in query.items() if value is not None}
        params |= {"q": words, "limit": str(min(limit, 100))}
        moments = self._pages("/search", "moments", params)
        return (moment for _, moment in zip(range(limit), moments, strict=False))

    def replay(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What would have been: ``question`` is the body of POST /replay."""
        return self._call("POST", "/replay", json=dict(question), timeout=REPLAY_TIMEOUT_S)

    def follow(
        self, last_event_id: int | None = None, *, wait: Callable[[float], None] = time.sleep
    ) -> Iterator[SiteEvent]:
        """Alerts as they happen, for ever: connects again by itself and misses nothing in between.

        Raises:
            ApiError: the site refuses (wrong key, too many streams); not when it is away for a while.
        """
        num_failed = 0
        while True:
            try:
                for sequence, alert in self._connect(last_event_id):
                    last_event_id, num_failed = sequence, 0
                    if alert is not None:
                        yield SiteEvent(sequence, alert)
            except httpx.TransportError:
                pass
            except ApiError as error:
                if error.status < 500 or error.code == "too_many_streams":
                    raise
            wait(RETRY_S[min(num_failed, len(RETRY_S) - 1)])
            num_failed += 1

    def _connect(self, last_event_id: int | None) -> Iterator[tuple[int, dict[str, Any] | None]]:
        headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        timeout = httpx.Timeout(10.0, read=SILENT_AFTER_S)
        with self._http.stream("GET", "/alerts/stream", headers=headers, timeout=timeout) as response:
            if response.is_error:
                response.read()
                raise _error_of(response)
            yield from parse_events(response.iter_lines())

    # --- the one place that sends ------------------------------------------------------------------

    def _pages(self, path: str, name: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = self._call("GET", path, params={**params, **({"cursor": cursor} if cursor else {})})
            yield from page[name]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TimeoutException as error:
            raise ApiError(f"{self._base_url} did not answer in time; is the site overloaded?") from error
        except httpx.TransportError as error:
            sentence = f"no site answers at {self._base_url} ({error}); start one with 'mmstream run', or give --url"
            raise ApiError(sentence) from error
        if response.is_error:
            raise _error_of(response)
        return dict(response.json()) if response.content else {}


def parse_events(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(sequence, alert) per event of a server-sent stream; alert is None for comments and bare ids.

    >>> list(parse_events(["id: 7", "", ": nothing new", "", "id: 8", "data: {}", "", "id: 9"]))
    [(7, None), (7, None), (8, {})]
    """
    sequence: int | None = None
    payload: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and value.isdigit():
            sequence = int(value)
        elif name == "data":
            payload.append(value)
        elif not line and sequence is not None:
            if payload:
                yield sequence, json.loads("\n".join(payload))
            else:
                yield sequence, None
            payload = []


def _part(value: str) -> str:
    return quote(value, safe=":")


def _error_of(response: httpx.Response) -> ApiError:
    try:
        problem = response.json()
        return ApiError(problem["detail"], status=response.status_code, code=problem["code"])
    except (ValueError, KeyError, TypeError):
        sentence = f"{response.url.host} answered {response.status_code}, but not as mmstream does; is the URL right?"
        return ApiError(sentence, status=response.status_code, code="not_mmstream")
