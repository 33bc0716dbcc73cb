"""From a question to its answer, through a real archive."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mmstream.config import RuleConfig, SiteConfig
from mmstream.errors import ConfigError
from mmstream.replay import answering
from mmstream.replay.answering import Answer, Replayer
from mmstream.replay.beginning import kept_blocks
from mmstream.replay.strips import Past, past_of
from mmstream.replay.whatif import DAY_S, WhatIf
from mmstream.storage.archive import ArchiveWriter
from mmstream.storage.archive_search import ArchiveReader
from mmstream.storage.media import FolderMediaStore
from mmstream.storage.strip_rows import StripRows
from mmstream.types import Alert
from tests.replay.days import BEGIN_S, Days, ordinary
from tests.services.running import make_alert
from tests.storage.moments import make_moment

PER_DAY = 60.0
SECONDS = 2 * 3600
END_S = BEGIN_S + SECONDS
SITE = SiteConfig.model_validate({"budget": {"block_s": 30.0, "warmup_s": 120.0}})


@pytest.fixture(scope="module")
def lived() -> Days:
    days = Days(SITE.budget, PER_DAY)
    days.live(ordinary(SECONDS, seed=5))
    days.end()
    return days


@pytest.fixture(scope="module")
def folder(lived: Days, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two feeds that saw the same; what was said at one of them."""
    folder = str(tmp_path_factory.mktemp("replay") / "archive")
    writer = ArchiveWriter(folder, keep_days=30, max_gb=1)
    writer.write([make_moment(start_s=BEGIN_S, strips=tuple(lived.strips))], {})
    writer.write([make_moment(start_s=BEGIN_S + at_s, text=text) for at_s, text in SAID], {})
    return folder


SAID = [(600.0, "good morning"), (1200.0, "please help"), (1202.0, "help me"), (4000.0, "Help!")]


def make_replayer(folder: str, alerts: Sequence[Alert], **changes: Any) -> Replayer:
    settings: dict[str, Any] = {"site": SITE, "budgets": {"gate": PER_DAY}, "archive": ArchiveReader(folder)}
    return Replayer(**(settings | {"alerts": alerts} | changes))


def asked(replayer: Replayer, **question: Any) -> Answer:
    return replayer.answer(WhatIf(since_s=BEGIN_S, until_s=END_S, **question))


# --- unchanged ---------------------------------------------------------------------------------------------


def test_without_a_change_every_alert_is_kept_and_none_appears(lived: Days, folder: str) -> None:
    answer = asked(make_replayer(folder, list(lived.alerts.values()))).to_json()
    assert answer["total"]["now"] == len(lived.told) >= 5
    assert (answer["total"]["appeared"], answer["total"]["vanished"]) == (0, 0)
    assert {alert["alert_id"] for alert in answer["alerts"]} == {alert.alert_id for alert in lived.told}
    assert sum(day["then"] for day in answer["days"].values()) == len(lived.told)


def test_shares_and_surprise_of_what_is_gone_through_are_those_that_were(lived: Days, folder: str) -> None:
    was = {alert.alert_id: alert for alert in lived.told}
    for weights, shares_as_good_as in (({}, 1e-3), ({"words": 3.0}, 0.6)):  # words: there are none
        answer = asked(make_replayer(folder, list(lived.alerts.values())), weights=weights).to_json()
        for alert in answer["alerts"]:
            now = was[alert["alert_id"]]
            assert alert["surprise"] == pytest.approx(now.surprise, abs=0.01)
            assert alert["shares"] == pytest.approx(dict(now.shares), abs=shares_as_good_as)


# --- changed -----------------------------------------------------------------------------------------------


def test_a_larger_budget_brings_more_and_a_smaller_one_fewer(lived: Days, folder: str) -> None:
    replayer = make_replayer(folder, list(lived.alerts.values()))
    then = [asked(replayer, alerts_per_day=budget).to_json()["total"]["then"] for budget in (10.0, PER_DAY, 400.0)]
    assert then[0] < then[1] < then[2]
    of_feed = asked(replayer, budgets={"gate": 400.0}).to_json()
    assert of_feed["total"]["then"] == then[2]


def test_a_sound_that_does_not_count_raises_nothing(lived: Days, folder: str) -> None:
    replayer = make_replayer(folder, list(lived.alerts.values()))
    same = asked(replayer, weights={"picture": 1.0}).to_json()["total"]
    assert (same["appeared"], same["vanished"]) == (0, 0)
    deaf = asked(replayer, weights={"sound": 0.01}).to_json()
    led_by_sound = {alert.alert_id for alert in lived.told if alert.shares["sound"] > 0.9}
    assert led_by_sound & {alert["alert_id"] for alert in deaf["alerts"] if alert["fate"] == "vanished"}
    assert all(alert["shares"]["sound"] < 0.5 for alert in deaf["alerts"] if alert["fate"] == "appeared")


def test_another_rule_is_gone_through_too(lived: Days, folder: str) -> None:
    answer = asked(make_replayer(folder, list(lived.alerts.values())), fusion="max").to_json()
    assert answer["total"]["kept"] >= 0.5 * answer["total"]["now"]


def test_a_phrase_is_found_in_what_was_said_and_a_rule_that_is_taken_away_leaves(folder: str) -> None:
    fire = make_alert("gate", BEGIN_S + 50.0, kind="rule", cause="fire")
    rule = RuleConfig(name="help", says=("help",))
    answer = asked(make_replayer(folder, [fire]), rules=(rule,), without_rules=("fire",)).to_json()
    by_rules = [(a["fate"], a["cause"], a["start_s"] - BEGIN_S) for a in answer["alerts"] if a["kind"] == "rule"]
    assert by_rules == [("appeared", "help", 1200.0), ("appeared", "help", 4000.0), ("vanished", "fire", 50.0)]
    assert answer["total"]["now"] == 1


def test_a_rule_that_there_was_is_kept_where_it_would_come_again(folder: str) -> None:
    rule = RuleConfig(name="help", says=("help",))
    was = make_alert("gate", BEGIN_S + 1200.0, kind="rule", cause="help")
    was = Alert(**{**was.to_json(), "normal": (), "models": (), "alert_id": f"{was.alert_id}-help"})
    answer = asked(make_replayer(folder, [was]), rules=(rule,)).to_json()
    assert [(a["fate"], a["start_s"] - BEGIN_S) for a in answer["alerts"] if a["kind"] == "rule"] == [
        ("appeared", 4000.0),
        ("kept", 1200.0),
    ]


# --- where the past is short -------------------------------------------------------------------------------


def test_a_feed_without_strips_has_nothing_to_go_through(folder: str) -> None:
    answer = asked(make_replayer(folder, [], budgets={"yard": 2.0})).to_json()
    assert answer["feeds"]["yard"]["then"] == 0
    assert "1 feeds have too little of a past" in " ".join(answer["notes"])


def test_what_the_calibrator_kept_makes_thresholds_exact_from_the_first_block(lived: Days, folder: str) -> None:
    half_s = BEGIN_S + SECONDS / 2
    kept = lived.calibrator.state()["blocks"]
    replayer = make_replayer(folder, list(lived.alerts.values()), calibrated=lambda _: kept)
    answer = replayer.answer(WhatIf(since_s=half_s, until_s=END_S)).to_json()
    assert len(answer["notes"]) == 1
    assert answer["total"]["vanished"] <= 1
    assert not any(alert["provisional"] for alert in answer["alerts"] if alert["alert_id"] is None)


def test_blocks_are_read_out_of_a_kept_state_and_damage_is_no_harm(lived: Days, tmp_path: Path) -> None:
    media = FolderMediaStore(tmp_path)
    assert kept_blocks(media, "gate") is None
    media.put("feeds/gate/learned.npz", b"PK damaged")
    assert kept_blocks(media, "gate") is None
    with (tmp_path / "state.npz").open("wb") as file:
        np.savez(file, **{"calibrator.blocks": lived.calibrator.state()["blocks"]})
    media.put("feeds/gate/learned.npz", (tmp_path / "state.npz").read_bytes())
    blocks = kept_blocks(media, "gate")
    assert blocks is not None
    assert len(blocks) == lived.calibrator.num_blocks


def test_a_feed_that_is_not_there_is_named(folder: str) -> None:
    with pytest.raises(ConfigError, match="no feed 'attic' to replay; there are gate"):
        asked(make_replayer(folder, []), feeds=("attic",))


# --- the question ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"until_s": BEGIN_S}, "since must be before until"),
        ({"until_s": BEGIN_S + 40 * DAY_S}, "at most 31 days"),
        ({"fusion": "vote"}, "no fusion rule 'vote'"),
        ({"weights": {"smell": 1.0}}, "no modality 'smell'"),
        ({"weights": {"sound": 0.0}}, "weight of sound"),
        ({"budgets": {"gate": -1.0}}, "budget of gate"),
        ({"rules": [{"name": "red", "looks_like": "a red van"}]}, "rules of phrases"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_wrong_question_is_refused_with_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        WhatIf.model_validate({"since_s": BEGIN_S, "until_s": END_S} | wrong)


def test_one_feed_at_a_time_is_in_memory(folder: str, lived: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    heights: list[weakref.ref[Any]] = []
    num_alive: list[int] = []

    def watched(feed_id: str, parts: Sequence[StripRows]) -> Past:
        gc.collect()
        num_alive.append(sum(ref() is not None for ref in heights))
        past = past_of(feed_id, parts)
        heights.append(weakref.ref(past.heights))
        return past

    monkeypatch.setattr(answering, "past_of", watched)
    replayer = make_replayer(folder, list(lived.alerts.values()), budgets={"gate": PER_DAY, "hall": 2.0, "yard": 2.0})
    asked(replayer)
    assert num_alive[0] == 0
    assert max(num_alive) <= 1
