"""Wrong settings give one clear sentence with the line, and never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mmstream.config import SiteConfig, load_site, resolve
from mmstream.errors import ConfigError, redact
from services.cli import app

GOOD = """\
budget:
  alerts_per_camera_per_day: 3
feeds:
  - id: gate-3
    url: rtsp://guard:${GATE_PASSWORD}@127.0.0.1:554/live
  - id: hall
    url: recordings/hall.mp4
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    return path


def test_a_good_file_is_read_and_the_secret_stays_a_reference(tmp_path: Path) -> None:
    site = load_site(write(tmp_path, GOOD), {"GATE_PASSWORD": "s3cr3t"})
    assert site.budget.alerts_per_camera_per_day == 3
    assert "s3cr3t" not in site.model_dump_json()
    assert resolve(site.feeds[0].url, {"GATE_PASSWORD": "s3cr3t"}).startswith("rtsp://guard:s3cr3t@")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("gate:\n  enbled: true\n", 2, ["gate.enbled", "enabled"], id="unknown key"),
        pytest.param(GOOD, 5, ["GATE_PASSWORD", "not set"], id="missing environment variable"),
        pytest.param(
            "budget:\n  alerts_per_camera_per_day: -1\n", 2, ["alerts_per_camera_per_day", "-1"], id="negative budget"
        ),
        pytest.param(
            "feeds:\n  - {id: a, url: a.mp4}\n  - {id: a, url: b.mp4}\n", 1, ["'a'", "twice"], id="duplicate id"
        ),
        pytest.param("feeds:\n  - {id: a}\n", 2, ["feeds.0.url", "missing"], id="feed without url"),
        pytest.param("feeds:\n  - {id: a, url: 'gopher://x'}\n", 2, ["gopher", "rtsp"], id="unknown scheme"),
        pytest.param("feeds:\n  - {id: 'a:b', url: a.mp4}\n", 2, ["feeds.0.id", "a:b"], id="colon in id"),
        pytest.param("budget: [\n", 2, ["not YAML"], id="not yaml"),
        pytest.param("- a\n", 1, ["sections"], id="a list"),
    ],
)
def test_wrong_settings_name_the_line_the_value_and_the_cure(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_site(path, {})
    assert f"site.yaml:{line}" in caught.value.sentence
    for word in words:
        assert word in caught.value.sentence
    done = CliRunner().invoke(app, ["run", str(path)], env={"GATE_PASSWORD": None})
    assert done.exit_code == 2
    assert words[0] in done.stderr.replace("\n", "")


def test_a_file_that_is_not_there_is_wrong_use() -> None:
    done = CliRunner().invoke(app, ["run", "no/such/site.yaml"])
    assert done.exit_code == 2
    assert "no/such/site.yaml" in done.stderr.replace("\n", "")


def test_every_setting_survives_the_trip_to_an_actor() -> None:
    site = SiteConfig()
    assert SiteConfig.model_validate_json(site.model_dump_json()) == site


PASSWORDS = st.text(st.characters(exclude_characters=" /\n\r\t\x0b\x0c", exclude_categories=["Z", "C"]), min_size=4)


@given(PASSWORDS, st.sampled_from(["rtsp", "rtsps", "http", "redis"]))
def test_no_password_in_a_url_survives_redaction(password: str, scheme: str) -> None:
    text = f"cannot open {scheme}://guard:{password}@10.0.0.7:554/live?channel=1: it was refused"
    cleaned = redact(text)
    assert f":{password}@" not in cleaned
    assert "10.0.0.7:554/live?channel=1" in cleaned
