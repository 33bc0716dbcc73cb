"""One key for the whole API, checked in pure ASGI so that WebSockets and event streams are covered too.

The store holds only the key's SHA-256. Programs send ``Authorization: Bearer KEY``. Browsers cannot
send headers for pictures, videos and event streams, so ``POST /api/v1/session`` puts the key into an
HttpOnly, SameSite=Strict cookie; a cookie alone changes nothing unless the request is same-origin.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.problems import problem_response

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz"})
OPEN_PREFIX = "/assets/"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HASH_CACHE_S = 2.0
"""A new key is honoured, and the old one refused, after at most so long."""


def make_key() -> str:
    """A new random key (256 bits)."""
    return f"mms_{secrets.token_urlsafe(32)}"


def hash_key(key: str) -> str:
    """What the store keeps. No salt and no slow hash: the key is random, not a password.

    >>> hash_key("mms_example")[:12]
    'a80a9d36a4c1'
    """
    return hashlib.sha256(key.encode()).hexdigest()


def cookie_name(host: str) -> str:
    """Cookies ignore ports: two sites on one machine would overwrite each other's.

    >>> cookie_name("127.0.0.1:8000"), cookie_name("city.example")
    ('mmstream_key_8000', 'mmstream_key')
    """
    port = host.rpartition(":")[2]
    return f"mmstream_key_{port}" if port.isdigit() else "mmstream_key"


class _Refusal(NamedTuple):
    status: int
    code: str
    sentence: str


_NO_KEY_YET = _Refusal(401, "no_key_yet", "This site has no API key yet; 'mmstream run' makes one at its first start.")
_MISSING = _Refusal(401, "key_missing", "Send the site's key as 'Authorization: Bearer KEY'; it is in api.key.")
_WRONG = _Refusal(401, "key_wrong", "This is not the site's key; it is in the file api.key in the site's data_dir.")
_CROSS_SITE = _Refusal(403, "cross_site", "A cookie alone is not enough to change something from another site.")


class KeyAuth:
    """Lets a request through when it carries the site's key, or asks for nothing that needs one."""

    def __init__(
        self, app: ASGIApp, *, key_hash: Callable[[], str | None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._key_hash = key_hash
        self._monotonic = monotonic
        self._known: str | None = None
        self._known_until_s = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or _is_open(scope):
            await self._app(scope, receive, send)
            return
        refusal = _judge(scope, await self._current_hash())
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401, "reason": refusal.code})
        else:
            headers = {"WWW-Authenticate": 'Bearer realm="mmstream"'} if refusal.status == 401 else None
            response = problem_response(*refusal, scope["path"], headers)
            await response(scope, receive, send)

    async def _current_hash(self) -> str | None:
        if self._known is None or self._monotonic() >= self._known_until_s:
            self._known = await asyncio.to_thread(self._key_hash)
            self._known_until_s = self._monotonic() + HASH_CACHE_S
        return self._known


def bearer_of(headers: Headers) -> str | None:
    """The key in the Authorization header, if there is one."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def _is_open(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    return scope["type"] == "http" and (path in OPEN_PATHS or path.startswith(OPEN_PREFIX))


def _judge(scope: Scope, known: str | None) -> _Refusal | None:
    headers = Headers(scope=scope)
    if known is None:
        return _NO_KEY_YET
    key = bearer_of(headers)
    if key is not None:
        return None if hmac.compare_digest(hash_key(key), known) else _WRONG
    key = _cookie_key(headers)
    if key is None:
        return _MISSING
    if not hmac.compare_digest(hash_key(key), known):
        return _WRONG
    changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
    return _CROSS_SITE if changes and not _same_origin(headers) else None


def _cookie_key(headers: Headers) -> str | None:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return None
    morsel = cookies.get(cookie_name(headers.get("host", "")))
    return unquote(morsel.value) if morsel else None


def _same_origin(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc.lower() == headers.get("host", "").lower()
