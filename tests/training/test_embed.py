"""What feeds are given before a new version judges them, from footage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from mmstream.encoders.site_net import PictureNet, SoundNet, about
from mmstream.errors import ConfigError
from mmstream.normality.memory import Memory
from mmstream.testing import make_embedding
from mmstream.training.embed import Embedder, adoption_of, embedder, mode_of
from mmstream.training.footage import Glimpse
from mmstream.training.registry import Lineage, ModelVersion, Registry
from mmstream.training.sizing import sized
from mmstream.training.versions import REPLICAS, fetch, fetched, has_part, option_of
from mmstream.types import AlignedWindow, Channel, PictureSpec
from tests.encoders.street import make_net
from tests.services.running import make_alert
from tests.training import street_corpus
from tests.training.passing import EVERY_S, make_corpus, passings

FEED = "gate"
OPTIONS: dict[str, dict[str, Any]] = {"site": {}, "site-sound": {}}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("models"))


def add(registry: Registry, number: int, *parts: str) -> ModelVersion:
    torch.manual_seed(number)
    nets = {"picture": PictureNet(), "sound": SoundNet()}
    weights = {f"{part}.{name}": value for part in parts for name, value in nets[part].state_dict().items()}
    files = {"model.safetensors": save(weights, about(parts=parts))}
    return registry.add("site", files, Lineage(code="1"), made_s=1e9 + number)


def ready(registry: Registry, version: ModelVersion, cache: Path) -> Embedder:
    torch.set_num_threads(1)
    made = embedder("site", fetch(registry, version, cache=cache), version.version, OPTIONS)
    assert made is not None
    return made


class Quick:
    """An encoder of the mean colour: the footage counts here, not the network."""

    def __init__(self, model: str) -> None:
        self._model = model

    def embedder(self) -> Embedder:
        channel = Channel(name="site", modality="picture", aspect="site")
        return Embedder(channels={"site": channel}, models={"site": self._model}, encode=self.encode)

    def encode(self, burst: Any) -> list[list[Any]]:
        return [
            [
                make_embedding(
                    each.start_s,
                    feed_id=burst.feed_id,
                    channel="site",
                    vector=each.picture.reshape(-1, 3).mean(axis=0).tolist(),
                    model=self._model,
                )
            ]
            for each in burst.glimpses
        ]


def test_both_networks_fill_their_banks_from_footage_and_judge_the_first_window(
    registry: Registry, tmp_path: Path
) -> None:
    version = add(registry, 1, "picture", "sound")
    new = ready(registry, version, tmp_path)
    corpus = make_corpus((FEED,), 40)
    adoption = adoption_of(FEED, corpus, new, None)
    assert adoption.models == (f"site@{version.version}",) * 2
    assert sorted((h.channel, h.dim, h.mode) for h in adoption.histories) == [
        ("site", 128, ""),
        ("site-sound", 128, ""),
    ]
    memory = Memory(new.channels)
    for history in adoption.histories:
        assert memory.adopt((history.channel, history.model, history.dim, history.mode), history.state)
    said = new.encode(passings(FEED, 40, held_out=True)[0])[0]
    window = AlignedWindow(feed_id=FEED, start_s=3e6, end_s=3e6 + 2, embeddings=tuple(said))
    assert {item.channel for item in memory.weigh(window).channels} == {"site", "site-sound"}
    strange = [dataclasses.replace(each, vector=-each.vector) for each in said]
    odd = memory.weigh(dataclasses.replace(window, embeddings=tuple(strange))).channels
    assert max(item.p for item in odd) < 0.01


def test_footage_of_alerts_is_learned_only_if_they_were_false() -> None:
    new = Quick("site@2").embedder()
    corpus = make_corpus((FEED,), 30)
    (whole,) = adoption_of(FEED, corpus, new, None).histories
    burst = 10 * EVERY_S
    for verdict, missing in ((None, 4), ("unsure", 4), ("true", 4), ("false_alarm", 0)):
        alert = make_alert(FEED, burst, end_s=burst + 4.0, verdict=verdict)
        (less,) = adoption_of(FEED, dataclasses.replace(corpus, alerts=(alert,)), new, None).histories
        assert whole.num_windows - less.num_windows == missing, verdict
        (brought,) = less.alerts  # a verdict may come, or change, after the swap
        fate = {"true": "confirmed", "false_alarm": "absorbed"}.get(verdict or "", "")
        assert (brought.alert_id, brought.fate, len(brought.vectors)) == (alert.alert_id, fate, 4)
    elsewhere = dataclasses.replace(corpus, alerts=(make_alert("yard", burst, end_s=burst + 4.0),))
    (same,) = adoption_of(FEED, elsewhere, new, None).histories
    assert same.num_windows == whole.num_windows


def test_the_scores_of_both_versions_are_compared_where_there_is_enough_footage() -> None:
    old, new = Quick("site@1").embedder(), Quick("site@2").embedder()
    adoption = adoption_of(FEED, make_corpus((FEED,), 160), new, old)
    assert adoption.rereading is not None
    scores = np.array([0.5, 1.0, 1.5])
    assert adoption.rereading(scores) == pytest.approx(scores, abs=1e-9)  # they say the same
    assert adoption_of(FEED, make_corpus((FEED,), 30), new, old).rereading is None


def test_a_feed_without_footage_is_given_nothing() -> None:
    adoption = adoption_of(FEED, make_corpus((FEED,), 0), Quick("site@2").embedder(), None)
    assert (adoption.histories, adoption.rereading) == ((), None)


def test_pictures_of_the_night_are_learned_apart() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (112, 112, 3)).astype(np.uint8)
    grey = np.repeat(picture[..., :1], 3, axis=2)
    looks, sound = Channel(name="site", modality="picture"), Channel(name="site-sound", modality="sound")
    assert mode_of(Glimpse(start_s=0, end_s=2, picture=picture), looks) == ""
    assert mode_of(Glimpse(start_s=0, end_s=2, picture=grey), looks) == "infrared"
    assert mode_of(Glimpse(start_s=0, end_s=2, picture=grey), sound) == ""


def test_footage_is_made_as_large_as_an_encoder_wants_it() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    assert sized(picture[None], PictureSpec(width_px=224, height_px=200, colour=True)).shape == (1, 200, 224, 3)
    assert sized(picture[None], PictureSpec(width_px=160, height_px=96)).shape == (1, 96, 160)
    same = PictureSpec(width_px=112, height_px=112, colour=True)
    np.testing.assert_array_equal(sized(picture[None], same)[0], picture)


def test_a_version_without_sound_leaves_the_encoder_of_sound_alone(registry: Registry, tmp_path: Path) -> None:
    version = add(registry, 2, "picture")
    new = ready(registry, version, tmp_path)
    assert set(new.channels) == {"site"}
    files = fetch(registry, version, cache=tmp_path)
    assert [has_part(files, option) for option in REPLICAS["site"].values()] == [True, False]


def test_damaged_weights_are_refused_in_words(registry: Registry, tmp_path: Path) -> None:
    made = registry.add("site", {"model.safetensors": save({}, {"format": "other"})}, Lineage(code="1"), made_s=2e9)
    with pytest.raises(ConfigError, match="other"):
        embedder("site", fetch(registry, made, cache=tmp_path), made.version, OPTIONS)


def test_an_option_names_a_version_and_becomes_a_file_of_this_machine(registry: Registry, tmp_path: Path) -> None:
    version = add(registry, 1, "picture")
    given = {"precision": "fp32", **option_of("site", "site", version.version, registry._root)}
    found = fetched(given, cache=tmp_path)
    path = Path(found["weights"])
    assert (found["precision"], found["version"], path.name) == ("fp32", version.version, "model.safetensors")
    assert path.is_relative_to(tmp_path)
    path.write_bytes(b"cut off")
    assert fetched(given, cache=tmp_path) == found
    assert path.stat().st_size > 100  # fetched again
    assert [folder.name for folder in tmp_path.iterdir()] == ["site"]
    assert option_of("site", "site", "", registry._root) == {}


def test_the_net_of_one_camera_is_given_what_moved_there(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(make_net().save())
    new = embedder("expectation.gate", tmp_path, "7", {})
    assert new is not None
    corpus = street_corpus.make_corpus((FEED,))
    adoption = adoption_of(FEED, corpus, new, embedder("expectation.gate", None, "", {}))
    assert adoption.models == ("expectation@7",)
    assert [(each.channel, each.model, each.dim, each.mode) for each in adoption.histories] == [
        ("expectation", "expectation@7", 7, "")
    ]


def test_there_is_nothing_to_encode_for_a_rule_that_joins_modalities(tmp_path: Path) -> None:
    assert embedder("fusion", tmp_path, "7", OPTIONS) is None
