"""What every store agrees on: how a new alert meets the one that is kept, and what a cursor is.

Fusion and the operator write to the same alert. Fusion repeats itself after a crash, the operator
does not: so what the operator said is *held* beside the alert and laid over whatever fusion writes.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from mmstream.errors import StoreError
from mmstream.storage.base import AlertQuery
from mmstream.types import Alert, AlertState, Verdict

SAID_BY_OPERATOR = ("state", "verdict", "verdict_by", "note")
FILLED_IN_LATER = ("clip", "thumbnail", "spectrogram", "narration", "narrated_by")
"""By the part that cuts clips, and by the one that asks a model to tell of an alert."""
_ALLOWED: Mapping[str, tuple[Any, ...]] = {"state": get_args(AlertState), "verdict": (*get_args(Verdict), None)}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAlert:
    """An alert as it stands, and the fields of it that an operator decides from now on."""

    alert: Alert
    held: Mapping[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        return to_text({"alert": self.alert.to_json(), "held": dict(self.held)})

    @classmethod
    def from_text(cls, text: str) -> KeptAlert:
        value = json.loads(text)
        return cls(alert=Alert.from_json(value["alert"]), held=value["held"])


def to_text(value: Any) -> str:
    """JSON with sorted keys: the same value is always the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def merged(new: Alert, kept: KeptAlert | None) -> KeptAlert:
    """What to keep when fusion writes ``new`` over ``kept``.

    The operator's state, verdict and note stay; a clip, a picture, a narration stays unless ``new`` has one.
    """
    if kept is None:
        return KeptAlert(alert=new)
    filled = {name: getattr(new, name) or getattr(kept.alert, name) for name in FILLED_IN_LATER}
    return KeptAlert(alert=dataclasses.replace(new, **{**filled, **kept.held}), held=kept.held)


def changed(kept: KeptAlert, changes: Mapping[str, Any]) -> KeptAlert:
    """``kept`` after an operator (or a part that fills in what comes later) changed single fields.

    An alert that is opened again is fusion's again: its state is no longer held.

    Raises:
        StoreError: a field that nobody may change, or a value that it cannot have.
    """
    for name, value in changes.items():
        if name not in SAID_BY_OPERATOR + FILLED_IN_LATER:
            allowed = ", ".join(SAID_BY_OPERATOR + FILLED_IN_LATER)
            raise StoreError(f"{name!r} of an alert cannot be changed; these can: {allowed}")
        if name in _ALLOWED and value not in _ALLOWED[name]:
            raise StoreError(f"{name} of an alert cannot be {value!r}; want one of {_ALLOWED[name]}")
        if name not in _ALLOWED and not isinstance(value, str):
            raise StoreError(f"{name} of an alert must be text, got {value!r}")
    held = {**kept.held, **{name: value for name, value in changes.items() if name in SAID_BY_OPERATOR}}
    if held.get("state") == "open":
        del held["state"]
    return KeptAlert(alert=dataclasses.replace(kept.alert, **changes), held=held)


def cursor_after(alert: Alert) -> str:
    """The cursor of the page that follows ``alert``: a place in the order, so new alerts do not move it."""
    return base64.urlsafe_b64encode(to_text([float(alert.start_s), alert.alert_id]).encode()).decode()


def place_of(query: AlertQuery) -> tuple[float, str] | None:
    """(start_s, alert_id) that the page comes after; None for the first page.

    Raises:
        StoreError: a cursor that `cursor_after` did not make, or a limit below one.
    """
    if query.limit < 1:
        raise StoreError(f"a page of {query.limit} alerts is not possible; want a limit of at least 1")
    if query.cursor is None:
        return None
    try:
        text = base64.b64decode(query.cursor.encode("ascii"), altchars=b"-_", validate=True).decode()
        match json.loads(text):
            case [float(start_s), str(alert_id)] if math.isfinite(start_s):
                return start_s, alert_id
    except (binascii.Error, ValueError, RecursionError):
        pass
    raise StoreError("this cursor is not one of ours; use the next_cursor of the page before, or none for the first")
