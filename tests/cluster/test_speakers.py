"""Speech and description models on a real Serve, and a site whose alerts get words and sentences from them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import serve

from mmstream.config import EncoderSection, FeedConfig, SiteConfig, UnderstandingSection
from mmstream.sources.synthetic.events import ScriptedEvent
from mmstream.sources.synthetic.render import render_clip
from mmstream.stages import Question
from mmstream.storage.base import AlertQuery
from mmstream.storage.open import open_store
from mmstream.types import Alert, Float32
from mmstream.understanding.speaking import Said
from services import metrics
from services.actors import LEDGER, find
from services.app import API_APP, Site
from services.ports import free_port
from services.speakers import (
    RETRY_LOADING_S,
    SpeakerClient,
    speaker_app,
    speaker_app_name,
    speaker_deployment_name,
    start_speakers,
)
from tests.encoders.tiny_writers import make_llava, make_whisper
from tests.rtsp.site import wait_until
from tests.speakers import BROKEN, DESCRIBER, MISSING, SPEECH

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SECTION = UnderstandingSection(
    speech=SPEECH, captions=DESCRIBER, narration=MISSING, options={DESCRIBER: {"takes_s": 0.2}}
)
CLIP_S, EVENT_S = 24.0, 16.0


def loud(seconds: float = 1.0) -> Float32:
    return np.ones(round(seconds * 16_000), np.float32)


def seen(shade: int) -> Question:
    return Question(prompt="What is it?", pictures=(np.full((8, 8, 3), shade, np.uint8),))


def ask(name: str, *requests: Float32 | Question) -> tuple[list[Said | None], list[SpeakerClient]]:
    """Each request from a caller of its own, all at once."""

    async def all_at_once() -> tuple[list[Said | None], list[SpeakerClient]]:
        clients = [SpeakerClient(name, timeout_s=30.0) for _ in requests]
        return list(await asyncio.gather(*(c.ask(r) for c, r in zip(clients, requests, strict=True)))), clients

    return asyncio.run(all_at_once())


def reasons(clients: Sequence[SpeakerClient]) -> dict[str, float]:
    return dict(sum((client.counters for client in clients), start=type(clients[0].counters)()))


@pytest.fixture(scope="module")
def speakers(cluster: None) -> Iterator[None]:  # noqa: ARG001 - it must be up
    site = SiteConfig(understanding=SECTION, encoders=EncoderSection(device="cpu"))
    names = start_speakers(site)
    for name in names:
        wait_until(
            lambda name=name: serve.status().applications[name].status == "RUNNING",
            within_s=60,
            what=f"{name} runs, with a model or without",
        )
    yield
    for name in names:
        serve.delete(name)


def batches(name: str) -> tuple[int, int]:
    handle = serve.get_deployment_handle(speaker_deployment_name(name), speaker_app_name(name), _check_exists=False)
    [counted] = handle.broadcast("batches").results(timeout_s=10)
    return counted


@pytest.mark.usefixtures("speakers")
def test_requests_of_several_shards_share_a_batch_and_return_to_their_owners() -> None:
    wait_until(lambda: ask(DESCRIBER, seen(1))[0] != [None], within_s=60, what="the model answers")
    before = batches(DESCRIBER)
    said, _ = ask(DESCRIBER, *(seen(shade) for shade in range(20, 26)))
    assert [answer and answer.text for answer in said] == ["1 pictures for: What is it?"] * 6
    assert {answer and answer.model for answer in said} == {"shade@1"}
    num_batches, num_requests = batches(DESCRIBER)
    assert num_requests - before[1] == 6
    assert num_batches - before[0] < 6


@pytest.mark.usefixtures("speakers")
def test_a_request_that_breaks_the_model_costs_only_itself() -> None:
    said, clients = ask(DESCRIBER, seen(1), seen(BROKEN), seen(2), loud())
    assert [answer is not None for answer in said] == [True, False, True, False]
    assert reasons(clients) == {"failed": 2}
    heard, _ = ask(SPEECH, loud(), loud(), np.zeros(BROKEN, np.float32))
    assert [answer and answer.text for answer in heard] == ["somebody shouts help", "somebody shouts help", None]


@pytest.mark.usefixtures("speakers")
def test_a_model_that_cannot_be_loaded_runs_says_why_and_is_not_tried_at_every_question() -> None:
    start_s = time.monotonic()
    said, [client, *_] = ask(MISSING, seen(1), seen(2))
    assert said == [None, None]
    assert client.counters == {"unavailable": 1}
    assert client.trouble == "there is no folder /models/nothing; give the folder of a model"
    assert time.monotonic() - start_s < RETRY_LOADING_S
    assert serve.status().applications[speaker_app_name(MISSING)].status == "RUNNING"


@pytest.mark.usefixtures("cluster")
def test_a_model_that_nobody_runs_is_counted_and_does_not_raise() -> None:
    async def one() -> tuple[Said | None, dict[str, int]]:
        client = SpeakerClient("nobody", timeout_s=1.0)
        return await client.ask(seen(1)), client.counters

    answer, counters = asyncio.run(one())
    assert answer is None
    assert counters["unavailable"] + counters["timeout"] == 1


@pytest.mark.usefixtures("cluster")
def test_the_same_settings_make_the_same_application_so_that_a_restart_of_the_site_replaces_nothing() -> None:
    made = [speaker_app(SPEECH, SECTION, EncoderSection(device="cpu")) for _ in range(2)]
    versions = {app._bound_deployment.version for app in made}
    assert len(versions) == 1


# -- a whole site ------------------------------------------------------------------------------------


class TalkingSite:
    """A looped recording in which something falls, heard and described by tiny models of real architectures."""

    def __init__(self, folder: Path) -> None:
        make_whisper(folder / "whisper", says=("help", "fire"))
        make_llava(folder / "vlm")
        event = ScriptedEvent("crash", EVENT_S, EVENT_S + 4.0)
        render_clip("dock", folder / "day.mp4", duration_s=60.0, seed=1, size=(320, 180))
        render_clip("dock", folder / "dock.mp4", duration_s=CLIP_S, seed=2, size=(320, 180), events=[event])
        self.site = Site(
            SiteConfig.model_validate(
                {
                    "site": {"data_dir": folder / "data"},
                    "api": {"port": free_port()},
                    "gate": {"enabled": False},
                    "budget": {"alerts_per_camera_per_day": 4000, "block_s": 5, "warmup_s": 20},
                    "encoders": {"edge": ["motion", "sound", "words"], "replicas": [], "device": "cpu"},
                    "understanding": {
                        "speech": "whisper",
                        "captions": "vlm",
                        "narration": "vlm",
                        "options": {
                            "whisper": {"folder": str(folder / "whisper"), "only_voices": False},
                            "vlm": {"folder": str(folder / "vlm")},
                        },
                    },
                    "clips": {"pre_roll_s": 2, "post_roll_s": 1},
                    "feeds": [
                        {
                            "id": "dock",
                            "url": str(folder / "dock.mp4"),
                            "loop": True,
                            "history": [str(folder / "day.mp4")],
                        }
                    ],
                }
            )
        )

    def stop(self) -> None:
        """Without `Site.stop`, which would end the cluster of all tests."""
        self.site._stop_supervisor()
        for name in (API_APP, speaker_app_name("whisper"), speaker_app_name("vlm")):
            serve.delete(name)
        self.site._stop_ledger()

    def alerts(self) -> Sequence[Alert]:
        reader = open_store(self.site.config, write=False)
        try:
            return reader.alerts(AlertQuery(limit=500)).alerts
        finally:
            reader.close()

    def status(self, feed_id: str = "dock") -> dict[str, Any]:
        return dict(self.site.statuses().get(feed_id, {}))

    def understanding(self) -> dict[str, Any]:
        return dict(self.status().get("understanding", {}))

    def add(self, feed_id: str, path: Path) -> None:
        feed = FeedConfig(id=feed_id, url=str(path), loop=True)
        ray.get(find(LEDGER).put_feed.remote(feed_id, feed.model_dump(mode="json"), False), timeout=30)


@pytest.fixture(scope="module")
def site(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TalkingSite]:  # noqa: ARG001
    running = TalkingSite(tmp_path_factory.mktemp("talking"))
    running.site.start()
    yield running
    running.stop()


def test_an_alert_of_a_live_site_gets_a_transcript_and_a_narration_from_real_architectures(site: TalkingSite) -> None:
    def told() -> list[Alert]:
        return [alert for alert in site.alerts() if "help fire" in alert.text and alert.narration]

    [alert, *_] = wait_until(told, within_s=150, what=f"an alert has words and a narration: {site.understanding()}")
    assert alert.narrated_by
    assert alert.sentence
    wait_until(
        lambda: all(model["answered"] for model in site.understanding().values()),
        within_s=20,
        what="the shard reports what it asked",
    )
    counted = site.understanding()
    assert counted["vlm"]["trouble"] == counted["whisper"]["trouble"] == ""
    text = metrics.render(
        statuses=site.site.statuses(), now_s=time.time(), alert_events=0, alerts_open=0, event_streams=0
    )
    assert 'mmstream_moments_asked_total{model="whisper",shard="0"}' in text


@pytest.mark.footage
def test_real_speech_goes_through_detection_queue_and_whisper_onto_the_clock(site: TalkingSite, footage: Path) -> None:
    def learned(feed_id: str) -> float:
        """Lines of words that the feed has learned: of "speech" nobody but the model tells any."""
        analysis = site.status(feed_id).get("analysis", {})
        return float(analysis.get("bank_rows", {}).get("words", 0))

    before = site.understanding().get("whisper", {}).get("answered", 0)
    site.add("speech", footage / "speech" / "jfk.flac")
    site.add("nasa", footage / "clips" / "nasa_13013.mp4")
    wait_until(lambda: learned("speech") and learned("nasa"), within_s=120, what="what was said is in their windows")
    assert site.understanding()["whisper"]["answered"] >= before + 2
