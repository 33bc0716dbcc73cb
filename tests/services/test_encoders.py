"""What can be said of the encoders' client without a Ray; the rest is in tests/cluster/test_encoders.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import DeploymentUnavailableError

from mmstream.types import Embedding, Snapshot
from services import encoders
from services.chunking import ChunkSize
from services.encoders import EncoderClient
from services.replica import Answer


class Handle:
    """Has no replica in its routing the first ``num_away`` times that all are asked."""

    def __init__(self, num_away: int) -> None:
        self.num_away = num_away
        self.asked: list[tuple[Any, ...]] = []

    def broadcast(self, method: str, *args: Any) -> Handle:
        self.asked.append((method, *args))
        return self

    def results(self, timeout_s: float) -> list[str]:
        if len(self.asked) <= self.num_away:
            raise DeploymentUnavailableError(DeploymentID("Encoder-probe", "encoder-probe"))
        return [f"answered within {timeout_s}"]


def test_asking_all_replicas_while_serve_reconfigures_the_only_one_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A test site with one replica failed at this: for a moment Serve's routing was empty."""
    handle = Handle(num_away=2)
    monkeypatch.setattr(encoders, "encoder_handle", lambda _: handle)
    assert encoders.ask_all("probe", "stage", 1, timeout_s=30.0) == ["answered within 30.0"]
    assert handle.asked == [("stage", 1)] * 3


def test_an_encoder_without_replicas_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "encoder_handle", lambda _: Handle(num_away=1000))
    with pytest.raises(DeploymentUnavailableError):
        encoders.ask_all("probe", "stats", timeout_s=0.0)


class SlowModel:
    """Takes a second for ``per_second`` pictures; callers wait two."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, per_second: float) -> None:
        self.per_second, self.now_s = per_second, 0.0
        self.passes: list[int] = []
        monkeypatch.setattr(EncoderClient, "_connect", lambda _: None)
        monkeypatch.setattr(encoders.time, "monotonic", lambda: self.now_s)
        self.client = EncoderClient("slow", reconnect_after=1000)
        monkeypatch.setattr(self.client, "_ask", self.ask)

    async def ask(self, inputs: npt.NDArray[Any]) -> Answer | str:
        took_s = len(inputs) / self.per_second
        self.now_s += min(took_s, 2.0)
        if took_s > 2.0:
            return "timeout"
        self.passes.append(len(inputs))
        return Answer(vectors=inputs.reshape(len(inputs), -1).astype(np.float32), channel="slow", model="slow@1")

    def encode(self, snapshots: Sequence[Snapshot]) -> list[Embedding] | None:
        return asyncio.run(self.client.encode(snapshots))


def make_snapshots(num: int, *, patient: bool = False) -> list[Snapshot]:
    return [
        Snapshot(
            feed_id=f"cam-{i}",
            start_s=0.0,
            end_s=2.0,
            encoder="slow",
            data=np.full((2, 2), i, np.uint8),
            patient=patient,
        )
        for i in range(num)
    ]


def test_a_model_too_slow_for_a_whole_chunk_still_answers_as_much_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SlowModel(monkeypatch, per_second=6)
    assert model.encode(make_snapshots(32)) is None
    assert model.encode(make_snapshots(32)) is None
    answer = model.encode(make_snapshots(32))
    assert answer is not None
    assert [e.feed_id for e in answer] == [f"cam-{i}" for i in range(len(answer))]
    assert len(answer) >= 8
    before_s, encoded = model.now_s, model.client.counters["encoded"]
    for _ in range(20):
        model.encode(make_snapshots(32))
    rate = (model.client.counters["encoded"] - encoded) / (model.now_s - before_s)
    assert rate > 0.7 * model.per_second, "little of its time is lost on calls that come too late"
    counters = model.client.counters
    assert counters["encoded"] + counters["timeout"] == 23 * 32


def test_a_model_that_is_fast_again_gets_large_chunks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SlowModel(monkeypatch, per_second=3)
    for _ in range(6):
        model.encode(make_snapshots(32))
    assert max(model.passes) <= 6
    model.per_second = 1000
    for _ in range(10):
        model.encode(make_snapshots(32))
    assert model.passes[-1] == 32


def test_the_chunk_of_a_recording_is_answered_whole_or_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SlowModel(monkeypatch, per_second=6)
    answers = [model.encode(make_snapshots(32, patient=True)) for _ in range(5)]
    assert [None if answer is None else len(answer) for answer in answers] == [None, None, 32, 32, 32]


def test_a_chunk_is_never_smaller_than_one() -> None:
    size = ChunkSize(patience_s=2.0, most=32)
    for _ in range(20):
        size.note(size.most, None)
    assert size.most == 1
