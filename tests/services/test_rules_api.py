"""Rules over HTTP, against the real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from mmstream.config import RuleConfig
from mmstream.rules import book
from tests.services.running import BEARER, FakeSite

URL = "/api/v1/rules"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    site = FakeSite(tmp_path)
    yield site
    site.close()


@pytest.fixture
def client(site: FakeSite) -> Iterator[TestClient]:
    with TestClient(site.app(), headers=BEARER) as client:
        yield client


def test_a_rule_is_set_listed_changed_and_removed(client: TestClient) -> None:
    made = client.put(f"{URL}/fire", json={"looks_like": "smoke or fire"})
    assert (made.status_code, made.json()["settings"]["alerts_per_day"]) == (201, 1.0)
    changed = client.put(f"{URL}/fire", json={"looks_like": "flames", "feeds": ["gate-3"]})
    assert changed.status_code == 200
    (rule,) = client.get(URL).json()["rules"]
    assert (rule["name"], rule["settings"]["looks_like"], rule["settings"]["feeds"]) == ("fire", "flames", ["gate-3"])
    assert client.delete(f"{URL}/fire").status_code == 204
    assert client.get(URL).json() == {"rules": []}
    gone = client.delete(f"{URL}/fire")
    assert (gone.status_code, gone.json()["code"]) == (404, "no_such_rule")
    assert gone.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("fire", {}, "asks for nothing"),
        ("fire", {"looks_like": "flames", "alerts_per_day": 0}, "alerts_per_day"),
        ("fire", {"looks_like": "flames", "colour": "red"}, "colour"),
        ("fire", {"looks_like": "flames", "name": "smoke"}, "keeps its name"),
        ("no%20name", {"looks_like": "flames"}, "name"),
    ],
)
def test_a_wrong_rule_is_refused_in_one_sentence(
    client: TestClient, name: str, settings: dict[str, Any], words: str
) -> None:
    answer = client.put(f"{URL}/{name}", json=settings)
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong_setting")
    assert words in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"].strip()
    assert client.get(URL).json() == {"rules": []}


def test_each_rule_says_how_far_it_is_on_each_feed(client: TestClient, site: FakeSite) -> None:
    site.add_feed("gate-3")
    client.put(f"{URL}/fire", json={"looks_like": "smoke or fire"})
    client.put(f"{URL}/help", json={"says": ["help me"]})
    on_gate = {"state": "provisional", "threshold": 3.25, "alerts_today": 1, "alerts_suppressed": 0}
    on_gate |= {"alerts_denied": 2, "open_alert": None, "trouble": "", "windows_learned": 5}
    site.store.put_statuses({"gate-3": {"state": "live", "analysis": {"rules": {"fire": on_gate}}}})
    fire, other = client.get(URL).json()["rules"]
    del on_gate["windows_learned"]
    assert (fire["feeds"], other["feeds"]) == ({"gate-3": on_gate}, {})


def test_there_is_a_most_of_rules(client: TestClient, site: FakeSite) -> None:
    rules = [RuleConfig(name=f"r{number}", says=("word",)) for number in range(book.MAX_RULES)]
    site.store.put_value(book.RULES, book.write(rules))
    refused = client.put(f"{URL}/one-more", json={"says": ["word"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_rules")
    assert client.put(f"{URL}/r7", json={"says": ["other"]}).status_code == 200


def test_nobody_sets_a_rule_without_the_key(site: FakeSite) -> None:
    with TestClient(site.app()) as stranger:
        assert stranger.put(f"{URL}/fire", json={"looks_like": "fire"}).status_code == 401
    assert site.store.value(book.RULES) is None
