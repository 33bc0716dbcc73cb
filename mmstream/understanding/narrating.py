"""Which alerts a model is asked to tell of, and with what in hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from mmstream.encoders.prompts import narration_prompt
from mmstream.storage.base import is_quiet
from mmstream.types import Alert
from mmstream.understanding.ondemand import PictureQuestion, Tier

MAX_REMEMBERED = 256
CLEARLY_MORE = 0.5
WITHIN_S = 120.0
"""A narration is worth having later than a caption: the alert stays."""


class Narrator:
    """Alerts as they are told -> questions for the narration model: when one opens, and at its close if it has grown.

    What it remembers is lost with the process: an alert is then told of once more, when it closes.
    """

    def __init__(self, *, with_pictures: bool) -> None:
        self._with_pictures = with_pictures
        self._asked: OrderedDict[str, tuple[float, str]] = OrderedDict()
        """Alert -> surprise and words when the model was last asked."""

    def push(self, alerts: Iterable[Alert]) -> list[PictureQuestion]:
        return [self._question(alert) for alert in alerts if self._worth_it(alert)]

    def _worth_it(self, alert: Alert) -> bool:
        if is_quiet(alert) or alert.kind == "health":
            return False
        before = self._asked.get(alert.alert_id)
        if before is None:
            return True
        surprise, text = before
        return alert.state == "closed" and (alert.surprise >= surprise + CLEARLY_MORE or alert.text != text)

    def _question(self, alert: Alert) -> PictureQuestion:
        self._asked[alert.alert_id] = (alert.surprise, alert.text)
        if len(self._asked) > MAX_REMEMBERED:
            self._asked.popitem(last=False)
        times_s = {round(at_s, 1) for at_s in (alert.start_s + 1.0, alert.peak_s, alert.end_s - 1.0)}
        return PictureQuestion(
            feed_id=alert.feed_id,
            question_id=f"{alert.alert_id}/{alert.state}",
            role="narration",
            prompt=narration_prompt(alert),
            at_s=tuple(sorted(times_s)) if self._with_pictures else (),
            needs_picture=False,
            tier=Tier.NARRATE,
            surprise=alert.surprise,
            within_s=WITHIN_S,
        )


def alert_of(question_id: str) -> str:
    """The alert that a narration is of.

    >>> alert_of("gate-3:1700000000250/open")
    'gate-3:1700000000250'
    """
    return question_id.rpartition("/")[0]
