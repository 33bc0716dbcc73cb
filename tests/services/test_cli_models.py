"""``mmstream models pull`` against a Hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

from mmstream.config import SiteConfig
from mmstream.errors import ConfigError
from services.cli import app
from services.cli_models import wanted_models
from tests.services.fake_hub import FakeHub, serving

WEIGHTS = save({"weight": np.arange(30_000, dtype=np.float32)})
MODEL = {
    "config.json": b'{"model_type": "vit"}',
    "preprocessor_config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"a pickle",
    "modeling_own.py": b"print('code')",
    "onnx/model.safetensors": b"another format",
    "README.md": b"about it",
}
WANTED = {"config.json", "preprocessor_config.json", "model.safetensors"}


def run_pull(hub_url: str, home: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """-> (exit code, what it printed, what it said). A process of its own: the Hub's address is read once."""
    environment = {**os.environ, "HF_ENDPOINT": hub_url, "HF_HOME": str(home), "HF_HUB_ETAG_TIMEOUT": "5"}
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "models", "pull", "--json", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}, done.stderr


@pytest.fixture
def hub() -> Any:
    with serving({"someone/tiny": MODEL}) as running:
        yield running


def test_a_pulled_model_is_whole_and_is_found_again_when_there_is_no_network(hub: FakeHub, tmp_path: Path):
    code, printed, said = run_pull(hub.url, tmp_path / "home", "--model", "someone/tiny")
    assert code == 0, said
    row = printed["models"][0]
    assert {file["name"]: file["checked"] for file in row["files"]} == {
        "config.json": "git-sha1",
        "preprocessor_config.json": "git-sha1",
        "model.safetensors": "sha256",
    }
    assert set(hub.asked) == WANTED, "no pickles, no code, no other formats"
    assert (Path(row["folder"]) / "model.safetensors").read_bytes() == WEIGHTS
    gone = "http://127.0.0.1:9"
    code, printed, said = run_pull(gone, tmp_path / "home", "--check", "--model", "someone/tiny")
    assert code == 0, said
    assert printed["models"][0]["folder"] == row["folder"]


def test_a_file_that_changed_on_the_disk_is_named(hub: FakeHub, tmp_path: Path):
    where = ("--to", str(tmp_path / "models"), "--model", "someone/tiny")
    code, printed, said = run_pull(hub.url, tmp_path / "home", *where)
    assert code == 0, said
    assert Path(printed["models"][0]["folder"]) == tmp_path / "models" / "someone" / "tiny"
    weights = tmp_path / "models" / "someone" / "tiny" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    code, printed, _ = run_pull(hub.url, tmp_path / "home", "--check", *where)
    assert code == 1
    assert printed["models"][0]["problems"] == [
        "model.safetensors is not what the Hub has (sha256 differs); pull it again"
    ]


def test_a_hub_that_is_away_and_a_model_that_it_lacks_are_plain_sentences(hub: FakeHub, tmp_path: Path):
    code, printed, said = run_pull("http://127.0.0.1:9", tmp_path / "a", "--model", "someone/tiny")
    assert code == 1
    assert "which does not answer" in printed["models"][0]["problems"][0]
    assert "Traceback" not in said
    code, printed, said = run_pull(hub.url, tmp_path / "b", "--model", "nobody/nothing")
    assert code == 1
    assert "it has no such model" in printed["models"][0]["problems"][0]
    assert "Traceback" not in said


def test_a_local_folder_is_checked_by_its_lengths(tmp_path: Path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_bytes(MODEL["config.json"])
    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1])
    site = tmp_path / "site.yaml"
    site.write_text(f"encoders: {{options: {{vision: {{folder: '{folder}'}}}}}}\n")
    answer = CliRunner().invoke(app, ["models", "pull", str(site)])
    assert answer.exit_code == 1
    assert f"model.safetensors has {len(WEIGHTS) - 1} bytes and should have {len(WEIGHTS)}" in answer.output
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    answer = CliRunner().invoke(app, ["models", "pull", str(site), "--json"])
    assert answer.exit_code == 0
    files = json.loads(answer.stdout)["models"][0]["files"]
    assert {file["name"]: file["checked"] for file in files} == {"config.json": "json", "model.safetensors": "lengths"}


def test_every_folder_that_a_site_names_is_wanted_once():
    site = SiteConfig.model_validate(
        {
            "encoders": {"options": {"vision": {"folder": "a/one"}, "text": {"folder": "a/two"}, "motion": {}}},
            "understanding": {"options": {"whisper": {"folder": "a/three"}, "vlm": {"folder": "a/one"}}},
        }
    )
    assert wanted_models(site, ["a/zero", "a/two"]) == ["a/zero", "a/two", "a/one", "a/three"]
    with pytest.raises(ConfigError, match="nothing to pull"):
        wanted_models(SiteConfig(), [])
    assert CliRunner().invoke(app, ["models", "pull"]).exit_code == 2
