"""What can go wrong, as a small set of types. Every message is one plain sentence with the cure."""

from __future__ import annotations

import re
from typing import ClassVar

_CREDENTIALS = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<user>[^/\s:@]*)(:[^/\s]*)?@(?=[^/\s@]+)")

_SECRET_PARAMETER = re.compile(r"([?&][^=&#\s]*(?:pass|pwd|token|secret|key|auth)[^=&#\s]*=)[^&#\s]+", re.IGNORECASE)


def redact(text: str) -> str:
    """Take user names, passwords and tokens out of every URL in ``text``.

    FFmpeg's exception texts repeat the whole URL, password and all.

    >>> redact("cannot open rtsp://admin:s3cr3t@10.0.0.7:554/live")
    'cannot open rtsp://***@10.0.0.7:554/live'
    >>> redact("cannot open http://10.0.0.7/video?channel=2&pwd=s3cr3t")
    'cannot open http://10.0.0.7/video?channel=2&pwd=***'
    """
    return _SECRET_PARAMETER.sub(r"\1***", _CREDENTIALS.sub(r"\g<scheme>***@", text))


class MmstreamError(Exception):
    """Base of everything that mmstream raises on purpose. The text never holds a secret."""

    def __init__(self, sentence: str) -> None:
        self.sentence = redact(sentence)
        super().__init__(self.sentence)


class ConfigError(MmstreamError):
    """A setting is wrong; the sentence names the line, the value and what is allowed."""


class StoreError(MmstreamError):
    """The store refused or could not be reached."""


class StageError(MmstreamError):
    """A stage of the path could not do its work on an item; counted, the item is dropped."""


class SourceError(MmstreamError):
    """A source cannot deliver. ``code`` is one of `SOURCE_ERROR_CODES`."""

    code: ClassVar[str] = "damaged"
    needs_person: ClassVar[bool] = False
    """True when trying again soon cannot help (and may lock the camera's account)."""


class WrongPassword(SourceError):
    code = "wrong_password"
    needs_person = True


class NotFound(SourceError):
    code = "not_found"
    needs_person = True


class Refused(SourceError):
    code = "refused"


class Unreachable(SourceError):
    code = "unreachable"


class TimedOut(SourceError):
    code = "timeout"


class UnsupportedCodec(SourceError):
    code = "unsupported_codec"
    needs_person = True


class Damaged(SourceError):
    code = "damaged"


class Ended(SourceError):
    code = "ended"


SOURCE_ERRORS: tuple[type[SourceError], ...] = (
    WrongPassword,
    NotFound,
    Refused,
    Unreachable,
    TimedOut,
    UnsupportedCodec,
    Damaged,
    Ended,
)
SOURCE_ERROR_CODES: tuple[str, ...] = tuple(error.code for error in SOURCE_ERRORS)
