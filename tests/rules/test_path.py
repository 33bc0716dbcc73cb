"""Rules on the whole path: from windows, questions and answers to the ledger, across kill -9; and in one site."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mmstream.config import BudgetSection, RuleConfig, SiteConfig
from mmstream.fusing import NO_PICTURES_IN_WORDS, FusionCore
from mmstream.pipeline import LocalSite
from mmstream.rules import book
from mmstream.shard import FuseBatch, FuseReply
from mmstream.sources.synthetic import render_clip
from mmstream.storage.base import AlertQuery
from mmstream.storage.open import open_media, open_store
from mmstream.storage.sqlite import SqliteStore
from mmstream.testing import make_embedding, make_encoded
from mmstream.types import Alert, Channel, EncodedWindow
from mmstream.understanding.ondemand import PictureAnswer, PictureQuestion
from tests.rules.scenes import FIRE, HELP, picture, tell
from tests.test_shard import DictMedia

SITE = SiteConfig(budget=BudgetSection(block_s=5, warmup_s=60))
CHANNELS = {"vision": Channel(name="vision", modality="picture"), "words": Channel(name="words", modality="words")}
RULE = FIRE.model_copy(update={"alerts_per_day": 600.0})
BURNS = range(330, 338)


def windows(count: int = 400) -> list[EncodedWindow]:
    """History until second 300; something burns from 330 on; somebody calls at 360."""
    random = np.random.default_rng(1)
    made = []
    for second in range(count):
        vector = picture(0.02 * random.normal() + (0.6 if second in BURNS else 0.0))
        seen = [make_embedding(float(second), channel="vision", model="clip@1", vector=vector.tolist())]
        if second == 360:
            said = make_embedding(float(second), channel="words", vector=[1.0, 0.0])
            seen.append(dataclasses.replace(said, text="help me"))
        made.append(make_encoded(float(second), seen, history=second < 300))
    return made


class Process:
    def __init__(self, folder: Path, rules: Sequence[RuleConfig]) -> None:
        self.store = SqliteStore(folder / "ledger.db")
        self.media = DictMedia()
        self.rules = rules
        self._num_pushed = 0
        self.restart()

    def restart(self) -> None:
        self.core = FusionCore(SITE, channels=CHANNELS, media=self.media, tracker_of=self.store.tracker)
        self.core.begin("cam")
        self.core.follow_rules(self.rules)  # a moment after the state: as in an actor

    def push(self, batch: FuseBatch) -> FuseReply:
        reply, commits = self.core.push(batch)
        for commit in commits:
            self.store.commit(commit)
        if self.core.rule_texts.missing()[1]:
            tell(self.core.rule_texts)
        self._num_pushed += 1
        if self._num_pushed % 20 == 0:
            self.core.snapshot_some(all_feeds=True)
        return reply

    def alerts(self, *, quiet: bool = False) -> list[Alert]:
        found = self.store.alerts(AlertQuery(quiet=quiet)).alerts
        return sorted((alert for alert in found if alert.kind == "rule"), key=lambda alert: alert.start_s)


def test_what_is_seen_and_what_is_said_come_to_the_ledger_with_their_clips(tmp_path: Path) -> None:
    process = Process(tmp_path, [RULE, HELP])
    made = windows()
    wanted = [
        request
        for first in range(0, 400, 4)
        for request in process.push(FuseBatch(items=made[first : first + 4])).wanted
    ]
    fire, calling = (alert for alert in process.alerts() if alert.start_s in (359.0, 360.0) or alert.surprise > 4)
    assert (fire.cause, fire.state, 328 <= fire.start_s <= 332) == ("fire", "closed", True)
    assert (calling.cause, calling.text) == ("help", "help me")
    assert {request.alert_id for request in wanted} >= {fire.alert_id, calling.alert_id}
    assert process.core.summaries()["cam"]["rules"]["fire"]["state"] == "calibrated"


@pytest.mark.parametrize("at", [320, 332, 336, 361])
def test_kill_9_loses_no_alert_of_a_rule_and_doubles_none(tmp_path: Path, at: int) -> None:
    ledgers = []
    for number, dies in enumerate((False, True)):
        (tmp_path / str(number)).mkdir()
        process = Process(tmp_path / str(number), [RULE, HELP])
        for first, item in enumerate(windows()):
            process.push(FuseBatch(items=[item]))
            if dies and first == at:
                process.restart()
                process.push(FuseBatch(items=[item]))  # the shard had no answer
        ledgers.append([(alert.alert_id, alert.state) for alert in process.alerts()])
    assert ledgers[0] == ledgers[1]
    assert len(ledgers[0]) >= 2


def held(process: Process) -> PictureQuestion:
    questions: list[PictureQuestion] = []
    for item in windows(340):
        questions += process.push(FuseBatch(items=[item])).questions
    return questions[-1]


def test_a_question_goes_out_until_the_answer_comes_in_and_survives_kill_9(tmp_path: Path) -> None:
    process = Process(tmp_path, [RULE.model_copy(update={"confirm": True})])
    question = held(process)
    assert [alert.alert_id for alert in process.alerts() if alert.surprise > 4] == []
    process.restart()
    reply = process.push(FuseBatch(items=windows(341)[340:]))
    assert question in reply.questions
    process.push(
        FuseBatch(
            items=(),
            answers=[
                PictureAnswer(
                    feed_id="cam", question_id=question.question_id, role="captions", text="Yes.", model="vlm@1"
                )
            ],
        )
    )
    assert question.question_id.startswith(process.alerts()[-1].alert_id)
    assert "confirmed by vlm@1" in process.alerts()[-1].sentence


def test_rules_change_while_the_feed_runs(tmp_path: Path) -> None:
    process = Process(tmp_path, [RULE])
    for item in windows(336):
        process.push(FuseBatch(items=[item]))
    (burning,) = (alert for alert in process.alerts() if alert.state == "open")
    for commit in process.core.follow_rules([HELP]):
        process.store.commit(commit)
    assert [alert.state for alert in process.alerts() if alert.alert_id == burning.alert_id] == ["closed"]
    for item in windows(364)[336:]:
        process.push(FuseBatch(items=[item]))
    assert process.alerts()[-1].cause == "help"
    assert set(process.core.summaries()["cam"]["rules"]) == {"help"}


def test_an_operator_who_says_true_is_heard_and_nothing_else_learns_of_it(tmp_path: Path) -> None:
    process = Process(tmp_path, [RULE])
    for item in windows():
        process.push(FuseBatch(items=[item]))
    analyzer = process.core._analyzers["cam"]
    true = Alert.from_json(process.alerts()[-1].to_json() | {"verdict": "true"})
    before = analyzer._verdicts.state()
    assert analyzer.verdict(true)
    assert not analyzer.verdict(true)
    assert analyzer._verdicts.state() == before


def test_a_site_without_such_an_encoder_says_so_for_the_rules_that_look(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    core = FusionCore(SITE, channels={}, media=DictMedia(), tracker_of=store.tracker)
    core.follow_rules([RULE, HELP])
    core.push(FuseBatch(items=[make_encoded(0.0, [])]))
    rules = core.summaries()["cam"]["rules"]
    assert (rules["fire"]["trouble"], rules["help"]["trouble"]) == (NO_PICTURES_IN_WORDS, "")


def test_in_one_process_the_encoder_is_asked_and_captions_are_heard(tmp_path: Path) -> None:
    recording, captions = tmp_path / "street.mp4", tmp_path / "street.srt"
    render_clip("walkway", recording, duration_s=12, seed=1)
    captions.write_text("1\n00:00:04,000 --> 00:00:06,000\nSomebody calls: HELP me!\n")
    site = SiteConfig.model_validate(
        {
            "site": {"data_dir": tmp_path},
            "encoders": {"edge": ["words"], "replicas": ["tests.rules.double:LightEncoder"], "device": "cpu"},
            "rules": [{"name": "light", "looks_like": "a light scene"}, {"name": "help", "says": ["help me"]}],
            "feeds": [{"id": "street", "url": str(recording), "captions": str(captions)}],
        }
    )
    store = open_store(site, write=True)
    book.put(store, RuleConfig(name="of-the-api", says=("never said",)))
    asyncio.run(LocalSite(site, store=store, media=open_media(site)).run())
    (alert,) = store.alerts(AlertQuery()).alerts
    rules = store.statuses()["street"]["analysis"]["rules"]
    store.close()
    assert (alert.kind, alert.cause, alert.state, alert.feed_id) == ("rule", "help", "closed", "street")
    assert "HELP me" in alert.text
    assert set(rules) == {"light", "help", "of-the-api"}
    assert rules["light"]["trouble"] == ""
    assert rules["light"]["windows_learned"] >= 3
