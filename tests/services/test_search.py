"""Search over the real API, and from the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from mmstream.errors import StoreError
from mmstream.moments import key
from mmstream.storage.archive import ArchiveWriter
from mmstream.storage.archive_search import ArchiveReader
from mmstream.types import Float32
from services.cli import app as command_line
from services.routes import search as search_module
from tests.services.running import BEARER, KEY, FakeSite, make_jpeg, serving
from tests.services.test_api import assert_problem
from tests.storage.moments import direction, make_moment

SEARCH = "/api/v1/search"


async def red_van(_: str) -> Mapping[str, tuple[str, Float32]]:
    return {"vision": ("clip@1", direction(7).astype(np.float32))}


@pytest.fixture
def archived(site: FakeSite) -> FakeSite:
    """Two feeds; an alert of ``gate`` with a verdict; a picture with the moment of ``yard``."""
    folder = str(site.folder / "archive")
    site.archive = ArchiveReader(folder)
    alert = site.raise_alert("gate", ago_s=600.0)
    site.store.update_alert(alert.alert_id, {"state": "closed", "verdict": "true"})
    writer = ArchiveWriter(folder, keep_days=30, max_gb=1)
    of_alert = {"state": "alert", "alert_id": alert.alert_id, "surprise": 4.0}
    writer.write(
        [
            make_moment("gate", 10.0, text="all quiet at the gate", vectors={"vision": direction(1)}),
            make_moment("gate", 20.0, text="Smoke near the ticket hall!", **of_alert, vectors={"vision": direction(2)}),
            make_moment("yard", 30.0, text="有人打架", picture=key("yard", 30_000), vectors={"vision": direction(2)}),
            make_moment("yard", 40.0, state="suspect", alert_id="yard:1", vectors={"vision": direction(7)}),
        ],
        {"yard:40000": make_jpeg()},
    )
    return site


@pytest.fixture
def http(archived: FakeSite) -> Iterator[httpx.Client]:
    with serving(archived.app()) as url, httpx.Client(base_url=url, headers=BEARER, trust_env=False) as client:
        yield client


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [moment["moment_id"] for moment in answer.json()["moments"]]


def test_without_words_the_newest_come_first(http: httpx.Client) -> None:
    assert ids(http.get(SEARCH)) == ["yard:40000", "yard:30000", "gate:20000", "gate:10000"]


def test_words_find_texts_and_say_why(http: httpx.Client) -> None:
    answer = http.get(SEARCH, params={"q": "smoke"})
    assert ids(answer) == ["gate:20000"]
    (moment,) = answer.json()["moments"]
    assert moment["why"] == ["words: smoke"]
    assert moment["text"] == "Smoke near the ticket hall!"
    assert (moment["state"], moment["verdict"], moment["picture_url"]) == ("alert", "true", None)
    assert moment["alert_id"].startswith("gate:")
    assert answer.json()["searched"] == ["words"]
    assert ids(http.get(SEARCH, params={"q": "打架"})) == ["yard:30000"]


def test_an_encoder_that_knows_words_searches_the_pictures(archived: FakeSite) -> None:
    archived.word_vectors = red_van
    with serving(archived.app()) as url, httpx.Client(base_url=url, headers=BEARER, trust_env=False) as http:
        answer = http.get(SEARCH, params={"q": "red van"})
    assert ids(answer)[0] == "yard:40000"
    assert answer.json()["moments"][0]["why"] == ["vision: 1.00"]
    assert answer.json()["searched"] == ["words", "vision"]


def test_more_like_an_alert_across_feeds(http: httpx.Client) -> None:
    alert_id = http.get(SEARCH, params={"q": "smoke"}).json()["moments"][0]["alert_id"]
    assert ids(http.get(SEARCH, params={"like": alert_id}))[0] == "yard:30000"
    assert ids(http.get(SEARCH, params={"like": "gate:20000", "feed": "gate"})) == ["gate:10000"]


def test_narrowed_by_feed_state_and_time_and_paged(http: httpx.Client) -> None:
    assert ids(http.get(SEARCH, params={"feed": "gate", "state": "alert"})) == ["gate:20000"]
    assert ids(http.get(SEARCH, params={"since": "15", "until": "1970-01-01T00:00:35Z"})) == [
        "yard:30000",
        "gate:20000",
    ]
    first = http.get(SEARCH, params={"limit": 3})
    assert ids(http.get(SEARCH, params={"limit": 3, "cursor": first.json()["next_cursor"]})) == ["gate:10000"]


def test_a_suspicion_that_became_no_alert_names_none(http: httpx.Client) -> None:
    (moment,) = http.get(SEARCH, params={"state": "suspect"}).json()["moments"]
    assert (moment["alert_id"], moment["verdict"]) == (None, None)


def test_the_picture_comes_from_the_media_store_else_from_the_archive(site: FakeSite, http: httpx.Client) -> None:
    suspect, fight = http.get(SEARCH, params={"feed": "yard"}).json()["moments"]
    assert fight["picture_url"] is None  # thinned out meanwhile, and no copy was kept
    assert_problem(http.get("/api/v1/moments/yard:30000/picture.jpg"), 404, "no_picture")
    copy = http.get(suspect["picture_url"])
    assert (copy.headers["Content-Type"], copy.content) == ("image/jpeg", make_jpeg())
    site.media.put(key("yard", 30_000), make_jpeg(10))
    fight = http.get(SEARCH, params={"q": "打架"}).json()["moments"][0]
    assert http.get(fight["picture_url"]).content == make_jpeg(10)
    assert_problem(http.get("/api/v1/moments/nobody:1/picture.jpg"), 404, "no_picture")


def test_wrong_questions_are_problems(http: httpx.Client) -> None:
    assert "no moment or alert" in assert_problem(http.get(SEARCH, params={"like": "x:1"}), 404, "no_such_example")
    assert_problem(http.get(SEARCH, params={"cursor": "x"}), 422, "wrong_cursor")
    assert_problem(http.get(SEARCH, params={"state": "sleeping"}), 422, "wrong_request")
    assert_problem(http.get(SEARCH, params={"since": "yesterday"}), 422, "wrong_request")
    assert_problem(http.get(SEARCH, params={"limit": 101}), 422, "wrong_request")
    assert http.get(SEARCH, headers={"Authorization": ""}).status_code == 401


def test_without_an_archive_search_says_that_it_is_off(site: FakeSite) -> None:
    with serving(site.app()) as url:
        answer = httpx.get(f"{url}{SEARCH}", headers=BEARER, trust_env=False)
    assert "archive.enabled" in assert_problem(answer, 503, "archive_off")


def test_before_the_first_moment_search_says_that_it_is_starting(site: FakeSite) -> None:
    site.archive = ArchiveReader(str(site.folder / "archive"))
    with serving(site.app()) as url:
        answer = httpx.get(f"{url}{SEARCH}", headers=BEARER, trust_env=False)
    assert "is starting" in assert_problem(answer, 503, "archive_unavailable")


def test_too_many_searches_at_once_are_refused(archived: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "MAX_WAITING", 0)
    with serving(archived.app()) as url:
        answer = httpx.get(f"{url}{SEARCH}", headers=BEARER, trust_env=False)
    assert_problem(answer, 503, "busy")


def test_an_archive_that_cannot_be_read_is_no_bug(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreError("the archive at /x cannot be read: gone; move the folder away")

    monkeypatch.setattr(ArchiveReader, "find", broken)
    assert "cannot be read" in assert_problem(http.get(SEARCH), 503, "archive_unavailable")


def test_the_site_says_what_troubles_its_archive(http: httpx.Client, site: FakeSite) -> None:
    assert http.get("/api/v1/site").json()["archive_trouble"] == ""
    site.store.put_value("archive_status", json.dumps({"trouble": "the disk is full", "counters": {}}))
    assert http.get("/api/v1/site").json()["archive_trouble"] == "the disk is full"


def test_openapi_knows_search_with_its_parameters(http: httpx.Client) -> None:
    page = http.get("/openapi.json").json()
    asked = page["paths"][SEARCH]["get"]
    names = {parameter["name"] for parameter in asked["parameters"]}
    assert names == {"q", "like", "feed", "state", "since", "until", "limit", "cursor"}
    assert asked["security"] == [{"key": []}]
    assert "application/problem+json" in asked["responses"]["default"]["content"]
    assert (
        "image/jpeg" in page["paths"]["/api/v1/moments/{moment_id}/picture.jpg"]["get"]["responses"]["200"]["content"]
    )


# --- the terminal ------------------------------------------------------------------------------------------


def run(http: httpx.Client, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(
        command_line, ["search", *arguments, "--url", str(http.base_url).rstrip("/"), "--key", KEY], terminal_width=200
    )
    return done.exit_code, done.stdout, done.stderr


def test_the_command_finds_by_words_and_by_example(http: httpx.Client) -> None:
    code, printed, _ = run(http, "smoke", "--json")
    (moment,) = json.loads(printed)
    assert (code, moment["moment_id"]) == (0, "gate:20000")
    code, printed, _ = run(http, "--like", "gate:20000", "--feed", "yard", "--limit", "1", "--json")
    assert [moment["moment_id"] for moment in json.loads(printed)] == ["yard:30000"]
    code, printed, _ = run(http, "打架", "--since", "15", "--state", "normal")
    assert code == 0
    assert "yard" in printed


def test_the_command_says_when_nothing_was_found_and_when_it_cannot_search(http: httpx.Client) -> None:
    assert run(http, "unheard-of")[:2] == (0, "nothing found\n")
    code, _, complaint = run(http, "--like", "x:1")
    assert code == 1
    assert "no moment or alert" in complaint
    assert run(http, "--state", "sleeping")[0] == 2
