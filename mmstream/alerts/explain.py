"""Say in one plain sentence, in every language of the catalogue, what an alert is about."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from mmstream.alerts.catalogue import CATALOGUE
from mmstream.types import Alert, Region

MAIN_SHARE = 0.6
"""A modality with so much of the surprise is the subject alone."""

NOT_PICTURE = ("sound", "clap", "ast", "words", "meaning", "readings", "sensor", "agreement")
"""What the names of channels begin with that are not of the picture."""

SENSOR = "sensor:"
"""What the channel of one sensor begins with; its name follows."""

AS_STRANGE = 0.5
"""A channel with so much of the strangest one's log p tells of the same thing."""

EVERYWHERE_AREA = 0.6
"""A region of so much of the picture says nothing about where."""

EDGE_WIDTH = 0.25
"""What touches an edge of the picture and is no wider than this is called after the edge."""

VOICE_HZ = (300.0, 3400.0)
"""What a telephone carries of a voice (ITU-T G.711); deeper is a rumble, higher is shrill."""

WIDE_RATIO = 12.0
"""A band whose upper end is so many times its lower end has no pitch."""

BEYOND_S = 365 * 86_400.0
"""No history of two weeks can tell once in ten years from once in a hundred."""

TIMES = (("years", 365 * 86_400.0), ("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0))


def say(
    alert: Alert, *, learned_s: float, lasted_s: float | None = None, scene_changed: bool = False
) -> dict[str, str]:
    """Language -> what the alert is about, and how it ended when ``lasted_s`` is given.

    >>> alert = Alert(alert_id="gate-3:0", feed_id="gate-3", start_s=0.0, end_s=4.0, state="open", severity="alert",
    ...     surprise=4.0, peak_s=1.0, expected_every_s=11 * 86400.0, shares={"picture": 0.88, "sound": 0.12},
    ...     channels={"motion": 1e-4}, regions={"motion": (0.1, 0.7, 0.3, 0.9)}, alerts_per_day=2.0, number_today=1)
    >>> say(alert, learned_s=1e6)["en"].split(": ")[0]
    'Unusual movement at gate-3, lower left in the picture (picture 88 %, sound 12 %)'
    >>> say(alert, learned_s=1e6)["en"].split(": ")[1]
    'as rare as once in 11 days here; alert 1 of at most 2 today.'
    >>> say(alert, learned_s=1e6)["zh"].split("：")[0]
    'gate-3 画面左下方出现异常移动（画面占 88%，声音占 12%）'
    """
    return {
        language: _Speaker(texts).tell(alert, learned_s, lasted_s, scene_changed)
        for language, texts in CATALOGUE.items()
    }


def say_rule(
    alert: Alert,
    *,
    subject: str,
    heard: bool,
    confirmation: str,
    learned_s: float,
    lasted_s: float | None = None,
) -> dict[str, str]:
    """Language -> which rule it was and what of it was seen, or ``heard``: the ``subject``.

    ``confirmation``: what the model of the pictures said (``yes``, ``no``, ``unclear``, ``none``); empty: nobody asked.

    >>> alert = Alert(alert_id="gate-3:0-fire", feed_id="gate-3", start_s=0.0, end_s=4.0, state="open",
    ...     severity="alert", surprise=4.0, peak_s=1.0, expected_every_s=11 * 86400.0, shares={"picture": 1.0},
    ...     kind="rule", cause="fire", alerts_per_day=1.0, number_today=1)
    >>> say_rule(alert, subject="smoke or fire", heard=False, confirmation="none", learned_s=1e6)["en"]
    "Rule 'fire': smoke or fire, at gate-3: as rare as once in 11 days here; not confirmed, as no answer came in \
time; alert 1 of at most 1 today."
    """
    return {
        language: _Speaker(texts).tell_rule(alert, subject, heard, confirmation, learned_s, lasted_s)
        for language, texts in CATALOGUE.items()
    }


def shown_region(alert: Alert) -> Region | None:
    """Where in the picture the strangest channel that can tell a place saw something."""
    strangest = min(alert.regions, key=lambda channel: alert.channels.get(channel, 1.0), default="")
    return alert.regions.get(strangest)


def place(region: Region) -> str:
    """Which of the catalogue's places a region is at.

    >>> place((0.1, 0.7, 0.3, 0.9)), place((0.9, 0.3, 1.0, 0.7)), place((0.0, 0.0, 1.0, 0.9))
    ('bottom_left', 'right_edge', 'everywhere')
    """
    left, top, right, bottom = region
    if (right - left) * (bottom - top) >= EVERYWHERE_AREA:
        return "everywhere"
    row, column = _third((top + bottom) / 2), _third((left + right) / 2)
    vertical, horizontal = ("top", "middle", "bottom")[row], ("left", "middle", "right")[column]
    if row == 1 and right - left <= EDGE_WIDTH and (left <= 0.01 or right >= 0.99):
        return f"{horizontal}_edge"
    if column == 1 and bottom - top <= EDGE_WIDTH and (top <= 0.01 or bottom >= 0.99):
        return f"{vertical}_edge"
    return f"{vertical}_{horizontal}"


def pitch(band_hz: tuple[float, float]) -> str:
    """Which of the catalogue's bands this one is.

    >>> pitch((60.0, 180.0)), pitch((500.0, 1500.0)), pitch((4000.0, 6000.0)), pitch((100.0, 7000.0))
    ('low', 'voice', 'high', 'wide')
    """
    low, high = max(band_hz[0], 1.0), max(band_hz[1], 1.0)
    if high / low >= WIDE_RATIO:
        return "wide"
    centre = math.sqrt(low * high)
    return "low" if centre < VOICE_HZ[0] else "high" if centre > VOICE_HZ[1] else "voice"


def percents(shares: Mapping[str, float]) -> list[tuple[str, int]]:
    """Whole percents that add up to 100, by largest remainder; the largest share first.

    >>> percents({"sound": 1 / 3, "picture": 2 / 3})
    [('picture', 67), ('sound', 33)]
    """
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    whole = [int(100 * share) for _, share in ordered]
    missing = 100 - sum(whole) if ordered else 0
    by_remainder = sorted(range(len(ordered)), key=lambda i: whole[i] - 100 * ordered[i][1])
    for i in by_remainder[:missing]:
        whole[i] += 1
    return [(name, percent) for (name, _), percent in zip(ordered, whole, strict=True)]


class _Speaker:
    """Puts one language's texts together."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def tell(self, alert: Alert, learned_s: float, lasted_s: float | None, scene_changed: bool) -> str:
        said = self._health(alert) if alert.kind == "health" else self._unusual(alert, learned_s)
        if lasted_s is None:
            return said
        end = "scene_changed" if scene_changed else "lasted"
        if alert.kind == "health" and not scene_changed:
            end = f"health.{alert.cause}.over"
        return said + self._text(end, lasted=self.duration(lasted_s))

    def tell_rule(
        self, alert: Alert, subject: str, heard: bool, confirmation: str, learned_s: float, lasted_s: float | None
    ) -> str:
        model = alert.models[-1] if alert.models else ""
        said = self._text(
            "rule.says" if heard else "rule.looks",
            rule=alert.cause,
            subject=subject,
            feed=alert.feed_id,
            rarity=self._rarity(alert, learned_s),
            confirmation=self._text(f"rule.{confirmation}", model=model) if confirmation else "",
            budget="" if confirmation == "no" else self._budget(alert),
        )
        return said if lasted_s is None else said + self._text("lasted", lasted=self.duration(lasted_s))

    def duration(self, seconds: float) -> str:
        """Rounded the way people say it."""
        for unit, size_s in TIMES:
            if seconds >= 1.99 * size_s:
                return self._text(f"duration.{unit}", count=str(round(seconds / size_s)))
        count = max(1, round(seconds))
        return self._text("duration.second" if count == 1 else "duration.seconds", count=str(count))

    def _text(self, key: str, **values: str) -> str:
        return self._texts[key].format(**values)

    def _health(self, alert: Alert) -> str:
        return self._text(f"health.{alert.cause}", feed=alert.feed_id)

    def _unusual(self, alert: Alert, learned_s: float) -> str:
        counted = percents(alert.shares)
        subject = [name for name, _ in counted[: 1 if counted and alert.shares[counted[0][0]] >= MAIN_SHARE else 2]]
        nouns = list(dict.fromkeys(self._noun(name, alert) for name in subject)) or [self._text("moment")]
        told = [self._share(name, percent) for name, percent in counted if percent > 0]
        return self._text(
            "unusual",
            what=self._text("and").join(nouns),
            feed=alert.feed_id,
            where=self._where(subject, alert),
            shares=self._text("shares", parts=self._text("comma").join(told)) if len(told) > 1 else "",
            rarity=self._rarity(alert, learned_s),
            budget=self._budget(alert),
        )

    def _rarity(self, alert: Alert, learned_s: float) -> str:
        if alert.provisional:
            return self._text("rarity.provisional", learned=self.duration(learned_s))
        if alert.expected_every_s > BEYOND_S:
            return self._text("rarity.beyond")
        return self._text("rarity", every=self.duration(alert.expected_every_s))

    def _noun(self, modality: str, alert: Alert) -> str:
        """The modality, or more exactly what its strangest channel sees, or which sensor it is."""
        noun = self._texts.get(modality, modality)
        if modality == "picture":
            return self._texts.get(f"what.{_seen_by(alert)}", noun)
        if modality == "sensor":
            _, colon, sensor = _strangest(alert, lambda name: name.startswith(SENSOR)).partition(":")
            return self._text("what.sensor", sensor=sensor) if colon else noun
        if modality == "agreement":
            return self._texts.get(f"what.{_strangest(alert, lambda name: name.startswith(modality))}", noun)
        return noun

    def _share(self, modality: str, percent: int) -> str:
        return self._text("share", name=self._texts.get(modality, modality), percent=str(percent))

    def _where(self, subject: list[str], alert: Alert) -> str:
        places = []
        for modality in subject:
            region = shown_region(alert)
            if modality == "picture" and region is not None:
                places.append(self._text(f"place.{place(region)}"))
            elif modality == "sound" and alert.band_hz is not None:
                places.append(self._text(f"band.{pitch(alert.band_hz)}", range=self._range(alert.band_hz)))
        return self._text("where", places=self._text("places.comma").join(places)) if places else ""

    def _range(self, band_hz: tuple[float, float]) -> str:
        low, high = band_hz
        if high < 1000.0:
            return self._text("range.hz", low=f"{low:.0f}", high=f"{high:.0f}")
        return self._text("range.khz", low=f"{low / 1000:.2g}", high=f"{high / 1000:.2g}")

    def _budget(self, alert: Alert) -> str:
        per_day = f"{alert.alerts_per_day:g}"
        if alert.severity == "notice":
            return self._text("budget.notice")
        if alert.suppressed:
            return self._text("budget.suppressed", per_day=per_day)
        if alert.number_today == 0 or alert.alerts_per_day == 0.0:
            return ""
        # what was saved on quiet days may be spent on a busy one: then the number can exceed the average
        within = alert.alerts_per_day.is_integer() and alert.number_today <= alert.alerts_per_day
        return self._text(
            "budget.within" if within else "budget.average", number=str(alert.number_today), per_day=per_day
        )


def _seen_by(alert: Alert) -> str:
    """The strangest channel of the picture; of several about as strange, the one that could tell where."""
    strangest = _strangest(alert, lambda name: not name.startswith(NOT_PICTURE))
    pointing = _strangest(alert, alert.regions.__contains__)
    if pointing and math.log10(alert.channels[pointing]) <= AS_STRANGE * math.log10(alert.channels[strangest]):
        return pointing
    return strangest


def _strangest(alert: Alert, of: Callable[[str], bool]) -> str:
    return min(filter(of, alert.channels), key=lambda name: alert.channels[name], default="")


def _third(share: float) -> int:
    return min(2, max(0, int(share * 3)))
