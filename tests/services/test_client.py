"""The client and the terminal commands against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from services.cli_client import alerts_app, feeds_app
from services.client import ApiError, SiteClient
from tests.services.running import KEY, FakeSite, serving

app = typer.Typer()
app.add_typer(feeds_app, name="feeds")
app.add_typer(alerts_app, name="alerts")


@pytest.fixture
def url(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(site.app()) as url:
        monkeypatch.setenv("MMSTREAM_URL", url)
        monkeypatch.setenv("MMSTREAM_KEY", KEY)
        yield url


@pytest.fixture
def client(url: str) -> Iterator[SiteClient]:
    with SiteClient(url, KEY) as client:
        yield client


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


# --- the client ----------------------------------------------------------------------------------------


def test_feeds_are_added_changed_and_removed(client: SiteClient) -> None:
    assert client.add_feed({"id": "quay", "url": "rtsp://x/y"})["probe"] == {"video": {"codec": "h264"}}
    assert client.patch_feed("quay", {"paused": True})["paused"] is True
    assert [feed["feed_id"] for feed in client.feeds()] == ["quay"]
    client.remove_feed("quay")
    assert list(client.feeds()) == []


def test_alerts_are_read_across_pages_up_to_the_limit(site: FakeSite, client: SiteClient) -> None:
    wanted = [site.raise_alert(ago_s=10.0 + n).alert_id for n in range(620)]
    assert [alert["alert_id"] for alert in client.alerts()] == wanted
    assert [alert["alert_id"] for alert in client.alerts(limit=510)] == wanted[:510]
    assert list(client.alerts(feed="nobody")) == []


def test_an_error_is_the_sites_own_sentence(client: SiteClient) -> None:
    with pytest.raises(ApiError, match="There is no alert 'x:1'") as caught:
        client.alert("x:1")
    assert (caught.value.status, caught.value.code) == (404, "no_such_alert")


def test_a_wrong_key_ends_following_at_once(url: str) -> None:
    with SiteClient(url, "wrong") as client, pytest.raises(ApiError, match="not the site's key"):
        next(client.follow(wait=lambda _: None))


def test_following_survives_the_server_and_misses_nothing(site: FakeSite) -> None:
    class Broken(httpx.SyncByteStream):
        """Lets one event through, then the line breaks."""

        def __init__(self, stream: httpx.Response) -> None:
            self._response = stream

        def __iter__(self) -> Iterator[bytes]:
            text = ""
            for chunk in self._response.iter_text():
                text += chunk
                yield chunk.encode()
                if "data:" in text:
                    raise httpx.ReadError("the line broke")

    class Breaking(httpx.BaseTransport):
        def __init__(self) -> None:
            self.inner = httpx.HTTPTransport()
            self.resumed: list[str | None] = []

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            self.resumed.append(request.headers.get("Last-Event-ID"))
            response = self.inner.handle_request(request)
            response.request = request
            return httpx.Response(response.status_code, headers=response.headers, stream=Broken(response))

        def close(self) -> None:
            self.inner.close()

    transport = Breaking()
    with serving(site.app()) as url, SiteClient(url, KEY, transport=transport) as client:
        events = client.follow(0, wait=lambda _: None)
        found = []
        for number in range(3):
            alert = site.raise_alert(ago_s=100.0 - number)
            found.append(next(events))
            assert found[-1].alert["alert_id"] == alert.alert_id
    assert [event.sequence for event in found] == [1, 2, 3]
    assert transport.resumed == ["0", "1", "2"]


def test_a_site_that_is_not_there_is_one_sentence() -> None:
    with SiteClient("http://127.0.0.1:9", KEY) as client, pytest.raises(ApiError, match="no site answers at"):
        list(client.feeds())


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ApiError, match="want a URL such as"):
        SiteClient("127.0.0.1:8000", KEY)


# --- the commands --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("url")
def test_feeds_are_added_listed_paused_and_removed_from_the_terminal(site: FakeSite) -> None:
    added = run("feeds", "add", "quay", "rtsp://guard:s3cr3t@10.0.0.8/x", "--name", "Quay [2]", "--no-audio")
    assert added.exit_code == 0, added.output
    record = site.store.feed("quay")
    assert record is not None
    assert (record.settings["name"], record.settings["audio"]) == ("Quay [2]", False)
    listed = run("feeds", "list")
    assert "quay" in listed.output
    assert "s3cr3t" not in listed.output
    assert json.loads(run("feeds", "list", "--json").output)[0]["feed_id"] == "quay"
    for command, paused in (("pause", True), ("resume", False)):
        assert run("feeds", command, "quay").exit_code == 0
        record = site.store.feed("quay")
        assert record is not None
        assert record.paused is paused
    assert run("feeds", "remove", "quay").exit_code == 0
    assert site.store.feed("quay") is None


@pytest.mark.usefixtures("url")
def test_alerts_are_listed_shown_acknowledged_and_closed_from_the_terminal(site: FakeSite) -> None:
    alert_id = site.raise_alert(sentence="A [bold] sound.").alert_id
    assert "acknowledged" not in run("alerts", "list").output
    assert "A [bold] sound." in run("alerts", "show", alert_id).output
    assert json.loads(run("alerts", "list", "--json").output)[0]["alert_id"] == alert_id
    assert json.loads(run("alerts", "list", "--json", "--state", "closed").output) == []
    assert run("alerts", "ack", alert_id).exit_code == 0
    assert run("alerts", "close", alert_id, "--verdict", "false_alarm", "--note", "sweeper").exit_code == 0
    shown = json.loads(run("alerts", "show", alert_id, "--json").output)
    assert (shown["state"], shown["verdict"], shown["note"]) == ("closed", "false_alarm", "sweeper")


@pytest.mark.usefixtures("url")
def test_follow_prints_events_until_it_has_enough(site: FakeSite) -> None:
    first, second = site.raise_alert(ago_s=20), site.raise_alert(ago_s=10)
    lines = run("alerts", "follow", "--json", "--last-event-id", "0", "--count", "2").output.splitlines()
    assert [json.loads(line)["alert"]["alert_id"] for line in lines] == [first.alert_id, second.alert_id]


@pytest.mark.usefixtures("url")
def test_a_failure_is_one_sentence_on_stderr_and_exit_code_1() -> None:
    result = run("alerts", "show", "x:1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "mmstream: There is no alert 'x:1'; GET /api/v1/alerts lists them.\n"


@pytest.mark.parametrize(
    "args", [("alerts", "close", "x:1"), ("alerts", "close", "x:1", "--verdict", "maybe"), ("feeds", "add", "only-id")]
)
def test_wrong_use_is_exit_code_2(args: tuple[str, ...]) -> None:
    assert run(*args).exit_code == 2


@pytest.mark.usefixtures("url")
def test_the_key_is_read_from_the_sites_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMSTREAM_KEY")
    result = run("feeds", "list", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "api.key" in result.stderr
    (tmp_path / "api.key").write_text(KEY + "\n")
    assert run("feeds", "list", "--data-dir", str(tmp_path)).exit_code == 0


@pytest.mark.parametrize("command", ["list", "add", "remove", "pause", "resume"])
def test_every_feeds_command_has_help(command: str) -> None:
    assert run("feeds", command, "--help").exit_code == 0
