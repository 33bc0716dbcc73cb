"""Encoders on a real Serve: batching, back-pressure, replacement, swap."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from mmstream.config import EncoderSection
from mmstream.errors import ConfigError, StageError
from mmstream.types import Embedding, Snapshot
from services import encoders
from services.encoders import EncoderClient, push_model, replica_stats
from services.replica import EncoderReplica
from tests.cluster.probe import NAME, ProbeEncoder

SECTION = EncoderSection(device="cpu", max_replicas=1)


def make_snapshots(num: int, *, first: int = 0, side_px: int = 8, value: int | None = None) -> list[Snapshot]:
    """``num`` pictures; the mean of number i is i + 1, so every answer can be traced."""
    return [
        Snapshot(
            feed_id=f"cam-{i}",
            start_s=float(i),
            end_s=i + 2.0,
            encoder="probe",
            data=np.full((side_px, side_px), i + 1 if value is None else value, np.uint8),
        )
        for i in range(first, first + num)
    ]


def wait_until(happened: Callable[[], bool], timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def probe_app(cluster: None) -> Iterator[None]:  # noqa: ARG001 - it must be up
    encoders.run_encoder(NAME, SECTION)
    yield
    serve.delete(encoders.app_name(NAME))


@pytest.fixture
def run_probe(probe_app: None) -> Callable[..., None]:  # noqa: ARG001 - it must be up
    """Give the one probe encoder other options; a version of its own per test, or nothing changes."""

    def run(version: str, **options: Any) -> None:
        assert push_model(NAME, {"version": version, **options}) == f"probe@{version}"

    return run


@pytest.mark.cluster
def test_chunks_of_several_callers_share_a_batch_and_return_to_their_owners(run_probe: Callable[..., None]):

    run_probe("batching", delay_s=0.05)
    [before] = replica_stats(NAME)

    async def many() -> list[list[Embedding] | None]:
        clients = [EncoderClient(NAME) for _ in range(4)]
        calls = [client.encode(make_snapshots(5, first=10 * i)) for i, client in enumerate(clients)]
        return await asyncio.gather(*calls)

    answers = asyncio.run(many())
    for i, answer in enumerate(answers):
        assert answer is not None
        assert [e.feed_id for e in answer] == [f"cam-{10 * i + j}" for j in range(5)]
        assert [float(e.vector[0]) for e in answer] == [10 * i + j + 1 for j in range(5)]
        assert {(e.channel, e.model) for e in answer} == {("probe", "probe@batching")}
    [stats] = replica_stats(NAME)
    assert stats.num_chunks - before.num_chunks == 4
    assert stats.num_inputs - before.num_inputs == 20
    assert stats.most_chunks_in_batch > 1
    assert max(float(e.vector[1]) for answer in answers if answer for e in answer) >= 10


@pytest.mark.cluster
def test_an_encoder_says_what_to_send_it_before_the_first_picture(run_probe: Callable[..., None]):

    run_probe("7")
    description = EncoderClient.describe(NAME)
    assert description.channel == ProbeEncoder.channel
    assert description.wants.shape == (8, 8)
    assert (description.model, description.dim) == ("probe@7", 2)


@pytest.mark.cluster
def test_a_full_encoder_drops_and_counts_instead_of_lagging(
    run_probe: Callable[..., None], caplog: pytest.LogCaptureFixture
):

    run_probe("busy", delay_s=0.2)

    async def burst() -> tuple[list[list[Embedding] | None], list[float], dict[str, int]]:
        client = EncoderClient(NAME)
        await client.encode(make_snapshots(1))
        took_s = []

        async def call() -> list[Embedding] | None:
            start_s = time.monotonic()
            answer = await client.encode(make_snapshots(2))
            took_s.append(time.monotonic() - start_s)
            return answer

        return await asyncio.gather(*(call() for _ in range(40))), took_s, client.counters

    answers, took_s, counters = asyncio.run(burst())
    num_dropped = sum(answer is None for answer in answers)
    assert num_dropped >= 10
    assert 40 - num_dropped >= 2
    assert counters["backpressure"] == 2 * num_dropped
    assert counters["encoded"] == 1 + 2 * (40 - num_dropped)
    assert max(took_s) < 2.0
    assert "backpressure" not in caplog.text


@pytest.mark.cluster
def test_a_slow_model_is_a_counted_timeout_and_then_a_new_handle(run_probe: Callable[..., None]):

    run_probe("slow", delay_s=1.0)

    async def three() -> dict[str, int]:
        client = EncoderClient(NAME, timeout_s=0.3, reconnect_after=2)
        assert [await client.encode(make_snapshots(3)) for _ in range(2)] == [None, None]
        return client.counters

    counters = asyncio.run(three())
    assert counters["timeout"] == 6
    assert counters["num_reconnects"] == 1


@pytest.mark.cluster
def test_what_does_not_fit_or_breaks_the_model_costs_only_its_own_chunk(run_probe: Callable[..., None]):

    run_probe("plain")

    async def mixed() -> tuple[list[list[Embedding] | None], dict[str, int]]:
        client = EncoderClient(NAME)
        good = await client.encode([*make_snapshots(3), *make_snapshots(1, side_px=9)])
        wrong_size, also_good = await asyncio.gather(
            client.encode(make_snapshots(2, side_px=9)), client.encode(make_snapshots(4))
        )
        broken = await client.encode(make_snapshots(1, value=255))
        return [good, wrong_size, also_good, broken, await client.encode(make_snapshots(1))], client.counters

    answers, counters = asyncio.run(mixed())
    assert [None if a is None else len(a) for a in answers] == [3, None, 4, None, 1]
    assert counters["misfit"] == 1
    assert counters["failed"] == 3


@pytest.mark.cluster
def test_after_kill_9_frames_flow_again_within_ten_seconds(run_probe: Callable[..., None]):

    run_probe("killed", delay_s=0.02)
    [before] = replica_stats(NAME)

    async def kill_and_go_on() -> tuple[float, dict[str, int]]:
        client = EncoderClient(NAME, timeout_s=1.0)
        assert await client.encode(make_snapshots(2)) is not None
        os.kill(before.pid, signal.SIGKILL)
        start_s = time.monotonic()
        while (answer := await client.encode(make_snapshots(2))) is None and time.monotonic() - start_s < 20:
            await asyncio.sleep(0.05)
        assert answer is not None
        return time.monotonic() - start_s, client.counters

    took_s, counters = asyncio.run(kill_and_go_on())
    assert took_s < 10
    assert sum(counters[reason] for reason in ("replica_died", "timeout", "backpressure")) >= 2
    [after] = replica_stats(NAME)
    assert after.pid != before.pid


@pytest.mark.cluster
def test_a_pushed_model_is_swapped_in_while_frames_flow_and_none_is_lost(run_probe: Callable[..., None]):

    run_probe("1")
    [before] = replica_stats(NAME)

    async def swap() -> tuple[list[str], dict[str, int]]:
        client = EncoderClient(NAME)
        pushing = asyncio.create_task(asyncio.to_thread(push_model, NAME, {"version": "2"}))
        models = []
        while not pushing.done() or len(models) < 5:
            answer = await client.encode(make_snapshots(3))
            assert answer is not None
            models += sorted({e.model for e in answer})
        assert await pushing == "probe@2"
        answer = await client.encode(make_snapshots(3))
        assert answer is not None
        return [*models, answer[0].model], client.counters

    models, counters = asyncio.run(swap())
    assert models == sorted(models)
    assert (models[0], models[-1]) == ("probe@1", "probe@2")
    assert counters["encoded"] == 3 * len(models)
    [after] = replica_stats(NAME)
    assert (after.pid, after.model) == (before.pid, "probe@2")

    os.kill(after.pid, signal.SIGKILL)

    def replaced() -> bool:
        try:
            return all(stats.pid != after.pid for stats in replica_stats(NAME, timeout_s=1))
        except (RayError, RayServeException, TimeoutError):
            return False

    assert wait_until(replaced, 20)
    assert [stats.model for stats in replica_stats(NAME)] == ["probe@2"]


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"versoin": "2"}, "there is no option 'versoin'"),
        ({"version": "2", "side_px": 16}, r"feeds send \(8, 8\)"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_and_the_old_one_goes_on(
    run_probe: Callable[..., None], options: dict[str, Any], sentence: str
):

    run_probe("good")
    [before] = replica_stats(NAME)
    with pytest.raises(ConfigError, match=sentence):
        push_model(NAME, options)
    answer = asyncio.run(EncoderClient(NAME).encode(make_snapshots(2)))
    assert answer is not None
    assert answer[0].model == "probe@good"
    [after] = replica_stats(NAME)
    assert after.pid == before.pid


@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
def test_an_encoder_that_nobody_runs_is_counted_and_does_not_raise():
    async def ask() -> tuple[list[Embedding] | None, dict[str, int]]:
        client = EncoderClient("nobody", timeout_s=0.5)
        return await client.encode(make_snapshots(2)), client.counters

    answer, counters = asyncio.run(ask())
    assert answer is None
    assert counters["unavailable"] + counters["timeout"] == 2


def test_a_bad_declared_change_keeps_the_model_and_is_told_in_the_stats():

    async def declare() -> tuple[str, str, str]:
        replica = EncoderReplica(NAME, "cpu", {})
        with pytest.raises(ConfigError, match="no option 'versoin'"):
            await replica.reconfigure({"options": {"versoin": "1"}, "model": "probe@1"})
        await replica.reconfigure({"options": {"versoin": "1"}})
        with pytest.raises(ConfigError, match="no option 'versoin'"):
            await replica.describe()
        await replica.reconfigure({"options": {"version": "1"}})
        await replica.reconfigure({"options": {"versoin": "2"}})
        bad = await replica.stats()
        await replica.reconfigure({"options": {"version": "2"}})
        good = await replica.stats()
        assert good.last_error == ""
        return bad.model, bad.last_error, good.model

    model, error, model_after = asyncio.run(declare())
    assert model == "probe@1"
    assert "no option 'versoin'" in error
    assert model_after == "probe@2"


def test_a_slow_pass_is_no_hung_replica_and_one_that_never_ends_is(monkeypatch: pytest.MonkeyPatch):
    """Serve replaced replicas on CPUs in the middle of passes of 32 pictures, again and again."""

    async def check() -> None:
        replica = EncoderReplica(NAME, "cpu", {})
        await replica.reconfigure({"options": {"version": "1", "delay_s": 0.5}})
        monkeypatch.setattr("services.replica.PROBE_AFTER_S", 0.0)
        working = asyncio.create_task(replica.encode(np.ones((2, 8, 8), np.uint8)))
        while replica._busy_since_s is None:
            await asyncio.sleep(0.01)
        began_s = time.monotonic()
        await replica.check_health()
        assert time.monotonic() - began_s < 0.25, "it does not queue behind the pass"
        monkeypatch.setattr("services.replica.HUNG_AFTER_S", 0.0)
        with pytest.raises(StageError, match="at one pass"):
            await replica.check_health()
        await working
        await replica.check_health()

    asyncio.run(check())


def test_passes_grow_no_longer_than_callers_can_wait():
    def inputs_at_once(took_s: float) -> int:
        replica = EncoderReplica(NAME, "cpu", {})
        for _ in range(8):
            replica._note_speed(2, took_s)
        return replica._batches.most

    assert inputs_at_once(0.001) == 32
    assert inputs_at_once(0.2) == 5, "0.1 s each, half a second in all"
    assert inputs_at_once(20.0) == 1
