"""From a loud moment to its words: in the alert, in what is searched, with a narration, and never in the way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mmstream.analysis import Judgement
from mmstream.config import (
    BudgetSection,
    EncoderSection,
    FeedConfig,
    GateSection,
    SiteConfig,
    SiteSection,
    UnderstandingSection,
)
from mmstream.pipeline import LocalSite
from mmstream.sources.synthetic.events import ScriptedEvent
from mmstream.sources.synthetic.render import render_clip
from mmstream.storage.base import AlertQuery
from mmstream.storage.media import FolderMediaStore
from mmstream.storage.sqlite import SqliteStore
from mmstream.types import Alert
from tests.encoders.tiny_writers import make_whisper
from tests.speakers import DESCRIBER, MISSING, SPEECH

EVENT_S = 25.0


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An ordinary stretch to learn from, and one in which something falls, which is only heard."""
    folder = tmp_path_factory.mktemp("clips")
    event = ScriptedEvent("crash", EVENT_S, EVENT_S + 4.0)
    render_clip("dock", folder / "day.mp4", duration_s=150.0, seed=1, size=(320, 180))
    render_clip("dock", folder / "event.mp4", duration_s=60.0, seed=2, size=(320, 180), events=[event])
    return folder / "day.mp4", folder / "event.mp4"


class Watched:
    """A site with one recording, run to its end."""

    def __init__(self, folder: Path, clips: tuple[Path, Path], **understanding: Any) -> None:
        self.judgements: list[Judgement] = []
        site = SiteConfig(
            site=SiteSection(data_dir=folder),
            gate=GateSection(enabled=False),
            encoders=EncoderSection(edge=("motion", "sound", "words"), replicas=()),
            budget=BudgetSection(alerts_per_camera_per_day=2000, block_s=5, warmup_s=40),
            understanding=UnderstandingSection.model_validate(understanding),
            feeds=(FeedConfig(id="dock", url=str(clips[1]), history=(str(clips[0]),)),),
        )
        self.store = SqliteStore(folder / "ledger.db")
        media = FolderMediaStore(folder / "media")
        asyncio.run(LocalSite(site, store=self.store, media=media, on_judgement=self.judgements.append).run())
        self.status = self.store.statuses()["dock"]

    @property
    def alerts(self) -> list[Alert]:
        return [alert for alert in self.store.alerts(AlertQuery()).alerts if alert.kind == "unusual"]

    def of_the_event(self) -> Alert:
        alert = min(self.alerts, key=lambda alert: max(0.0, alert.start_s - EVENT_S, EVENT_S - alert.end_s))
        assert alert.start_s - 3 <= EVENT_S <= alert.end_s + 3
        return alert


def test_a_loud_event_gets_its_transcript_in_the_alert_in_what_is_searched_and_a_narration(
    tmp_path: Path, clips: tuple[Path, Path]
) -> None:
    site = Watched(tmp_path, clips, speech=SPEECH, captions=DESCRIBER, narration=DESCRIBER)
    alert = site.of_the_event()
    assert "somebody shouts help" in alert.text
    assert alert.narrated_by == "shade@1"
    assert alert.narration.startswith(("1 pictures", "2 pictures", "3 pictures"))
    searched = [judgement for judgement in site.judgements if "somebody shouts help" in judgement.score.text]
    assert searched
    assert all(EVENT_S - 5 < judgement.start_s < EVENT_S + 60 for judgement in searched)
    counters = site.status["understanding"][SPEECH]
    assert counters["answered"] >= 1
    assert counters["dropped_full"] == counters["dropped_old"] == counters["waiting"] == 0


def test_a_model_that_cannot_be_loaded_costs_its_words_and_says_why(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    site = Watched(tmp_path, clips, speech=MISSING, narration=MISSING)
    alert = site.of_the_event()
    assert (alert.text, alert.narration) == ("", "")
    assert alert.sentence
    assert alert.clip
    status = site.status["understanding"][MISSING]
    assert "there is no folder" in status["trouble"]
    assert status["unavailable"] >= 1


@pytest.mark.footage
def test_real_speech_is_found_written_down_and_lands_on_its_seconds(tmp_path: Path, footage: Path) -> None:
    make_whisper(tmp_path / "whisper", says=("ask", "not"), longest_s=20)
    judgements: list[Judgement] = []
    site = SiteConfig(
        site=SiteSection(data_dir=tmp_path),
        encoders=EncoderSection(edge=("sound", "words"), replicas=(), device="cpu"),
        understanding=UnderstandingSection(
            speech="whisper", options={"whisper": {"folder": str(tmp_path / "whisper")}}
        ),
        feeds=(FeedConfig(id="speech", url=str(footage / "speech" / "jfk.flac"), live=False),),
    )
    store = SqliteStore(tmp_path / "ledger.db")
    media = FolderMediaStore(tmp_path / "media")
    asyncio.run(LocalSite(site, store=store, media=media, on_judgement=judgements.append).run())
    said = [judgement for judgement in judgements if "ask not" in judgement.score.text]
    assert said
    assert 0 <= said[0].start_s <= 11.0
    assert store.statuses()["speech"]["understanding"]["whisper"]["answered"] >= 1
