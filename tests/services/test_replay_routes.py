"""Replay over the real API, and from the terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from mmstream.config import SiteConfig
from mmstream.errors import StoreError
from mmstream.replay.answering import Answer
from mmstream.replay.whatif import DAY_S, WhatIf
from mmstream.storage.archive import ArchiveWriter
from mmstream.training.registry import Lineage, Registry
from mmstream.training.versions import registry_of
from mmstream.types import Alert
from services.cli import app as command_line
from services.replaying import ReplayProcess
from tests.replay.days import BEGIN_S, Days, ordinary
from tests.services.running import KEY, FakeSite, serving
from tests.services.test_api import assert_problem
from tests.storage.moments import make_moment

REPLAY = "/api/v1/replay"
SECONDS = 3600


class AskedReplays:
    """Notes what it is asked; waits while it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[WhatIf, Mapping[str, float | None], Sequence[Alert]]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.trouble = ""

    def run(self, question: WhatIf, own: Mapping[str, float | None], alerts: Sequence[Alert]) -> dict[str, Any]:
        self.asked.append((question, own, alerts))
        assert self.go_on.wait(60)
        if self.trouble:
            raise StoreError(self.trouble)
        return Answer(feeds={feed_id: dict.fromkeys(("now", "then", "kept"), 1) | NONE for feed_id in own}).to_json()

    def report(self, model: str) -> str:
        if model != "site@3":
            raise StoreError(f"there is no {model}")
        return "site@3 is refused. It finds half."


NONE = {"appeared": 0, "vanished": 0}


@pytest.fixture
def replays(site: FakeSite) -> AskedReplays:
    site.replays = replays = AskedReplays()
    site.add_feed("gate-3", budget_alerts_per_day=6.0)
    site.add_feed("yard")
    return replays


# --- the question ------------------------------------------------------------------------------------------


def test_without_a_change_the_last_week_of_all_feeds_is_gone_through(
    site: FakeSite, replays: AskedReplays, http: httpx.Client
) -> None:
    site.raise_alert(ago_s=3600.0)
    site.raise_alert(ago_s=8 * DAY_S)
    answer = http.post(REPLAY, json={})
    assert answer.status_code == 200, answer.text
    ((question, own, alerts),) = replays.asked
    assert (question.since_s, question.until_s) == (site.now_s - 7 * DAY_S, site.now_s)
    assert own == {"gate-3": 6.0, "yard": None}
    assert [alert.start_s for alert in alerts] == [site.now_s - 3600.0]
    assert answer.json()["total"]["kept"] == 2


def test_changes_reach_the_replay_as_they_were_asked(replays: AskedReplays, http: httpx.Client) -> None:
    rules = [{"name": "help", "says": ["help me"]}]
    changes = {"alerts_per_day": 8, "weights": {"sound": 2}, "fusion": "fisher", "feeds": ["yard"], "rules": rules}
    days = {"since": "2023-11-13T00:00:00Z", "until": 1_700_000_000}
    assert http.post(REPLAY, json=changes | days).status_code == 200
    ((question, _, _),) = replays.asked
    assert (question.alerts_per_day, question.weights, question.fusion) == (8.0, {"sound": 2.0}, "fisher")
    assert (question.feeds, question.rules[0].says) == (("yard",), ("help me",))
    assert question.until_s == 1_700_000_000


@pytest.mark.parametrize(
    ("wrong", "code", "sentence"),
    [
        ({"fusion": "vote"}, "wrong_request", "no fusion rule 'vote'"),
        ({"alerts_per_day": 0}, "wrong_request", "alerts_per_day"),
        ({"since": "yesterday"}, "wrong_request", "want ISO 8601"),
        ({"since": "2023-01-01"}, "wrong_request", "at most 31 days"),
        ({"feeds": ["attic"]}, "no_such_feed", "'attic'"),
        ({"budgets": {"attic": 2}}, "no_such_feed", "'attic'"),
        ({"model": "site@3", "alerts_per_day": 2}, "wrong_request", "by itself"),
    ],
)
@pytest.mark.usefixtures("replays")
def test_a_wrong_question_is_answered_with_what_is_wrong(
    http: httpx.Client, wrong: dict[str, Any], code: str, sentence: str
) -> None:
    assert sentence in assert_problem(http.post(REPLAY, json=wrong), 422, code)


def test_one_at_a_time_and_the_api_answers_meanwhile(replays: AskedReplays, http: httpx.Client) -> None:
    replays.go_on.clear()
    answers: list[httpx.Response] = []
    first = threading.Thread(target=lambda: answers.append(http.post(REPLAY, json={}, timeout=60)))
    first.start()
    deadline = time.monotonic() + 60
    while not replays.asked:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        refused = http.post(REPLAY, json={})
        assert "Another replay is running" in assert_problem(refused, 429, "busy")
        assert refused.headers["Retry-After"] == "10"
        assert http.get("/api/v1/feeds").status_code == 200
    finally:
        replays.go_on.set()
        first.join(60)
    assert answers[0].status_code == 200
    assert http.post(REPLAY, json={}).status_code == 200


def test_trouble_is_told_and_the_next_one_may_try(replays: AskedReplays, http: httpx.Client) -> None:
    replays.trouble = "the archive at /data cannot be read: no space; free some disk"
    assert "free some disk" in assert_problem(http.post(REPLAY, json={}), 503, "replay_failed")
    replays.trouble = ""
    assert http.post(REPLAY, json={}).status_code == 200


@pytest.mark.usefixtures("replays")
def test_of_a_model_the_gate_has_the_word(http: httpx.Client) -> None:
    assert http.post(REPLAY, json={"model": "site@3"}).json()["notes"] == ["site@3 is refused. It finds half."]
    assert_problem(http.post(REPLAY, json={"model": "site@9"}), 404, "no_such_model")


def test_without_an_archive_or_a_key_there_is_no_replay(http: httpx.Client) -> None:
    assert_problem(http.post(REPLAY, json={}), 503, "archive_off")
    assert_problem(http.post(REPLAY, json={}, headers={"Authorization": "Bearer mms_wrong"}), 401, "key_wrong")


# --- the process -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[SiteConfig, Days]:
    """A site with an hour of one feed in its archive."""
    folder = tmp_path_factory.mktemp("lived")
    site = SiteConfig.model_validate(
        {"site": {"data_dir": folder}, "budget": {"block_s": 30, "warmup_s": 120, "alerts_per_camera_per_day": 120}}
    )
    days = Days(site.budget, 120.0)
    days.live(ordinary(SECONDS, seed=9, events=9))
    days.end()
    ArchiveWriter.from_site(site).write([make_moment(start_s=BEGIN_S, strips=tuple(days.strips))], {})
    return site, days


def test_a_process_of_its_own_answers_from_the_archive(lived: tuple[SiteConfig, Days]) -> None:
    site, days = lived
    question = WhatIf(since_s=BEGIN_S, until_s=BEGIN_S + SECONDS)
    answer = ReplayProcess(site=site).run(question, {"gate": None, "yard": 3.0}, list(days.alerts.values()))
    assert answer["total"] == {
        "now": len(days.told),
        "then": len(days.told),
        "kept": len(days.told),
        "appeared": 0,
        "vanished": 0,
        "over_budget": sum(alert.suppressed for alert in days.alerts.values()),
    }
    assert len(days.told) >= 2


def test_trouble_of_the_process_is_a_sentence(lived: tuple[SiteConfig, Days], tmp_path: Path) -> None:
    question = WhatIf(since_s=BEGIN_S, until_s=BEGIN_S + SECONDS)
    away = lived[0].model_copy(update={"site": lived[0].site.model_copy(update={"data_dir": tmp_path})})
    with pytest.raises(StoreError, match="nothing has been written yet"):
        ReplayProcess(site=away).run(question, {"gate": None}, [])
    with pytest.raises(StoreError, match="ask about fewer days"):
        ReplayProcess(site=lived[0], limit_s=0.01).run(question, {"gate": None}, [])


def test_of_a_version_the_registry_is_asked(tmp_path: Path) -> None:
    site = SiteConfig.model_validate({"site": {"data_dir": tmp_path}})
    registry = Registry(registry_of(site))
    made = registry.add("site", {"model.safetensors": b"x"}, Lineage(code="1"), made_s=1.0)
    process = ReplayProcess(site=site)
    with pytest.raises(StoreError, match="not been tried"):
        process.report(f"site@{made.version}")
    registry.refuse("site", made.version, reason="It finds 40% of 20 events.")
    assert "is refused. Its trial on held-out days: It finds 40%" in process.report(f"site@{made.version}")
    for wrong in ("site", "site@nothing"):
        with pytest.raises(StoreError):
            process.report(wrong)


# --- the terminal ------------------------------------------------------------------------------------------


@pytest.fixture
def url(site: FakeSite, lived: tuple[SiteConfig, Days]) -> Iterator[str]:
    config, days = lived
    site.replays = ReplayProcess(site=config)
    site.add_feed("gate")
    site.now_s = BEGIN_S + SECONDS
    for alert in days.told:
        site.raise_alert(
            **{name: getattr(alert, name) for name in ("feed_id", "end_s", "surprise", "shares")},
            ago_s=site.now_s - alert.start_s,
        )
    with serving(site.app()) as url:
        yield url


def test_the_command_shows_what_would_come_and_go(url: str) -> None:
    where = ["--url", url, "--key", KEY, "--since", str(BEGIN_S), "--until", str(BEGIN_S + SECONDS)]
    done = CliRunner().invoke(command_line, ["replay", *where, "--budget", "2000", "--weight", "sound=2"])
    assert done.exit_code == 0, done.output
    assert "gate" in done.output
    assert "appeared" in done.output
    assert "Thresholds that came from other cameras" in " ".join(done.output.split())
    for wrong, sentence in ((["--weight", "sound"], "MODALITY=WEIGHT"), (["--rule", "vote"], "no fusion rule 'vote'")):
        refused = CliRunner().invoke(command_line, ["replay", *where, *wrong])
        assert refused.exit_code != 0
        assert sentence in refused.output
