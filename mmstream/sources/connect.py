"""Open a camera, a web stream or a file, and turn whatever FFmpeg says into one plain sentence."""

from __future__ import annotations

import errno
import socket
from typing import Any
from urllib.parse import urlsplit

import av
from av.container import InputContainer

from mmstream.config import FeedConfig
from mmstream.errors import (
    Damaged,
    Ended,
    NotFound,
    Refused,
    SourceError,
    TimedOut,
    Unreachable,
    UnsupportedCodec,
    WrongPassword,
)

_ALLOWED_OPTIONS = frozenset(
    {"rtsp_transport", "probesize", "allowed_media_types", "tls_verify", "ca_file", "rw_timeout"}
)
"""FFmpeg swallows unknown options without a word: a typo here must not."""

_NO_ROUTE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL})
_DROPPED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


def scheme_of(url: str) -> str:
    """``rtsp``, ``rtsps``, ``http``, ``https``, or ``file`` for a path."""
    return url.partition("://")[0].lower() if "://" in url else "file"


def open_container(url: str, feed: FeedConfig) -> InputContainer:
    """Open ``url`` (secrets put in already). The caller closes it, in the thread that reads it:
    closing it under a blocked read is a segmentation fault, and not closing it leaks a socket.

    Raises:
        av.error.FFmpegError: turn it into a `SourceError` with `explain`.
    """
    scheme = scheme_of(url)
    if scheme == "file":
        # Absolute paths only reach FFmpeg as files: "a:b.mp4" would be read as protocol "a".
        return av.open("file:" + url.removeprefix("file://"), metadata_errors="replace")
    options = options_of(scheme, feed)
    timeout = (feed.open_timeout_s, feed.read_timeout_s)
    return av.open(url, options=options, timeout=timeout, metadata_errors="replace")


def options_of(scheme: str, feed: FeedConfig) -> dict[str, str]:
    """FFmpeg's options for a network feed."""
    options: dict[str, str] = {}
    if scheme in ("rtsp", "rtsps"):
        # The smallest probe: a first picture after 0.1-0.3 s instead of 2-3 s. Never add
        # fflags=nobuffer: it throws the first key frame away.
        options |= {"rtsp_transport": feed.transport, "probesize": "32"}
        if scheme == "rtsps":
            options["rtsp_transport"] = "tcp"
        if not feed.audio:
            options["allowed_media_types"] = "video"
    if scheme in ("rtsps", "https") and feed.tls_ca_file:
        options |= {"tls_verify": "1", "ca_file": feed.tls_ca_file}
    unknown = options.keys() - _ALLOWED_OPTIONS
    if unknown:
        raise ValueError(f"FFmpeg options not on the list: {', '.join(sorted(unknown))}")
    return options


def explain(error: BaseException, url: str, *, waited_s: float = 0.0, feed: FeedConfig) -> SourceError:
    """What ``error`` means, in words for a guard. ``waited_s``: how long the failed call took."""
    if isinstance(error, SourceError):
        return error
    is_file = scheme_of(url) == "file"
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return WrongPassword("the camera refused the password; check user name and password in the feed's URL")
    if isinstance(error, av.error.HTTPNotFoundError):
        path = urlsplit(url).path or "/"
        return NotFound(f"the camera has no stream at {path}; check the path in the feed's URL")
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return NotFound(f"there is no file {url}; check the path")
    if isinstance(error, PermissionError):
        return NotFound(f"the file {url} may not be read; change its permissions")
    if isinstance(error, av.error.ExitError | TimeoutError):
        return TimedOut(f"no answer for {waited_s:.0f} s; check the camera's power and cable")
    return _explain_code(error, url) or _explain_content(error, is_file, waited_s, feed)


def _explain_code(error: BaseException, url: str) -> SourceError | None:
    """Errors that the operating system names by number."""
    if isinstance(error, ConnectionRefusedError):
        return Refused(f"nothing listens on {_host(url)}; the camera is restarting, or the port in the URL is wrong")
    if isinstance(error, _DROPPED):
        return Ended("the camera dropped the connection")
    if isinstance(error, av.error.HTTPServerError | av.error.HTTPClientError):
        return Refused("the camera is too busy or does not understand the request; close other viewers or restart it")
    number = getattr(error, "errno", None)
    if number in _NO_ROUTE:
        return Unreachable(f"there is no way to {_host(url)}; check the network and the address in the feed's URL")
    if number == errno.EIO and scheme_of(url) != "file":
        if not _has_address(url):
            return Unreachable(f"the name in {_host(url)} is unknown; check the address in the feed's URL")
        if scheme_of(url) in ("rtsps", "https"):
            return Refused(
                f"no TLS connection with {_host(url)}; its certificate does not match tls_ca_file, "
                "or it speaks plain RTSP"
            )
        return Ended("the camera broke the connection off")
    return None


def _explain_content(error: BaseException, is_file: bool, waited_s: float, feed: FeedConfig) -> SourceError:
    """Errors about what was read."""
    if isinstance(error, av.error.InvalidDataError | av.error.EOFError) and not is_file:
        if waited_s >= 0.5 * min(feed.open_timeout_s, feed.read_timeout_s):
            # FFmpeg calls a camera that froze in the middle of its greeting "invalid data".
            return TimedOut(f"no answer for {waited_s:.0f} s; check the camera's power and cable")
        return Damaged("the answer is not a media stream; if this is a TLS port, write rtsps:// in the feed's URL")
    if isinstance(error, av.error.DecoderNotFoundError | av.error.PatchWelcomeError | NotImplementedError):
        return UnsupportedCodec("this kind of stream cannot be decoded; set the camera to H.264, H.265 or MJPEG")
    if is_file:
        return Damaged("the file is damaged, empty or no media file; record or copy it again")
    reason: Any = getattr(error, "strerror", None) or type(error).__name__
    return Damaged(f"the stream cannot be read ({reason})")


def _host(url: str) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    return f"{parts.hostname}:{port}" if port else str(parts.hostname)


def _has_address(url: str) -> bool:
    host = urlsplit(url).hostname
    if not host:
        return False
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
