from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.encoders.batching import build_replica, encode_snapshots, stack_inputs
from mmstream.encoders.filterbank import FilterBankEncoder
from mmstream.errors import ConfigError, StageError
from mmstream.types import Channel, Float32, PictureSpec, Snapshot, UInt8


class MeanEncoder:
    """The picture's mean and its count of bright pixels; NaN for a picture that is all 255."""

    channel: ClassVar[Channel] = Channel(name="mean", modality="picture")
    wants = PictureSpec(width_px=4, height_px=3)
    model = "mean@1"
    dim = 2

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def encode(self, pictures: UInt8) -> Float32:
        self.batch_sizes.append(len(pictures))
        means = pictures.mean(axis=(1, 2))
        bright = (pictures > 127).sum(axis=(1, 2))
        means[means == 255] = np.nan
        return np.stack([means, bright], axis=1).astype(np.float32)


def make_snapshot(index: int, *, value: int = 7, shape: tuple[int, ...] = (3, 4), dtype: Any = np.uint8) -> Snapshot:
    return Snapshot(
        feed_id=f"gate-{index}",
        start_s=100.0 + index,
        end_s=102.0 + index,
        encoder="mean",
        data=np.full(shape, value, dtype),
    )


def test_pictures_of_many_feeds_go_through_one_call_and_keep_their_order():
    encoder = MeanEncoder()
    embeddings = encode_snapshots(encoder, [make_snapshot(i, value=i) for i in range(5)])
    assert encoder.batch_sizes == [5]
    assert [e.feed_id for e in embeddings] == [f"gate-{i}" for i in range(5)]
    assert [float(e.vector[0]) for e in embeddings] == [0, 1, 2, 3, 4]
    assert [(e.start_s, e.end_s) for e in embeddings] == [(100.0 + i, 102.0 + i) for i in range(5)]
    assert {(e.channel, e.model) for e in embeddings} == {("mean", "mean@1")}


def test_a_vector_does_not_hold_the_memory_of_its_whole_chunk():
    embeddings = encode_snapshots(MeanEncoder(), [make_snapshot(i) for i in range(3)])
    assert all(e.vector.base is None for e in embeddings)


@given(kinds=st.lists(st.sampled_from(["good", "size", "type", "nan"]), max_size=12))
def test_only_what_does_not_fit_is_dropped(kinds: list[str]):
    options: dict[str, dict[str, Any]] = {
        "good": {},
        "size": {"shape": (3, 5)},
        "type": {"dtype": np.int16},
        "nan": {"value": 255},
    }
    snapshots = [make_snapshot(i, **options[kind]) for i, kind in enumerate(kinds)]
    if kinds and not {"good", "nan"} & set(kinds):
        with pytest.raises(StageError, match=r"mean@1 wants uint8 \(N, 3, 4\)"):
            encode_snapshots(MeanEncoder(), snapshots)
        return
    embeddings = encode_snapshots(MeanEncoder(), snapshots)
    assert [e.feed_id for e in embeddings] == [f"gate-{i}" for i, kind in enumerate(kinds) if kind == "good"]


def test_without_a_given_shape_the_commonest_wins():
    snapshots = [make_snapshot(0, shape=(9, 9)), make_snapshot(1), make_snapshot(2)]
    kept, pictures = stack_inputs(snapshots)
    assert [s.feed_id for s in kept] == ["gate-1", "gate-2"]
    assert pictures.shape == (2, 3, 4)
    assert stack_inputs([])[0] == []


def test_a_replica_is_built_by_name_and_options():
    encoder = build_replica("filterbank", {"precision": "fp32"}, "cpu")
    assert isinstance(encoder, FilterBankEncoder)
    own = build_replica(f"{__name__}:MeanEncoder", {}, "cpu")
    assert own.model == "mean@1"


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        pytest.param("filterbnk", {}, "there is no 'filterbnk'; choose one of .*filterbank", id="name"),
        pytest.param("filterbank", {"sice": 3}, "there is no option 'sice'; allowed: precision", id="option"),
        pytest.param("filterbank", {"device": "cuda"}, "set for all encoders by encoders.device", id="device"),
        pytest.param("filterbank", {"precision": "fp8"}, "choose auto, fp32 or bf16", id="value"),
        pytest.param("vision", {}, "'folder' is missing; allowed: .*folder, .*precision", id="missing"),
        pytest.param("vision", {"folder": "/no/such"}, "there is no folder /no/such", id="folder"),
        pytest.param("vision", {"folder": 3}, "encoders.options.vision", id="type"),
        pytest.param(
            "torchvision", {"architecture": "alexnet", "weights": "/w.pt"}, "choose a ResNet", id="architecture"
        ),
        pytest.param("torchvision", {"architecture": "resnet18", "weights": "/no.pt"}, "cannot read", id="weights"),
    ],
)
def test_wrong_settings_are_plain_sentences(name: str, options: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        build_replica(name, options, "cpu")
