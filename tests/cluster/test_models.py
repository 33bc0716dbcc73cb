"""Real architectures in the replicas of a site: batches of pictures, sound and words, and what can go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import serve
from ray.exceptions import RayError

from mmstream.config import EncoderSection, SiteConfig
from mmstream.errors import ConfigError, StageError
from mmstream.sources.synthetic.render import render_clip
from mmstream.types import Embedding, Snapshot
from services import encoders
from services.actors import LEDGER, find
from services.app import API_APP, Site
from services.encoders import EncoderClient, describe_all, push_model, replica_stats, words_of
from services.ports import free_port
from services.routes.context import MISSING_ENCODERS
from services.supervisor import SUPERVISOR
from tests.cluster.model_probes import LATE, TIGHT
from tests.encoders.tiny import make_clip, replica_options
from tests.rtsp.site import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SECTION = EncoderSection(device="cpu", max_replicas=1)
MODELS = {"vision": "vision", "clap": "clap", "text": "meaning"}
"""Name in site.yaml -> its channel."""
CLIP_S = 16.0
FEEDS = {"crossing": "junction", "crossing-2": "junction", "dock": "dock"}
"""Feed -> what it shows; these scenes have sound."""


def make_pictures(num: int, *, value: int | None = None, feed: str = "cam") -> list[Snapshot]:
    """The mean of picture number i is i + 1."""
    return [
        make_snapshot(f"{feed}-{i}", np.full((8, 8), i + 1 if value is None else value, np.uint8)) for i in range(num)
    ]


def make_snapshot(feed_id: str, data: Any) -> Snapshot:
    return Snapshot(feed_id=feed_id, start_s=0.0, end_s=2.0, encoder="probe", data=np.asarray(data))


def ask(name: str, *chunks: list[Snapshot]) -> list[list[Embedding] | None]:
    """Each chunk from a caller of its own, all at once."""

    async def all_at_once() -> list[list[Embedding] | None]:
        return await asyncio.gather(*(EncoderClient(name, timeout_s=20.0).encode(chunk) for chunk in chunks))

    return asyncio.run(all_at_once())


@pytest.fixture(scope="module")
def tight(cluster: None) -> Iterator[None]:  # noqa: ARG001 - it must be up
    encoders.run_encoder(TIGHT, SECTION)
    yield
    serve.delete(encoders.app_name(TIGHT), _blocking=False)


# -- too much, and broken ----------------------------------------------------------------------------


@pytest.mark.usefixtures("tight")
def test_a_chunk_that_does_not_fit_into_memory_is_encoded_in_parts_and_so_are_its_neighbours() -> None:
    push_model(TIGHT, {"room": 5})
    large, small = ask(TIGHT, make_pictures(32), make_pictures(2))
    assert [float(e.vector[0]) for e in large or []] == [i + 1 for i in range(32)]
    assert [float(e.vector[0]) for e in small or []] == [1, 2]
    assert max(float(e.vector[1]) for e in [*(large or []), *(small or [])]) <= 5, "never more in one pass"
    [stats] = replica_stats(TIGHT)
    assert 3 <= stats.num_out_of_memory <= 4, "32 or 34 to 16 to 8 to 4, and remembered"
    assert stats.num_failed_batches == 0


@pytest.mark.usefixtures("tight")
def test_a_chunk_that_breaks_the_model_takes_none_of_its_batch_with_it() -> None:
    push_model(TIGHT, {"room": 1000, "delay_s": 0.05})
    [before] = replica_stats(TIGHT)
    answers = ask(TIGHT, make_pictures(3), make_pictures(1), make_pictures(2, value=255), make_pictures(4))
    assert [None if answer is None else len(answer) for answer in answers] == [3, 1, None, 4]
    [after] = replica_stats(TIGHT)
    assert after.most_chunks_in_batch >= 2, "it had company"
    assert after.num_failed_batches - before.num_failed_batches == 1
    assert after.pid == before.pid


# -- a whole site ------------------------------------------------------------------------------------


class SiteWithModels:
    """A site in this process's cluster whose feeds show, sound and say something, and one model of which is missing."""

    def __init__(self, folder: Path) -> None:
        self.weights = folder / "late.pt"
        options: dict[str, Any] = {LATE: {"weights": str(self.weights)}}
        for name in MODELS:
            (folder / name).mkdir()
            options[name] = replica_options(name, folder / name)
        make_clip(folder / "vision")  # one that knows words
        feeds = []
        for seed, (feed_id, scene) in enumerate(FEEDS.items()):
            clip, words = folder / f"{feed_id}.mp4", folder / f"{feed_id}.srt"
            render_clip(scene, clip, duration_s=CLIP_S, seed=seed, size=(320, 180))
            words.write_text(
                "".join(
                    f"{i + 1}\n00:00:{i:02},000 --> 00:00:{i + 1:02},000\n{scene} is quiet, round {i}\n\n"
                    for i in range(1, int(CLIP_S))
                )
            )
            feeds.append({"id": feed_id, "url": str(clip), "captions": str(words), "loop": True})
        self.site = Site(
            SiteConfig.model_validate(
                {
                    "site": {"data_dir": folder / "data"},
                    "api": {"port": free_port()},
                    "gate": {"enabled": False},
                    "encoders": {
                        "edge": ["motion", "sound", "words"],
                        "replicas": [*MODELS, LATE],
                        "options": options,
                        "device": "cpu",
                        "max_replicas": 1,
                    },
                    "feeds": feeds,
                }
            )
        )

    def stop(self) -> None:
        """Without `Site.stop`, which would end the cluster of all tests."""
        self.site._stop_supervisor()
        for name in (API_APP, *map(encoders.app_name, self.site.config.encoders.replicas)):
            serve.delete(name)
        self.site._stop_ledger()

    def statuses(self) -> list[dict[str, Any]]:
        return [dict(status) for status in self.site.statuses().values()]

    def num_encoded(self, channel: str) -> float:
        """Of the shard that has all feeds."""
        shards = {status["shard"]: status["shard_counters"]["encoders"] for status in self.statuses()}
        return sum(counters.get(channel, {}).get("encoded", 0) for counters in shards.values())

    def judged(self, channel: str) -> int:
        """On how many feeds vectors of the channel have reached normality."""
        return sum(channel in status.get("analysis", {}).get("bank_rows", {}) for status in self.statuses())

    def learned(self) -> list[int]:
        """Windows, per feed."""
        return [status.get("analysis", {}).get("windows_learned", 0) for status in self.statuses()]

    def has_no_trouble(self) -> bool:
        """What the supervisor says."""
        try:
            return not ray.get(find(SUPERVISOR).trouble.remote(), timeout=5)
        except RayError:
            return False

    def missing(self) -> dict[str, str]:
        return dict(json.loads(ray.get(find(LEDGER).value.remote(MISSING_ENCODERS)) or "{}"))


@pytest.fixture(scope="module")
def site(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteWithModels]:  # noqa: ARG001
    running = SiteWithModels(tmp_path_factory.mktemp("models"))
    running.site.start()
    yield running
    running.stop()


def test_pictures_sound_and_words_of_all_feeds_go_through_real_models_in_shared_batches(
    site: SiteWithModels, record_property: Callable[[str, object], None]
) -> None:
    def all_flow() -> bool:
        return all(site.num_encoded(channel) > 10 and site.judged(channel) == len(FEEDS) for channel in MODELS.values())

    wait_until(all_flow, within_s=120, what="pictures, sound and words of every feed are encoded and judged")
    for name in MODELS:
        [stats] = replica_stats(name)
        inputs_per_chunk, chunks_per_batch = stats.num_inputs / stats.num_chunks, stats.num_chunks / stats.num_batches
        record_property(f"{name}_inputs_per_batch", round(inputs_per_chunk * chunks_per_batch, 2))
        assert inputs_per_chunk > 1, f"{name}: the three feeds of the shard share chunks: {stats}"
        assert stats.num_failed_batches == 0


@pytest.mark.usefixtures("site")
def test_words_are_put_into_the_space_of_the_pictures_where_the_model_knows_them() -> None:
    [picture_dim] = {describe_all(["vision"], patience_s=5)[0]["vision"].dim}
    vectors = asyncio.run(words_of("vision", ["smoke", "有人打架"]))
    assert vectors.shape == (2, picture_dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    with pytest.raises(StageError, match="did not answer within 1 s"):
        asyncio.run(words_of("nobody", ["smoke"], timeout_s=1.0))
    with pytest.raises(StageError, match="mount the folder"):
        asyncio.run(words_of(LATE, ["smoke"], timeout_s=1.0))


def test_a_model_that_cannot_be_loaded_costs_the_site_its_channel_only_until_another_is_pushed(
    site: SiteWithModels,
) -> None:
    why = f"there are no weights at {site.weights}; mount the folder"
    wait_until(lambda: site.missing().get(LATE, "").endswith(why), within_s=30, what="the store says what is missing")
    reason = site.missing()[LATE]
    assert LATE in site.site.without
    assert ask(LATE, make_pictures(2)) == [None]
    [standing_by] = replica_stats(LATE)
    assert (standing_by.model, standing_by.last_error) == ("", reason)
    with pytest.raises(ConfigError, match="no weights at /nowhere"):
        push_model(LATE, {"weights": "/nowhere"})

    wait_until(lambda: min(site.learned(), default=0) > 0, within_s=60, what="there is something to lose")
    before = site.learned()
    found = site.weights.with_name("found.pt")
    found.touch()
    push_model(LATE, {"weights": str(found)})
    wait_until(lambda: site.num_encoded("late") > 3, within_s=60, what="its pictures are encoded")
    wait_until(lambda: site.judged("late") == len(FEEDS), within_s=30, what="the new channel is judged on every feed")
    assert site.missing() == {}

    pids = {status["pid"] for status in site.statuses()}
    ray.get(find(LEDGER).put_value.remote(MISSING_ENCODERS, json.dumps({"some": "reason"})))
    ray.kill(find(SUPERVISOR), no_restart=False)
    wait_until(lambda: site.missing() == {}, within_s=60, what="a new supervisor has found all encoders")
    wait_until(site.has_no_trouble, within_s=30, what="it looks after the same shards")
    assert {status["pid"] for status in site.statuses()} == pids
    [working] = replica_stats(LATE)
    assert (working.pid, working.model, working.last_error) == (standing_by.pid, "late@1", "")
    with pytest.raises(StageError, match="knows no words"):
        asyncio.run(words_of(LATE, ["smoke"]))
    assert min(now - then for now, then in zip(site.learned(), before, strict=True)) >= 0, "all is still known"
