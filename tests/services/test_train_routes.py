"""Training over HTTP, against the real store and a trainer that only keeps its book."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.training_jobs import (
    MAX_PAST,
    TRAINING_NOW,
    TRAINING_PAST,
    TrainingJob,
    TrainingRequest,
    Trainings,
    read_trainings,
    trainings_of,
)
from tests.services.running import BEARER, FakeSite

URL = "/api/v1/train"


class BookOnly:
    """`TrainingCommands` straight on the store: what is started runs for ever."""

    def __init__(self, site: FakeSite) -> None:
        self._site = site
        self.models: Sequence[str] = ("expectation", "site")
        self.promote = True

    async def start(self, request: TrainingRequest) -> TrainingJob:
        return self._keep(trainings_of(self._site.store).begin(request, self._site.now_s))

    async def cancel(self) -> TrainingJob | None:
        known = trainings_of(self._site.store)
        return None if known.current is None else self._keep(known.note({"phase": "stopping"}))

    def _keep(self, trainings: Trainings) -> TrainingJob:
        self.write(trainings)
        assert trainings.current is not None
        return trainings.current

    def write(self, trainings: Trainings) -> None:
        self._site.store.put_value(TRAINING_NOW, trainings.now_json())
        self._site.store.put_value(TRAINING_PAST, trainings.past_json())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    site = FakeSite(tmp_path)
    site.training = BookOnly(site)
    yield site
    site.close()


@pytest.fixture
def client(site: FakeSite) -> Iterator[TestClient]:
    with TestClient(site.app(), headers=BEARER) as client:
        yield client


def test_a_training_is_started_seen_and_stopped(client: TestClient, site: FakeSite) -> None:
    site.add_feed("gate-3")
    assert client.get(URL).json() == {"enabled": True, "current": None, "last": []}
    answer = client.post(URL, json={"models": ["expectation"], "feeds": ["gate-3"], "promote": False})
    assert (answer.status_code, answer.headers["location"]) == (202, URL)
    started = answer.json()
    assert (started["models"], started["feeds"], started["promote"]) == (["expectation"], ["gate-3"], False)
    assert (started["state"], started["nightly"], started["percent"]) == ("running", False, 0.0)
    assert client.get(URL).json()["current"] == started
    stopped = client.delete(URL)
    assert (stopped.status_code, stopped.json()["phase"]) == (202, "stopping")


def test_without_a_body_the_site_s_own_models_are_trained(client: TestClient) -> None:
    started = client.post(URL).json()
    assert (started["models"], started["feeds"], started["promote"]) == (["expectation", "site"], [], True)


def test_a_second_training_is_refused_in_a_sentence(client: TestClient) -> None:
    first = client.post(URL).json()["job"]
    second = client.post(URL)
    assert (second.status_code, second.json()["code"]) == (409, "training_running")
    assert first in second.json()["detail"]
    assert second.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"models": ["everything"]}, 422, "everything"),
        ({"feeds": ["nowhere"]}, 404, "nowhere"),
        ({"epochs": 3}, 422, "epochs"),
        ({"promote": "perhaps"}, 422, "promote"),
    ],
)
def test_a_wrong_wish_is_refused_in_a_sentence(
    client: TestClient, body: dict[str, Any], status: int, word: str
) -> None:
    answer = client.post(URL, json=body)
    assert answer.status_code == status
    assert word in answer.json()["detail"]
    assert client.get(URL).json()["current"] is None


def test_where_none_runs_none_is_stopped(client: TestClient) -> None:
    answer = client.delete(URL)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_training")


def test_a_site_that_does_not_learn_says_so(site: FakeSite) -> None:
    site.training = None
    with TestClient(site.app(), headers=BEARER) as client:
        assert client.get(URL).json()["enabled"] is False
        answer = client.post(URL)
        assert (answer.status_code, answer.json()["code"]) == (503, "training_off")


def test_nobody_trains_without_the_key(site: FakeSite) -> None:
    with TestClient(site.app()) as stranger:
        assert {stranger.post(URL).status_code, stranger.get(URL).status_code} == {401}
    assert trainings_of(site.store).current is None


def test_those_that_have_ended_are_listed_newest_first_and_say_why(client: TestClient, site: FakeSite) -> None:
    trainings = Trainings()
    for number in range(MAX_PAST + 3):
        trainings = trainings.begin(TrainingRequest(models=("site",), nightly=True), site.now_s + number)
        result = {"subject": "site", "outcome": "refused", "sentence": "It finds less.", "figures": {"loss": 0.5}}
        trainings = trainings.end("done", f"site: refused, {number}.", site.now_s + number + 0.5, results=(result,))
    site.store.put_value(TRAINING_PAST, trainings.past_json())
    last = client.get(URL).json()["last"]
    assert len(last) == MAX_PAST
    assert last[0]["sentence"] == f"site: refused, {MAX_PAST + 2}."
    assert last[0]["results"][0]["sentence"] == "It finds less."


def test_what_is_known_of_trainings_survives_the_store() -> None:
    request = TrainingRequest(models=("expectation",), feeds=("a",), promote=False, nightly=True)
    running = Trainings().begin(request, 1_000.0).note({"phase": "learning", "figures": {"loss": 0.25}, "share": 0.5})
    assert read_trainings(running.now_json(), running.past_json()) == running
    assert running.nightly_s == 1_000.0
    ended = running.end("failed", "No light.", 2_000.0)
    again = read_trainings(ended.now_json(), ended.past_json())
    assert (again.current, again.past[0].sentence, again.nightly_s) == (None, "No light.", 1_000.0)


def test_a_training_by_hand_leaves_the_night_s_own_one_due() -> None:
    assert Trainings().begin(TrainingRequest(models=("site",)), 1_000.0).nightly_s is None
