"""From the clicks on a real site's alerts, through its ledger and archive, to what trained fusion learns from."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from mmstream.config import FeedConfig, SiteConfig, SiteSection
from mmstream.storage.archive import DAY_S, ArchiveWriter
from mmstream.storage.media import FolderMediaStore
from mmstream.storage.open import open_store
from mmstream.training.corpus import Corpus
from mmstream.training.fused import FusionKind
from mmstream.training.fusion_examples import gather
from mmstream.training.open_corpus import open_corpus
from mmstream.types import Strip
from tests.storage.moments import make_moment
from tests.training.test_open_corpus import alert_at

NOW_S = 20_000 * DAY_S
BLOCK_S = 300.0
NUM_ALERTS = 44
BEGAN_S = NOW_S - 10 * DAY_S


def make_strip(start_s: float, *, loud: bool) -> Strip:
    """Windows at 10, 100 and 200 s of a block; the second is the alert's."""
    starts_s = start_s + np.array([10.0, 100.0, 200.0])
    heights = np.array([[0.2, 0.3], [0.1, 4.0] if loud else [4.0, 0.1], [0.4, np.nan]])
    return Strip(
        feed_id="gate",
        start_s=start_s,
        end_s=start_s + BLOCK_S,
        covered_s=290.0,
        aspects=(("movement", "picture", 1.0), ("sound", "sound", 1.0)),
        windows=np.column_stack([starts_s, starts_s + 2.0, heights.max(axis=1), heights.max(axis=1), heights]),
    )


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """Judged alerts of days of which there is no footage any more."""
    monkeypatch.setattr("mmstream.storage.archive_open.FRESH_S", 0.0)
    site = SiteConfig(site=SiteSection(data_dir=tmp_path))
    writer = ArchiveWriter(str(tmp_path / "archive"), keep_days=30, max_gb=1)
    starts_s = [BEGAN_S + number * BLOCK_S for number in range(NUM_ALERTS)]
    strips = [make_strip(at_s, loud=number % 2 == 1) for number, at_s in enumerate(starts_s)]
    writer.write([make_moment(start_s=starts_s[-1] + 299.0, strips=tuple(strips))], {})
    store = open_store(site, write=True)
    store.put_feed("gate", FeedConfig(id="gate", url="rtsp://a/1").model_dump(mode="json"))
    for number, at_s in enumerate(starts_s):
        alert_at(store, "gate", at_s + 99.0, at_s + 110.0, "false_alarm" if number % 2 else "true")
    alert_at(store, "gate", BEGAN_S - 30 * DAY_S, BEGAN_S - 30 * DAY_S + 5.0, "true")  # the archive has dropped it
    alert_at(store, "gate", starts_s[0] + 9.0, starts_s[0] + 12.0, None)
    opened = open_corpus(site, store, FolderMediaStore.from_site(site), now_s=NOW_S)
    store.close()
    return opened


def test_verdicts_from_before_the_footage_are_learned_from(corpus: Corpus) -> None:
    assert not corpus.alerts
    assert len(corpus.earlier) == NUM_ALERTS
    examples = gather(corpus)
    assert (len(examples.true), len(examples.false)) == (NUM_ALERTS // 2, NUM_ALERTS // 2)
    assert [name for name, _, _ in examples.aspects] == ["movement", "sound"]
    assert all(len(bag) == 1 for bag in (*examples.true, *examples.false))
    np.testing.assert_allclose(examples.heights[examples.true[0]], [[4.0, 0.1]], atol=0.01)
    np.testing.assert_allclose(examples.heights[examples.false[0]], [[0.1, 4.0]], atol=0.01)


def test_without_ordinary_windows_it_still_trains_and_travels_to_a_worker(corpus: Corpus) -> None:
    assert FusionKind().subjects(corpus) == ("fusion",)
    trainee = FusionKind().trainee("fusion", pickle.loads(pickle.dumps(corpus)), {}, parent=None)
    batch = next(iter(trainee.batches(epoch=0, rank=0, world_size=1)))
    step = trainee.step(trainee.module(), batch)
    assert np.isfinite(float(step.loss.detach()))
    assert np.isfinite(trainee.validate(trainee.module())["loss"])
    assert trainee.export(trainee.module())["model.safetensors"]
