"""An encoder that cannot be loaded is told wherever somebody looks."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from mmstream.config import EncoderSection
from services import doctor
from services.doctor import check_encoders
from services.routes.context import MISSING_ENCODERS
from tests.encoders.tiny import replica_options
from tests.services.running import FakeSite


def test_the_api_says_what_the_site_has_to_do_without(site: FakeSite, http: httpx.Client) -> None:
    assert http.get("/api/v1/site").json()["missing_encoders"] == {}
    reasons = {"vision": "there is no folder /models/clip"}
    site.store.put_value(MISSING_ENCODERS, json.dumps(reasons))
    assert http.get("/api/v1/site").json()["missing_encoders"] == reasons


def test_the_doctor_loads_every_encoder_and_names_those_that_the_site_would_run_without(tmp_path: Path) -> None:
    options = {"vision": replica_options("vision", tmp_path), "text": {"folder": str(tmp_path / "lost")}}
    section = EncoderSection(replicas=("filterbank", "vision", "text"), options=options)
    filterbank, vision, text = check_encoders(section, elsewhere=False)
    assert (filterbank.ok, vision.ok, text.ok) == ("ok", "ok", "failed")
    assert "vit@" in vision.sentence
    assert f"there is no folder {tmp_path / 'lost'}" in text.sentence
    assert "encoders.options.text" in text.cure
    [_, _, on_a_cluster] = check_encoders(section, elsewhere=True)
    assert on_a_cluster.ok == "warning", "its nodes may have what this machine has not"


def test_the_doctor_fetches_nothing_and_says_what_will_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "fetched", lambda _: None)
    section = EncoderSection(replicas=("vision",), options={"vision": {"folder": "google/siglip2-base-patch16-224"}})
    [finding] = check_encoders(section, elsewhere=False)
    assert finding.ok == "warning"
    assert finding.cure.startswith("mmstream models pull --model google/siglip2-base-patch16-224")
