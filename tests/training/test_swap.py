"""A swap is done as a whole or not at all, whatever fails and whenever the process is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmstream.errors import MmstreamError, StoreError
from tests.training.swapping import ENCODERS, MODEL, PLACES, SmallSite, refuse_at

BEFORE_THE_POINTER = PLACES[:-1]


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    """A camera that has been watched under a first version."""
    site = SmallSite(tmp_path)
    site.promote(site.add(1))
    site.watch(40)
    site.core.snapshot_some(all_feeds=True)
    return site


def again(site: SmallSite) -> SmallSite:
    """What comes up after everything was killed."""
    restarted = SmallSite(site.folder, second=site.second + 100)
    restarted.start()
    return restarted


def in_use(site: SmallSite) -> str:
    """The version that everything runs. Judges a window by it: a model without memory would say nothing."""
    version = site.registry.in_use(MODEL).version
    assert {site.declared(name) for name in ENCODERS} == {version}
    site.watch(2)
    assert {(item.channel, item.model) for item in site.judged[-1].score.evidence} == {
        (name, f"site@{version}") for name in ENCODERS
    }
    return version


def test_a_version_is_put_to_use_and_judges_the_first_window_it_sees(site: SmallSite) -> None:
    new = site.add(2)
    done = site.promote(new)
    assert (done.version, list(done.seconds)) == (new, ["prepare", "push", "point"])
    assert in_use(site) == new
    assert site.registry.version(MODEL, new).state == "current"


def test_rolling_back_puts_the_version_before_to_use(site: SmallSite) -> None:
    old = site.registry.in_use(MODEL).version
    new = site.add(2)
    site.promote(new)
    site.watch(40)
    done = site.roll_back()
    assert (done.version, done.before) == (old, new)
    assert in_use(site) == old
    assert site.registry.version(MODEL, new).state == "refused"
    assert site.registry.in_use(MODEL).rolled_back


def test_rolling_back_the_first_version_leaves_none(site: SmallSite) -> None:
    done = site.roll_back()
    assert (done.version, site.registry.in_use(MODEL).version) == ("", "")
    assert {site.declared(name) for name in ENCODERS} == {""}
    with pytest.raises(StoreError, match="nothing to roll back"):
        site.roll_back()


def test_the_way_back_does_not_wait_for_footage(site: SmallSite) -> None:
    old = site.registry.in_use(MODEL).version
    site.promote(site.add(2))
    site._at = refuse_at("embed")
    done = site.roll_back()
    assert done.version == old
    assert "no answer at embed" in done.notes[0]
    site._at = lambda _: None
    assert in_use(site) == old


def test_what_feeds_do_without_is_said(site: SmallSite) -> None:
    (note,) = site.promote(site.add(2)).notes
    assert note == "cam: too little footage to make the threshold anew; it stays as it is"
    site.core.release("cam")
    (note,) = site.promote(site.add(3)).notes
    assert note.startswith("cam: not running")


def test_there_is_no_way_to_a_version_that_is_not_there(site: SmallSite) -> None:
    with pytest.raises(StoreError, match="no version 'nope'"):
        site.promote("nope")


@pytest.mark.parametrize("place", BEFORE_THE_POINTER)
def test_a_step_that_fails_leaves_the_old_version_everywhere_and_says_why(site: SmallSite, place: str) -> None:
    old = site.registry.in_use(MODEL).version
    new = site.add(2)
    fail = refuse_at(place)
    failed: list[str] = []

    def once(now: str) -> None:
        if now == place and not failed:
            failed.append(now)
            fail(now)

    site._at = once
    with pytest.raises(MmstreamError, match=f"no answer at {place}"):
        site.promote(new)
    site._at = lambda _: None
    assert in_use(site) == old
    assert in_use(again(site)) == old
    assert site.promote(new).version == new
    assert in_use(site) == new


@pytest.mark.parametrize(
    ("what", "place"),
    [*(("promote", place) for place in PLACES), *(("roll back", place) for place in ("push site-sound", "pointed"))],
)
def test_a_swap_cut_off_by_kill_9_leaves_the_old_version_or_the_new_one(site: SmallSite, what: str, place: str) -> None:
    old = site.registry.in_use(MODEL).version
    new = site.add(2)
    if what == "roll back":
        site.promote(new)
        site.watch(10)
        site.core.snapshot_some(all_feeds=True)
        old, new = new, old
    command = [sys.executable, "-m", "tests.training.swapping", str(site.folder), what, new, place]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    restarted = again(site)
    assert in_use(restarted) == (new if place == "pointed" else old)
    if place != "pointed":
        done = restarted.promote(new) if what == "promote" else restarted.roll_back()
        assert done.version == new
        assert in_use(restarted) == new


NUM_EVENTS, BETWEEN_S, LASTS_S = 8, 60, 6
OFTEN = 2000.0
"""Alerts a day: one of twelve blocks has an event, one of nine may have an alert; else events would be usual."""


def found(folder: Path, swaps: dict[int, tuple[str, int]]) -> tuple[dict[int, list[str]], dict[int, set[str]]]:
    """Watch through scripted events, one every `BETWEEN_S`; ``swaps``: event -> (what, after so many of its windows).

    -> event -> alerts raised in it, and the versions that those name.
    """
    folder.mkdir()
    small = SmallSite(folder, alerts_per_day=OFTEN)
    first, second = small.add(1), small.add(2)
    small.start()
    small.promote(first)
    small.watch(300)
    begins = {}
    for number in range(NUM_EVENTS):
        small.watch(BETWEEN_S - LASTS_S)
        begins[number] = small.second
        what, after = swaps.get(number, ("", LASTS_S))
        small.watch(after, apart=25.0)
        if what:
            small.promote(second) if what == "promote" else small.roll_back()
        small.watch(LASTS_S - after, apart=25.0)
    small.watch(BETWEEN_S)
    alerts = {alert.alert_id: alert for judged in small.judged for alert in judged.alerts if alert.severity != "notice"}
    raised: dict[int, list[str]] = {}
    named: dict[int, set[str]] = {}
    for number, begin_s in begins.items():
        during = [a for a in alerts.values() if begin_s - 2 <= a.peak_s <= begin_s + LASTS_S + 2]
        raised[number] = [alert.alert_id for alert in during]
        named[number] = {model for alert in during for model in alert.models}
    return raised, named


@pytest.mark.parametrize("after", [0, 1, 3, LASTS_S])
def test_with_a_swap_and_the_way_back_every_event_raises_the_alert_that_it_raises_without(
    after: int, tmp_path: Path
) -> None:
    """Before an event, in its middle and after it: nothing is lost, nothing doubled."""
    without, _ = found(tmp_path / "without", {})
    with_both, named = found(tmp_path / "with", {2: ("promote", after), 5: ("roll back", after)})
    assert [len(alerts) for alerts in without.values()] == [1] * NUM_EVENTS
    assert [len(alerts) for alerts in with_both.values()] == [1] * NUM_EVENTS
    assert named[1] == named[7] != named[4]
    assert all(len(models) == 1 for models in named.values())
