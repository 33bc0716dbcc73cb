"""Versions of models over HTTP and from the terminal, against a real registry."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from mmstream.training.registry import Lineage, ModelVersion
from services.cli import app as command_line
from services.model_record import MODEL_LOOKS, MODEL_SWAPS, SwapRecord, What, read_swaps
from tests.services.running import BEARER, KEY, FakeSite, serving

URL = "/api/v1/models"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    site = FakeSite(tmp_path)
    yield site
    site.close()


@pytest.fixture
def client(site: FakeSite) -> Iterator[TestClient]:
    with TestClient(site.app(), headers=BEARER) as client:
        yield client


def add(site: FakeSite, number: int, name: str = "site") -> ModelVersion:
    lineage = Lineage(code="1.0", feeds=("gate-3",), num_windows=number, metrics={"loss": 0.5})
    return site.registry.add(name, {"model.safetensors": b"w%d" % number}, lineage, made_s=1_700_000_000.0 + number)


def promote(site: FakeSite, version: ModelVersion, reason: str = "Better.") -> None:
    site.registry.promote(version.name, version.version, reason=reason, at_s=1_700_000_100.0)


def note(site: FakeSite, record: SwapRecord) -> None:
    site.store.put_value(MODEL_SWAPS, json.dumps({record.model: dataclasses.asdict(record)}))


def code(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


# --- over HTTP ---------------------------------------------------------------------------------------------


def test_a_site_that_has_trained_nothing_has_no_models(client: TestClient) -> None:
    assert client.get(URL).json() == {"models": []}
    assert code(client.get(f"{URL}/site")) == (404, "no_such_model")


def test_models_are_listed_with_what_is_in_use_and_why(site: FakeSite, client: TestClient) -> None:
    first, second = add(site, 1), add(site, 2)
    promote(site, first)
    promote(site, second, "It finds more.")
    site.store.put_value(MODEL_LOOKS, json.dumps({"site": "2 alerts."}))
    (model,) = client.get(URL).json()["models"]
    assert (model["name"], model["version"], model["before"]) == ("site", second.version, [first.version])
    assert (model["reason"], model["look"], model["swap"]) == ("It finds more.", "2 alerts.", None)
    assert model["encoders"] == ["site", "site-sound"]
    detail = client.get(f"{URL}/site").json()
    assert [(v["version"], v["state"]) for v in detail["versions"]] == [
        (second.version, "current"),
        (first.version, "former"),
    ]


def test_a_version_tells_where_it_comes_from(site: FakeSite, client: TestClient) -> None:
    version = add(site, 7)
    told = client.get(f"{URL}/site/{version.version}").json()
    assert (told["lineage"]["feeds"], told["lineage"]["num_windows"]) == (["gate-3"], 7)
    assert told["lineage"]["metrics"] == {"loss": 0.5}
    assert told["files"] == dict(version.files)
    assert code(client.get(f"{URL}/site/nope")) == (404, "no_such_version")


def test_a_candidate_is_put_to_use_in_the_background(site: FakeSite, client: TestClient) -> None:
    version = add(site, 1)
    answer = client.post(f"{URL}/site/promote", json={"version": version.version})
    assert answer.status_code == 202
    assert site.commands.swaps == [("promote", "site", version.version, "Put to use by hand.")]


def test_what_the_gate_has_refused_is_put_to_use_only_by_force(site: FakeSite, client: TestClient) -> None:
    version = add(site, 1)
    site.registry.refuse("site", version.version, reason="It finds 10 % of 40 events.")
    refused = client.post(f"{URL}/site/promote", json={"version": version.version})
    assert code(refused) == (409, "refused")
    assert "It finds 10 % of 40 events." in refused.json()["detail"]
    assert site.commands.swaps == []
    assert client.post(f"{URL}/site/promote", json={"version": version.version, "force": True}).status_code == 202
    assert site.commands.swaps[0][3].endswith("The gate had refused it: It finds 10 % of 40 events.")


def test_what_is_in_use_already_is_not_swapped(site: FakeSite, client: TestClient) -> None:
    version = add(site, 1)
    promote(site, version)
    answer = client.post(f"{URL}/site/promote", json={"version": version.version})
    assert code(answer) == (409, "in_use_already")
    assert site.commands.swaps == []


def test_two_swaps_at_once_are_refused(site: FakeSite, client: TestClient) -> None:
    version = add(site, 1)
    site.commands.swapping = "adapter.vision"
    answer = client.post(f"{URL}/site/promote", json={"version": version.version})
    assert code(answer) == (409, "swap_under_way")


def test_a_version_is_rolled_back_with_a_reason(site: FakeSite, client: TestClient) -> None:
    assert code(client.post(f"{URL}/site/rollback")) == (404, "no_such_model")
    version = add(site, 1)
    assert code(client.post(f"{URL}/site/rollback")) == (409, "nothing_in_use")
    promote(site, version)
    assert client.post(f"{URL}/site/rollback", json={"reason": "Too many alerts."}).status_code == 202
    assert client.post(f"{URL}/site/rollback").status_code == 202
    assert site.commands.swaps == [
        ("roll back", "site", "", "Too many alerts."),
        ("roll back", "site", "", "Rolled back by hand."),
    ]


def test_what_became_of_the_last_swap_is_told(site: FakeSite, client: TestClient) -> None:
    version = add(site, 1)
    note(site, SwapRecord(model="site", version=version.version, began_s=5.0).failed("No replica answers.", 9.0))
    (model,) = client.get(URL).json()["models"]
    assert (model["swap"]["state"], model["swap"]["sentence"]) == ("failed", "No replica answers.")


@pytest.mark.parametrize("name", ["..%2F..", "-x", "a%20b"])
def test_names_that_lead_elsewhere_are_none(client: TestClient, name: str) -> None:
    assert client.get(f"{URL}/{name}").status_code in (404, 422)


def test_nobody_without_the_key_sees_or_changes_models(site: FakeSite) -> None:
    version = add(site, 1)
    with TestClient(site.app()) as stranger:
        assert stranger.get(URL).status_code == 401
        assert stranger.post(f"{URL}/site/promote", json={"version": version.version}).status_code == 401
    assert site.commands.swaps == []


def test_a_record_of_a_newer_program_is_read() -> None:
    text = json.dumps({"site": {"model": "site", "version": "v", "colour": "red"}})
    assert read_swaps(text)["site"].version == "v"
    assert read_swaps(None) == {}


# --- from the terminal -------------------------------------------------------------------------------------


def run(url: str, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(command_line, ["models", *words, "--url", url, "--key", KEY], env={"COLUMNS": "200"})
    return done.exit_code, done.output


@pytest.fixture
def url(site: FakeSite) -> Iterator[str]:
    with serving(site.app()) as url:
        yield url


def test_the_terminal_lists_and_shows_versions(site: FakeSite, url: str) -> None:
    version = add(site, 1)
    promote(site, version, "It finds more.")
    status, printed = run(url, "list")
    assert status == 0
    assert version.version in printed
    status, printed = run(url, "list", "--json")
    assert json.loads(printed)[0]["version"] == version.version
    status, printed = run(url, "show", "site")
    assert (status, version.version in printed, "It finds more." in printed) == (0, True, True)
    status, printed = run(url, "show", "site", version.version, "--json")
    assert json.loads(printed)["lineage"]["num_windows"] == 1


def test_the_terminal_puts_a_version_to_use_and_waits_until_it_is(site: FakeSite, url: str) -> None:
    made = add(site, 1)

    async def at_once(what: What, model: str, version: str, reason: str) -> None:
        promote(site, made, reason)
        record = SwapRecord(model=model, version=version, what=what, began_s=site.now_s)
        done = dataclasses.replace(record, state="done", seconds={"push": 1.5}, ended_s=site.now_s + 2.0)
        note(site, done)

    site.commands.begin_swap = at_once  # type: ignore[method-assign]
    status, printed = run(url, "promote", "site", made.version)
    assert status == 0, printed
    assert made.version in printed
    assert "2.0 s" in printed


def test_the_terminal_says_why_a_version_is_not_put_to_use(site: FakeSite, url: str) -> None:
    made = add(site, 1)
    site.registry.refuse("site", made.version, reason="It finds nothing.")
    status, printed = run(url, "promote", "site", made.version)
    assert (status, "It finds nothing." in printed) == (1, True)

    async def in_vain(what: What, model: str, version: str, reason: str) -> None:
        del reason
        note(
            site,
            SwapRecord(model=model, what=what, version=version, began_s=site.now_s).failed("It does not load.", 1.0),
        )

    site.commands.begin_swap = in_vain  # type: ignore[method-assign]
    status, printed = run(url, "promote", "site", made.version, "--force")
    assert (status, "It does not load." in printed) == (1, True)


def test_the_terminal_rolls_back(site: FakeSite, url: str) -> None:
    promote(site, add(site, 1))
    begin, asked = site.commands.begin_swap, site.now_s

    async def at_once(what: What, model: str, version: str, reason: str) -> None:
        await begin(what, model, version, reason)
        note(site, SwapRecord(model=model, what=what, state="done", began_s=asked, ended_s=asked))

    site.commands.begin_swap = at_once  # type: ignore[method-assign]
    status, printed = run(url, "rollback", "site", "--reason", "Too loud.")
    assert (status, "as it is shipped" in printed) == (0, True), printed
    assert site.commands.swaps == [("roll back", "site", "", "Too loud.")]


def test_an_alert_tells_which_versions_have_judged_it(site: FakeSite, client: TestClient, url: str) -> None:
    alert = site.raise_alert(versions={"site": "site@7", "motion": "motion@1"}, models=("motion@1", "site@7"))
    told = client.get(f"/api/v1/alerts/{alert.alert_id}").json()
    assert told["versions"] == {"site": "site@7", "motion": "motion@1"}
    words = ["alerts", "show", alert.alert_id, "--url", url, "--key", KEY]
    assert "site@7" in CliRunner().invoke(command_line, words, env={"COLUMNS": "200"}).output
