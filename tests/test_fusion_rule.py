"""A trained fusion rule in use: from the registry when a shard starts, swapped while it runs, and never in the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmstream.config import BudgetSection, FusionSection, SiteConfig, SiteSection
from mmstream.errors import ConfigError
from mmstream.fusing import FusionCore
from mmstream.fusion.trained import ARRAYS, MonotoneRule
from mmstream.fusion_rule import SUBJECT, RuleInUse
from mmstream.shard import FuseBatch
from mmstream.testing import make_embedding, make_encoded
from mmstream.training.registry import Lineage, Registry
from mmstream.types import Channel, EncodedWindow
from tests.test_shard import DictMedia

CHANNELS = {
    "appearance": Channel(name="appearance", modality="picture"),
    "sound": Channel(name="sound", modality="sound"),
}


def make_site(folder: Path, rule: str = "trained") -> SiteConfig:
    return SiteConfig(
        site=SiteSection(data_dir=folder),
        budget=BudgetSection(alerts_per_camera_per_day=600, block_s=5, warmup_s=60),
        fusion=FusionSection(rule=rule),
    )


def make_rule(sound: float) -> bytes:
    """The sound counts so many times as much as it would."""
    return MonotoneRule(factors={"sound": sound}, arrays={n: np.zeros(shape) for n, shape in ARRAYS.items()}).to_bytes()


def put_to_use(folder: Path, data: bytes) -> str:
    registry = Registry(folder / "models")
    version = registry.add(SUBJECT, {"model.safetensors": data}, Lineage(code="1"), made_s=1000.0).version
    registry.promote(SUBJECT, version, reason="better", at_s=1000.0)
    return version


def window(second: int, *, loud: bool = False) -> EncodedWindow:
    random = np.random.default_rng(second)
    vectors = {"appearance": random.normal(size=4), "sound": random.normal(size=4) + (25.0 if loud else 0.0)}
    embeddings = [
        make_embedding(float(second), channel=name, vector=vector.tolist()) for name, vector in vectors.items()
    ]
    return make_encoded(float(second), embeddings)


class Site:
    """A shard's fusion that has heard three quiet minutes."""

    def __init__(self, site: SiteConfig, *, learned: DictMedia | None = None) -> None:
        self.media = learned or DictMedia()
        self.surprises: list[float] = []
        self.core = FusionCore(
            site,
            channels=CHANNELS,
            media=self.media,
            tracker_of=lambda _: None,
            now=lambda: 0.0,
            on_judgement=lambda judgement: self.surprises.append(judgement.score.surprise),
        )
        self.core.begin("cam")
        if learned is None:
            self.core.push(FuseBatch(items=[window(second) for second in range(180)]))

    def surprise_of_a_bang(self, second: int) -> float:
        self.core.push(FuseBatch(items=[window(second, loud=True)]))
        return self.surprises[-1]


def test_a_shard_starts_with_the_rule_that_is_in_use(tmp_path: Path) -> None:
    before = Site(make_site(tmp_path)).surprise_of_a_bang(180)
    put_to_use(tmp_path, make_rule(0.1))
    assert Site(make_site(tmp_path)).surprise_of_a_bang(180) < before - 0.3


def test_a_rule_is_swapped_between_two_windows_and_taken_back(tmp_path: Path) -> None:
    site = Site(make_site(tmp_path))
    before = site.surprise_of_a_bang(180)
    assert site.core.give_fusion(make_rule(0.1), "v1")
    swapped = site.surprise_of_a_bang(181)
    assert site.core.give_fusion(b"", "")
    assert swapped < before - 0.3
    assert site.surprise_of_a_bang(182) > swapped + 0.3


def test_a_rule_given_holds_for_feeds_that_come_later_and_after_a_verdict_changed_the_weights(tmp_path: Path) -> None:
    site = Site(make_site(tmp_path))
    site.core.give_fusion(make_rule(0.1), "v1")
    site.core.snapshot_some(all_feeds=True)
    site.core.release("cam")
    site.core.begin("cam")
    assert site.surprise_of_a_bang(180) < Site(make_site(tmp_path)).surprise_of_a_bang(180) - 0.3


def test_weights_that_cannot_be_used_change_nothing(tmp_path: Path) -> None:
    site = Site(make_site(tmp_path))
    site.core.give_fusion(make_rule(0.1), "v1")
    with pytest.raises(ConfigError, match="not the weights"):
        site.core.give_fusion(b"nonsense", "v2")
    assert site.surprise_of_a_bang(180) < Site(make_site(tmp_path)).surprise_of_a_bang(180) - 0.3


def test_a_site_with_another_rule_takes_none(tmp_path: Path) -> None:
    put_to_use(tmp_path, make_rule(0.1))
    site = Site(make_site(tmp_path, "harmonic"))
    assert not site.core.give_fusion(make_rule(0.1), "v1")
    assert site.surprise_of_a_bang(180) == Site(make_site(tmp_path / "other")).surprise_of_a_bang(180)


def test_a_damaged_version_is_said_and_the_harmonic_mean_goes_on(tmp_path: Path) -> None:
    version = put_to_use(tmp_path, make_rule(0.1))
    (tmp_path / "models" / SUBJECT / version / "model.safetensors").write_bytes(b"spoilt")
    used = RuleInUse(make_site(tmp_path))
    assert "damaged" in used.trouble
    assert Site(make_site(tmp_path)).surprise_of_a_bang(180) > 0.0


def test_a_version_knows_its_name(tmp_path: Path) -> None:
    version = put_to_use(tmp_path, make_rule(0.1))
    assert RuleInUse(make_site(tmp_path)).rule.version == version
