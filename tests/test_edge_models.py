"""A camera's own models: taken up at the start, swapped while it runs, and never in the way of the watching."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmstream.config import EncoderSection, FeedConfig, SiteConfig
from mmstream.edge_models import FILE, EdgeEncoders, EdgeModel, EdgeModels, current_model, edge_models, subject_of
from mmstream.encoders.expectation import OTHER_LIGHT, ExpectationEncoder
from mmstream.errors import ConfigError, StoreError
from mmstream.shard import Shard
from mmstream.training.registry import Lineage, Registry
from mmstream.types import EncodedWindow, Window
from tests.encoders.street import FAST, SHAPE, Thing, make_frame, make_net, make_window
from tests.sources.material import write_clip
from tests.test_shard import DictMedia, ListFuse

SECTION = EncoderSection(edge=("motion", "expectation"), replicas=())
GOOD = make_net().save()
PATIENCE_S = 60.0


def make_model(version: str, data: bytes = GOOD) -> EdgeModel:
    return EdgeModel(version=version, data=data)


def models_said(encoders: EdgeEncoders, window: Window) -> list[str]:
    said = (encoder.encode(window) for encoder in encoders.in_use)
    return [embedding.model for embedding in said if embedding is not None]


def register(place: Path, feed_id: str, data: bytes = GOOD, made_s: float = 1e9) -> str:
    """-> the version, which is in use."""
    registry = Registry(place)
    subject = subject_of("expectation", feed_id)
    made = registry.add(subject, {FILE: data}, Lineage(code="1"), made_s=made_s)
    registry.promote(subject, made.version, reason="better", at_s=made_s)
    return made.version


# -- the encoders of one feed -----------------------------------------------------------------------


def test_a_camera_without_a_model_is_watched_without_it_and_takes_one_up_between_two_windows() -> None:
    encoders = EdgeEncoders(SECTION)
    window = make_window(Thing(kind="walker", x=20, speed=FAST))
    assert models_said(encoders, window) == ["box-motion@2"]
    assert encoders.status() == {}
    assert encoders.give("expectation", make_model("v1"))
    assert models_said(encoders, window) == ["box-motion@2", "expectation@v1"]
    assert encoders.status() == {"expectation": {"version": "v1", "trouble": ""}}
    assert encoders.give("expectation", make_model("v2"))
    assert models_said(encoders, window)[1] == "expectation@v2"
    assert encoders.give("expectation", None)
    assert models_said(encoders, window) == ["box-motion@2"]
    assert encoders.status() == {}


def test_a_window_that_is_being_encoded_is_finished_with_the_encoders_it_began_with() -> None:
    encoders = EdgeEncoders(SECTION, {"expectation": make_model("v1")})
    begun = encoders.in_use
    encoders.give("expectation", make_model("v2"))
    assert begun[1].model == "expectation@v1"
    assert begun[0] is encoders.in_use[0], "what has no model of its own keeps its state"


@pytest.mark.parametrize("data", [b"", b"no weights", GOOD[:2000]], ids=["empty", "other", "cut off"])
def test_a_damaged_version_costs_its_channel_at_the_start_and_is_refused_later(data: bytes) -> None:
    encoders = EdgeEncoders(SECTION, {"expectation": make_model("v1", data)})
    window = make_window(Thing(kind="walker", x=20, speed=FAST))
    assert models_said(encoders, window) == ["box-motion@2"]
    assert encoders.num_failed == 1
    assert encoders.status()["expectation"]["version"] == ""
    assert "train" in encoders.status()["expectation"]["trouble"]
    encoders.give("expectation", make_model("v2"))
    assert encoders.status() == {"expectation": {"version": "v2", "trouble": ""}}
    with pytest.raises(ConfigError, match="train"):
        encoders.give("expectation", make_model("v3", data))
    assert models_said(encoders, window)[1] == "expectation@v2"
    assert encoders.status() == {"expectation": {"version": "v2", "trouble": ""}}


def test_an_encoder_that_the_site_does_not_run_takes_no_model() -> None:
    assert not EdgeEncoders(EncoderSection(edge=("motion",), replicas=())).give("expectation", make_model("v1"))


def test_the_next_version_knows_the_background_that_the_last_one_has_seen() -> None:
    def still(number: int, level: int) -> Window:
        frame = make_frame(number * 0.2)
        frame = dataclasses.replace(frame, luma=np.full(SHAPE, level, np.uint8))
        return Window(feed_id="street", start_s=number * 0.2, end_s=number * 0.2 + 0.2, frames=(frame,))

    def background_of(encoders: EdgeEncoders) -> int:
        expectation = encoders.in_use[1]
        assert isinstance(expectation, ExpectationEncoder)
        assert expectation._background is not None
        return int(np.median(expectation._background.levels))

    encoders = EdgeEncoders(SECTION, {"expectation": make_model("v1")})
    for number in range(10):
        encoders.in_use[1].encode(still(number, 130))
    assert background_of(encoders) == 130
    encoders.give("expectation", make_model("v2"))
    assert background_of(encoders) == 130


@pytest.mark.parametrize(("level", "first"), [(125, 121), (120 + OTHER_LIGHT + 5, 120 + OTHER_LIGHT + 5)])
def test_in_another_light_than_that_of_the_training_the_background_is_begun_anew(level: int, first: int) -> None:
    encoder = ExpectationEncoder(weights=make_net())
    frame = dataclasses.replace(make_frame(0.0), luma=np.full(SHAPE, level, np.uint8))
    encoder.encode(Window(feed_id="street", start_s=0.0, end_s=0.2, frames=(frame,)))
    assert encoder._background is not None
    assert (encoder._background.levels == first).all()


# -- the models of a shard --------------------------------------------------------------------------


def test_a_feed_that_starts_takes_what_the_registry_has_in_use() -> None:
    models = EdgeModels(SECTION, {"expectation.gate-3": make_model("v1")}.get)
    models.prepare("gate-3")
    models.prepare("yard")
    assert models.encoders("gate-3").status() == {"expectation": {"version": "v1", "trouble": ""}}
    assert models.encoders("yard").status() == {}


def test_what_a_feed_is_given_holds_when_it_starts_again_until_it_leaves() -> None:
    models = EdgeModels(SECTION, {"expectation.gate-3": make_model("v1")}.get)
    models.prepare("gate-3")
    running = models.encoders("gate-3")
    assert models.give("gate-3", "expectation", make_model("v2"))
    assert running.status()["expectation"]["version"] == "v2"
    models.prepare("gate-3")
    assert models.encoders("gate-3").status()["expectation"]["version"] == "v2"
    models.forget("gate-3")
    assert not models.give("gate-3", "expectation", make_model("v3"))
    models.prepare("gate-3")
    assert models.encoders("gate-3").status()["expectation"]["version"] == "v1"


def test_what_is_given_while_the_registry_is_being_read_is_not_undone_by_it() -> None:
    def read(_: str) -> EdgeModel:
        assert models.give("gate-3", "expectation", make_model("v2"))
        return make_model("v1")

    models = EdgeModels(SECTION, read)
    models.prepare("gate-3")
    with pytest.raises(ConfigError):
        models.give("gate-3", "expectation", make_model("v3", b"damaged"))
    assert models.encoders("gate-3").status()["expectation"]["version"] == "v2"


def test_a_registry_that_cannot_be_read_costs_the_model_and_not_the_feed() -> None:
    is_back = False

    def read(_: str) -> EdgeModel:
        if is_back:
            return make_model("v1")
        raise StoreError("the model registry cannot be read: connection refused")

    models = EdgeModels(SECTION, read)
    models.prepare("gate-3")
    encoders = models.encoders("gate-3")
    assert encoders.num_failed == 1
    assert "connection refused" in encoders.status()["expectation"]["trouble"]
    assert len(encoders.in_use) == 2
    is_back = True
    models.prepare("gate-3")
    assert models.encoders("gate-3").status() == {"expectation": {"version": "v1", "trouble": ""}}


def test_only_encoders_that_are_trained_for_a_camera_are_given_weights() -> None:
    models = EdgeModels(SECTION)
    models.encoders("gate-3")
    assert not models.give("gate-3", "motion", make_model("v1"))
    assert not models.give("gate-3", "sound", make_model("v1"))


def test_a_version_comes_out_of_the_registry_as_it_went_in_and_a_damaged_one_does_not(tmp_path: Path) -> None:
    assert current_model(str(tmp_path / "nothing"), "expectation.gate-3") is None
    version = register(tmp_path, "gate-3")
    assert current_model(str(tmp_path), "expectation.yard") is None
    assert current_model(str(tmp_path), "expectation.gate-3") == make_model(version)
    weights = tmp_path / "expectation.gate-3" / version / FILE
    weights.write_bytes(GOOD[:-1])
    with pytest.raises(StoreError, match="damaged"):
        current_model(str(tmp_path), "expectation.gate-3")


def test_the_longest_name_that_a_feed_can_have_can_have_a_model(tmp_path: Path) -> None:
    feed = FeedConfig(id="g" * 64, url="push:")
    version = register(tmp_path, feed.id)
    assert current_model(str(tmp_path), subject_of("expectation", feed.id)) == make_model(version)


def test_a_version_without_weights_is_said(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    made = registry.add("expectation.gate-3", {"other.txt": b"1"}, Lineage(code="1"), made_s=1e9)
    registry.promote("expectation.gate-3", made.version, reason="", at_s=1e9)
    with pytest.raises(StoreError, match=FILE):
        current_model(str(tmp_path), "expectation.gate-3")


def test_a_site_finds_its_registry_where_its_data_are(tmp_path: Path) -> None:
    version = register(tmp_path / "models", "gate-3")
    site = SiteConfig.model_validate({"site": {"data_dir": str(tmp_path)}})
    models = edge_models(site)
    models.prepare("gate-3")
    assert models.encoders("gate-3").status() == {"expectation": {"version": version, "trouble": ""}}


# -- in a running shard -----------------------------------------------------------------------------


def test_a_running_feed_is_swapped_without_losing_a_window_and_starts_again_with_what_it_was_given(
    tmp_path: Path,
) -> None:
    write_clip(tmp_path / "cam.mp4", seconds=4, step_px=2)
    version = register(tmp_path / "models", "cam")
    site = SiteConfig.model_validate(
        {"site": {"data_dir": str(tmp_path)}, "encoders": {"edge": ["motion", "expectation"], "replicas": []}}
    )
    fuse = ListFuse()
    shard = Shard(site, encoders={}, fuse=fuse, media=DictMedia())
    feed = FeedConfig(id="cam", url=str(tmp_path / "cam.mp4"), loop=True)

    def windows() -> list[EncodedWindow]:
        return [item for item in fuse.items if isinstance(item, EncodedWindow)]

    came: list[EncodedWindow] = []

    def last_model() -> str:
        said = [e.model for window in windows()[-1:] for e in window.embeddings if e.channel == "expectation"]
        return said[0] if said else ""

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.05)

    async def drive() -> None:
        running = asyncio.create_task(shard.run())
        await shard.add(feed)
        await until(lambda: last_model() == f"expectation@{version}")
        assert shard.give_model("cam", "expectation", GOOD, "v2")
        await until(lambda: last_model() == "expectation@v2")
        assert shard.statuses()["cam"]["models"] == {"expectation": {"version": "v2", "trouble": ""}}
        came.extend(windows())
        with pytest.raises(ConfigError):
            shard.give_model("cam", "expectation", b"no weights", "v3")
        assert not shard.give_model("elsewhere", "expectation", GOOD, "v3")
        await shard.add(feed, revision=1)  # its settings have changed: it starts again
        assert shard.statuses()["cam"]["models"] == {"expectation": {"version": "v2", "trouble": ""}}
        assert shard.statuses()["cam"]["counters"]["models_failed"] == 0
        shard.stop()
        await running

    asyncio.run(drive())
    starts_s = [window.start_s for window in came]
    assert starts_s == sorted(set(starts_s)), "each window comes once and in order, across the swap too"
    models = [e.model for window in came for e in window.embeddings if e.channel == "expectation"]
    assert models == sorted(models, key=lambda model: model == "expectation@v2"), "first the one, then the other"
    assert set(models) == {f"expectation@{version}", "expectation@v2"}
