"""What every part in every table must keep to. A new part is covered the moment it is in its table."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.config import FeedConfig
from mmstream.encoders import EDGE_ENCODERS, REPLICA_ENCODERS
from mmstream.errors import ConfigError
from mmstream.fusion import FUSERS
from mmstream.normality import NORMALITY
from mmstream.sources import SOURCES
from mmstream.stages import EdgeEncoder, Fuser, Normality, ReplicaEncoder, Source, load
from mmstream.testing import make_window
from mmstream.types import MODALITIES, Embedding, Evidence, Packet, Status, Window
from tests.encoders.street import EDGE_OPTIONS
from tests.encoders.tiny import make_inputs, replica_options
from tests.rtsp.clips import make_clip

TABLES = {
    "edge": EDGE_ENCODERS,
    "replica": REPLICA_ENCODERS,
    "normality": NORMALITY,
    "fusers": FUSERS,
    "sources": SOURCES,
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_every_name_in_a_table_loads_and_an_unknown_one_is_told_the_known(table: dict[str, str]) -> None:
    for name in table:
        assert isinstance(load(table, name), type)
    with pytest.raises(ConfigError) as caught:
        load(table, "no-such-part")
    assert all(name in caught.value.sentence for name in table)


WARM_UP = 80
"""Windows after which every encoder has seen enough of its feed to say something."""


@functools.lru_cache(maxsize=256)
def full_window(start_s: float = 100.0, seed: int = 0) -> Window:
    return make_window(start_s, words=["Fire at gate 3", "三号门着火"], readings=[("temperature", 21.5)], seed=seed)


def encode_all(encoder: EdgeEncoder, seeds: range) -> list[Embedding]:
    answers = [encoder.encode(full_window(100.0 + seed, seed)) for seed in seeds]
    return [answer for answer in answers if answer is not None]


def warm(encoder: EdgeEncoder) -> EdgeEncoder:
    encode_all(encoder, range(WARM_UP))
    return encoder


@pytest.mark.parametrize("name", EDGE_ENCODERS)
class TestEdgeEncoders:
    def make(self, name: str) -> EdgeEncoder:
        encoder: EdgeEncoder = load(EDGE_ENCODERS, name)(**EDGE_OPTIONS.get(name, {}))
        return encoder

    def test_it_says_what_it_measures(self, name: str) -> None:
        encoder = self.make(name)
        assert isinstance(encoder, EdgeEncoder)
        assert encoder.channel.name == name
        assert encoder.channel.modality in MODALITIES
        assert encoder.channel.normality in NORMALITY
        assert "@" in encoder.model

    def test_a_full_window_gives_a_finite_vector_of_the_promised_size(self, name: str) -> None:
        encoder = warm(self.make(name))
        answer = encoder.encode(full_window(180.0, 80))
        assert answer is not None
        assert answer.vector.shape == (encoder.dim,)
        assert (answer.feed_id, answer.start_s, answer.end_s, answer.channel) == ("cam", 180.0, 182.0, name)

    def test_a_missing_modality_is_absent_and_not_zero(self, name: str) -> None:
        assert self.make(name).encode(Window(feed_id="cam", start_s=0.0, end_s=2.0)) is None

    def test_the_same_windows_give_the_same_bytes(self, name: str) -> None:
        once, again = (encode_all(self.make(name), range(WARM_UP)) for _ in range(2))
        assert once
        assert [item.vector.tobytes() for item in once] == [item.vector.tobytes() for item in again]

    def test_it_survives_pickling_in_the_middle_of_a_feed(self, name: str) -> None:
        moved, stayed = warm(self.make(name)), warm(self.make(name))
        moved = pickle.loads(pickle.dumps(moved))
        after = [item.vector.tobytes() for item in encode_all(moved, range(WARM_UP, WARM_UP + 3))]
        assert len(after) == 3
        assert after == [item.vector.tobytes() for item in encode_all(stayed, range(WARM_UP, WARM_UP + 3))]

    def test_it_does_not_write_into_what_it_was_given(self, name: str) -> None:
        encoder = warm(self.make(name))
        window = full_window(100.0 + WARM_UP, WARM_UP)
        window.samples.flags.writeable = False
        for frame in window.frames:
            frame.luma.flags.writeable = False
        assert encoder.encode(window) is not None


@pytest.mark.parametrize("name", REPLICA_ENCODERS)
class TestReplicaEncoders:
    @pytest.fixture
    def encoder(self, name: str, tmp_path: Path) -> ReplicaEncoder:
        encoder: ReplicaEncoder = load(REPLICA_ENCODERS, name)(**replica_options(name, tmp_path), device="cpu")
        return encoder

    def test_rows_come_back_in_order_finite_and_of_the_promised_size(self, encoder: ReplicaEncoder) -> None:
        inputs = make_inputs(encoder.wants, 5)
        vectors = encoder.encode(inputs)
        assert isinstance(encoder, ReplicaEncoder)
        assert vectors.shape == (5, encoder.dim)
        assert vectors.dtype == np.float32
        assert np.isfinite(vectors).all()
        backwards = encoder.encode(np.ascontiguousarray(inputs[::-1]))
        np.testing.assert_allclose(backwards[::-1], vectors, atol=2e-2, rtol=2e-2)

    def test_an_empty_batch_is_an_empty_answer(self, encoder: ReplicaEncoder) -> None:
        assert encoder.encode(make_inputs(encoder.wants, 0)).shape == (0, encoder.dim)

    def test_the_same_inputs_give_the_same_bytes(self, encoder: ReplicaEncoder) -> None:
        inputs = make_inputs(encoder.wants, 3)
        assert encoder.encode(inputs).tobytes() == encoder.encode(inputs).tobytes()

    def test_a_wrong_shape_or_type_is_refused_by_name(self, encoder: ReplicaEncoder) -> None:
        inputs = make_inputs(encoder.wants, 2)
        with pytest.raises(ValueError, match=encoder.wants.dtype):
            encoder.encode(np.zeros(inputs.shape, np.int64))
        with pytest.raises(ValueError, match=r"\("):
            encoder.encode(inputs[:, 1:] if inputs.ndim > 1 else inputs[:, None])


@pytest.mark.parametrize("name", NORMALITY)
class TestNormality:
    def make(self, name: str) -> Normality:
        model: Normality = load(NORMALITY, name)(dim=4, density=True)
        return model

    def test_it_starts_ignorant_and_counts_what_it_learns(self, name: str) -> None:
        model = self.make(name)
        assert isinstance(model, Normality)
        assert len(model) == 0
        for index in range(80):
            model.learn(np.full(4, index % 7, np.float32), float(index))
        assert len(model) == 80

    def test_scoring_teaches_nothing(self, name: str) -> None:
        model = self.make(name)
        random = np.random.default_rng(3)
        for index in range(200):
            model.learn(random.normal(0, 1, 4).astype(np.float32), float(index))
        probe = random.normal(0, 1, 4).astype(np.float32)
        scores = {model.score(probe) for _ in range(5)}
        assert len(scores) == 1
        assert len(model) == 200

    def test_what_was_never_seen_scores_higher_than_what_was(self, name: str) -> None:
        model = self.make(name)
        random = np.random.default_rng(4)
        for index in range(300):
            model.learn(np.abs(random.normal(0, 1, 4)).astype(np.float32), float(index))
        usual = [model.score(np.abs(random.normal(0, 1, 4)).astype(np.float32)) for _ in range(50)]
        assert model.score(np.full(4, 25.0, np.float32)) > max(usual)

    def test_pickled_and_unpickled_it_scores_the_same(self, name: str) -> None:
        model = self.make(name)
        random = np.random.default_rng(5)
        for index in range(150):
            model.learn(random.normal(0, 1, 4).astype(np.float32), float(index))
        probe = random.normal(0, 1, 4).astype(np.float32)
        assert pickle.loads(pickle.dumps(model)).score(probe) == model.score(probe)


EVIDENCE = st.builds(
    lambda modality, p, weight: Evidence(channel=modality, modality=modality, p=p, weight=weight),
    st.sampled_from(MODALITIES),
    st.floats(1e-8, 1.0),
    st.floats(0.1, 3.0),
)


@pytest.mark.parametrize("name", FUSERS)
class TestFusers:
    @given(evidence=st.lists(EVIDENCE, min_size=1, max_size=4, unique_by=lambda item: item.modality))
    def test_shares_sum_to_one_and_surprise_is_a_number(self, name: str, evidence: list[Evidence]) -> None:
        fuser: Fuser = load(FUSERS, name)()
        surprise, shares = fuser.fuse(evidence)
        assert np.isfinite(surprise)
        assert surprise >= -1e-9
        assert set(shares) <= {item.modality for item in evidence}
        assert abs(sum(shares.values()) - 1) <= 1e-9
        assert min(shares.values()) >= 0

    def test_no_evidence_is_no_surprise(self, name: str) -> None:
        assert load(FUSERS, name)().fuse([]) == (0.0, {})

    def test_one_rare_modality_carries_the_share(self, name: str) -> None:
        evidence = [
            Evidence(channel="sound", modality="sound", p=1e-6),
            Evidence(channel="picture", modality="picture", p=0.4),
        ]
        surprise, shares = load(FUSERS, name)().fuse(evidence)
        assert shares["sound"] > 0.6
        assert surprise > 2.5


def make_source(name: str, folder: Path) -> Source:
    feed = FeedConfig(id="cam", url=str(make_clip(folder / "clip.mp4")))
    if name == "captions":
        (folder / "words.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
        source: Source = load(SOURCES, name)(feed, path=str(folder / "words.srt"), epoch_s=50.0)
        return source
    source = load(SOURCES, name)(feed)
    if name == "push":
        from mmstream.types import TextSpan

        source.push(TextSpan(feed_id="cam", start_s=1.0, end_s=2.0, text="hello", origin="pushed"))  # type: ignore[attr-defined]
        source.stop()
    return source


@pytest.mark.parametrize("name", SOURCES)
class TestSources:
    def test_it_ends_and_says_so_and_its_items_are_in_order(self, name: str, tmp_path: Path) -> None:
        source = make_source(name, tmp_path)
        assert isinstance(source, Source)
        items = list(source)
        assert all(item.feed_id == "cam" for item in items)
        for kind in ("video", "audio"):
            times = [item.start_s for item in items if isinstance(item, Packet) and item.kind == kind]
            assert times == sorted(times)
        if name != "push":
            assert isinstance(items[-1], Status)
            assert items[-1].state == "ended"

    def test_stopped_before_it_began_it_yields_nothing(self, name: str, tmp_path: Path) -> None:
        source = make_source(name, tmp_path)
        if name == "push":
            assert len(list(source)) == 1  # what was taken in before is still given
        source.stop()
        assert [item for item in source if not isinstance(item, Status)] == []
