"""``mmstream train``: against a site over HTTP, and on a folder of clips without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmstream.sources.synthetic.render import render_clip
from mmstream.training.registry import Registry
from services.cli import app
from services.client import SiteClient
from services.training_jobs import TrainingJob, TrainingRequest, trainings_of
from tests.services.running import KEY, FakeSite, serving
from tests.services.test_train_routes import BookOnly

KIND = "tests.cluster.tiny_trainee:TinyKind"
RESULT = {"subject": "site", "outcome": "refused", "version": "v-2", "sentence": "It finds 40% of 20 events."}


class AtOnce(BookOnly):
    """A trainer whose trainings have ended the moment they are started."""

    state: Any = "done"

    async def start(self, request: TrainingRequest) -> TrainingJob:
        started = trainings_of(self._site.store).begin(request, self._site.now_s)
        assert started.current is not None
        self.write(started.end(self.state, "site: refused.", self._site.now_s + 60, results=(RESULT,)))
        return started.current


@pytest.fixture
def site(tmp_path: Path) -> Iterator[FakeSite]:
    site = FakeSite(tmp_path / "site")
    site.training = AtOnce(site)
    yield site
    site.close()


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_it_follows_the_site_s_training_to_its_end_and_says_what_came_of_it(site: FakeSite) -> None:
    with serving(site.app()) as url:
        code, text = run("train", "--model", "site", "--no-promote", "--url", url, "--key", KEY)
    assert code == 0
    assert "It finds 40%" in text
    (job,) = trainings_of(site.store).past
    assert (job.models, job.promote) == (("site",), False)


def test_a_program_is_given_the_job_and_a_failed_one_is_a_failure(site: FakeSite) -> None:
    assert isinstance(site.training, AtOnce)
    site.training.state = "failed"
    with serving(site.app()) as url:
        code, text = run("train", "--json", "-", "--url", url, "--key", KEY)
    assert code == 1
    assert json.loads(text.splitlines()[-1])["results"][0]["version"] == "v-2"


def test_a_training_that_runs_is_stopped(site: FakeSite) -> None:
    site.training = BookOnly(site)
    with serving(site.app()) as url, SiteClient(url, KEY) as client:
        started = client.train({"models": ["site"]})
        refused = run("train", "--url", url, "--key", KEY)
        code, text = run("train", "--cancel", "--url", url, "--key", KEY)
    assert (code, started["job"] in text) == (0, True)
    assert (refused[0], started["job"] in refused[1]) == (1, True)
    current = trainings_of(site.store).current
    assert current is not None
    assert current.phase == "stopping"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    render_clip("walkway", folder / "monday.mp4", duration_s=8, seed=1)
    return folder


def test_clips_train_a_model_without_a_site_and_promote_it(clips: Path, tmp_path: Path) -> None:
    registry, out = tmp_path / "registry", tmp_path / "report.json"
    code, text = run("train", "--clips", clips, "--models", registry, "--model", KIND, "--json", out)
    assert code == 0, text
    current = Registry(registry).current("tiny")
    assert current is not None
    assert "finds 100% of 20 events" in current.reason
    (entry,) = json.loads(out.read_text())["entries"]
    assert (entry["outcome"], entry["version"]) == ("promoted", current.version)
    assert len(entry["epochs"]) > 1


def test_what_is_not_to_be_promoted_waits(clips: Path, tmp_path: Path) -> None:
    code, _ = run("train", "--clips", clips, "--models", tmp_path, "--model", KIND, "--no-promote")
    (version,) = Registry(tmp_path).versions("tiny")
    assert (code, version.state) == (0, "candidate")


def test_eight_seconds_are_too_little_to_learn_from_and_that_is_no_success(clips: Path, tmp_path: Path) -> None:
    code, text = run("train", "--clips", clips, "--models", tmp_path)
    assert (code, "too little to learn from" in text) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "somewhere"], "--clips"),
        (["--clips", "nowhere"], "--models"),
        (["--clips", "nowhere", "--models", "somewhere"], "nowhere"),
        (["--clips", ".", "--models", "somewhere", "--model", "everything"], "everything"),
        (["--clips", ".", "--models", "somewhere", "--feed", "gate-3"], "--feed"),
    ],
)
def test_wrong_use_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run("train", *words)
    assert (code, said in text) == (2, True), text
