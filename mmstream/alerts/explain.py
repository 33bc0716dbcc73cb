"""Say in one plain sentence what an alert is about."""

from __future__ import annotations

from collections.abc import Mapping

from mmstream.types import Alert

NAMES: Mapping[str, str] = {"picture": "picture", "sound": "sound", "words": "words", "sensor": "sensor reading"}

MAIN_SHARE = 0.6
"""A modality with so much of the surprise is the subject alone."""

SCENE_CHANGED = " It has gone on for {lasted}: the scene seems to have changed, and is now taken as normal."


def say(
    alert: Alert, *, learned_s: float, lasted_s: float | None = None, scene_changed: bool = False
) -> dict[str, str]:
    """Language -> what the alert is about, and how it ended when ``lasted_s`` is given."""
    said = sentence(
        alert.feed_id,
        shares=alert.shares,
        expected_every_s=alert.expected_every_s,
        learned_s=learned_s,
        provisional=alert.provisional,
    )
    return {"en": said + (closing(lasted_s, scene_changed=scene_changed) if lasted_s is not None else "")}


def sentence(
    feed_id: str, *, shares: Mapping[str, float], expected_every_s: float, learned_s: float, provisional: bool
) -> str:
    """What is unusual, where, how much each modality says so, and how rare that is.

    >>> sentence("gate-3", shares={"sound": 0.92, "picture": 0.08}, expected_every_s=9 * 86400,
    ...          learned_s=1e6, provisional=False)
    'Unusual sound at gate-3 (sound 92 %, picture 8 %): as rare as once in 9 days here.'
    >>> sentence("gate-3", shares={"picture": 1.0}, expected_every_s=9e6, learned_s=1200, provisional=True)
    'Unusual picture at gate-3: rarer than usual in the 20 minutes learned so far (provisional).'
    """
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    subject = [name for name, _ in ordered[:1]] or ["moment"]
    if ordered and ordered[0][1] < MAIN_SHARE:
        subject = [name for name, _ in ordered[:2]]
    what = " and ".join(NAMES.get(name, name) for name in subject)
    percents = [(name, percent) for name, percent in _percents(ordered) if percent > 0]
    parts = ", ".join(f"{NAMES.get(name, name)} {percent} %" for name, percent in percents)
    detail = f" ({parts})" if len(percents) > 1 else ""
    if provisional:
        rarity = f"rarer than usual in the {duration(learned_s)} learned so far (provisional)"
    else:
        rarity = f"as rare as once in {duration(expected_every_s)} here"
    return f"Unusual {what} at {feed_id}{detail}: {rarity}."


def closing(lasted_s: float, *, scene_changed: bool) -> str:
    """What the sentence gets added when the alert closes."""
    lasted = duration(lasted_s)
    return SCENE_CHANGED.format(lasted=lasted) if scene_changed else f" It lasted {lasted}."


def duration(seconds: float) -> str:
    """Rounded the way people say it.

    >>> [duration(s) for s in (1.0, 80.0, 3600.0, 100_000.0, 777_600.0)]
    ['1 second', '80 seconds', '60 minutes', '28 hours', '9 days']
    """
    for unit, size_s in (("day", 86_400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 1.99 * size_s:
            return f"{round(seconds / size_s)} {unit}s"
    count = max(1, round(seconds))
    return f"{count} second" + ("s" if count != 1 else "")


def _percents(ordered: list[tuple[str, float]]) -> list[tuple[str, int]]:
    """Whole percents that add up to 100, by largest remainder."""
    whole = [int(100 * share) for _, share in ordered]
    missing = 100 - sum(whole) if ordered else 0
    by_remainder = sorted(range(len(ordered)), key=lambda i: whole[i] - 100 * ordered[i][1])
    for i in by_remainder[:missing]:
        whole[i] += 1
    return [(name, percent) for (name, _), percent in zip(ordered, whole, strict=True)]
