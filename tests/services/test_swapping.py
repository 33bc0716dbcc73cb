"""What encoders are asked for when a version is put to use, without Ray."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mmstream.config import SiteConfig
from mmstream.errors import ConfigError, StageError
from mmstream.training.registry import Lineage, Registry
from mmstream.training.versions import with_current
from services import swapping
from services.swapping import RayPlace


class Encoders:
    """Stands for Serve: encoder -> what its one replica was asked for, and what became of it."""

    def __init__(self, asked: Mapping[str, Mapping[str, Any]]) -> None:
        self.asked = {name: dict(options) for name, options in asked.items()}
        self.standing_by: dict[str, str] = {}
        self.refused = False

    def ask_all(self, name: str, method: str, *, timeout_s: float) -> list[dict[str, Any]]:
        assert method == "asked_for"
        assert timeout_s > 0
        return [self.asked[name]]

    def push_model(self, name: str, options: Mapping[str, Any]) -> str:
        if self.refused or ("weights" not in options and name.startswith("site")):
            raise ConfigError(f"{name}: not trained yet")
        self.asked[name] = dict(options)
        self.standing_by.pop(name, None)
        return name

    def stand_by(self, name: str, options: Mapping[str, Any], reason: str) -> None:
        self.asked[name], self.standing_by[name] = dict(options), reason


class Made:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, asked: Mapping[str, Mapping[str, Any]]) -> None:
        self.encoders = Encoders(asked)
        for name in ("ask_all", "push_model", "stand_by"):
            monkeypatch.setattr(swapping, name, getattr(self.encoders, name))
        monkeypatch.setattr(swapping, "fetch", lambda registry, version: registry.fetch(version, folder / "files"))
        options = {"vision": {"folder": "/models/clip"}}
        settings = {"site": {"data_dir": folder}, "encoders": {"replicas": list(asked), "options": options}}
        self.site = SiteConfig.model_validate(settings)
        self.registry = Registry(folder / "models")
        self.place = RayPlace(self.site)

    def add(self, name: str, number: int, *parts: str) -> str:
        head = json.dumps({"__metadata__": {"parts": ",".join(parts)}}).encode()
        data = len(head).to_bytes(8, "little") + head + b"%d" % number
        return self.registry.add(name, {"model.safetensors": data}, Lineage(code="1"), made_s=1e9 + number).version


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(tmp_path, monkeypatch, {"site": {}, "site-sound": {"precision": "fp32"}})


def test_a_version_is_pushed_to_all_that_run_it_and_known_to_run(both: Made) -> None:
    version = both.add("site", 1, "picture", "sound")
    assert both.place.runs("site", "")
    assert not both.place.runs("site", version)
    both.place.push("site", version)
    assert both.place.runs("site", version)
    sound = both.encoders.asked["site-sound"]
    assert (sound["precision"], sound["version"], sound["weights"]["version"]) == ("fp32", version, version)


def test_whoever_starts_asks_for_what_is_in_use(both: Made) -> None:
    assert with_current(both.site) == {"vision": {"folder": "/models/clip"}}
    version = both.add("site", 1, "picture", "sound")
    both.registry.promote("site", version, reason="Better.", at_s=1.0)
    both.place.push("site", version)
    started = with_current(both.site)
    assert started["site"] == both.encoders.asked["site"]
    assert "vision" in started


def test_a_version_without_sound_leaves_that_encoder_standing_by(both: Made) -> None:
    version = both.add("site", 1, "picture")
    both.place.push("site", version)
    assert "nothing for the encoder 'site-sound'" in both.encoders.standing_by["site-sound"]
    assert both.place.runs("site", version)


def test_without_any_version_encoders_stand_by_and_say_why(both: Made) -> None:
    both.place.push("site", both.add("site", 1, "picture", "sound"))
    both.place.push("site", "")
    assert both.encoders.standing_by == {"site": "site: not trained yet", "site-sound": "site-sound: not trained yet"}
    assert both.encoders.asked == {"site": {}, "site-sound": {"precision": "fp32"}}


def test_a_version_that_does_not_load_is_said_to_who_asked(both: Made) -> None:
    both.encoders.refused = True
    with pytest.raises(ConfigError, match="not trained yet"):
        both.place.push("site", both.add("site", 1, "picture", "sound"))


def test_options_that_were_changed_by_hand_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path, monkeypatch, {"vision": {"folder": "/models/siglip"}})
    assert made.place.runs("adapter.vision", "")
    version = made.add("adapter.vision", 1)
    made.place.push("adapter.vision", version)
    asked = made.encoders.asked["vision"]
    assert (asked["folder"], asked["adapter"]["version"], asked["version"]) == ("/models/siglip", version, version)
    made.place.push("adapter.vision", "")
    assert made.encoders.asked["vision"] == {"folder": "/models/siglip"}


def test_a_model_that_no_encoder_here_runs_is_not_put_to_use(both: Made) -> None:
    with pytest.raises(ConfigError, match="list vision under"):
        both.place.push("adapter.vision", both.add("adapter.vision", 1))


def test_what_edge_encoders_run_is_read_from_their_feeds(both: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"expectation": {"version": "7", "trouble": ""}}
    broken = {"expectation": {"version": "", "trouble": "damaged"}}
    statuses = {"gate": {"models": models}, "yard": {"models": broken}, "hall": {"models": {}}, "push": {}}
    monkeypatch.setattr(both.place, "_statuses", lambda: statuses)
    assert both.place.edge_versions() == {"expectation.gate": "7", "expectation.hall": ""}


def test_without_replicas_nothing_is_claimed(both: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swapping, "ask_all", lambda *_, **__: [])
    with pytest.raises(StageError, match="no replica"):
        both.place.runs("site", "")
