"""Replica encoders on Ray Serve: one application per model, placed, asked and swapped while frames flow.

A call carries a chunk: up to ``max_chunk`` pictures, sounds or texts of many feeds as one array, and nothing else; the
answer is one float32 array and the model's name. The caller keeps the snapshots and puts the two together. A call that
does not come back is not repeated: the next frame is worth more.

How a new model arrives (no dashboard needed): `push_model` has every replica load it beside the old one and warm it up
(`EncoderReplica.stage`); if one cannot, nothing changes and the caller reads why. Then it is declared to Serve as the
deployment's ``user_config``: running replicas swap to what they staged, and a replica started later loads the same.
The deployment's code version is pinned, because Serve restarts replicas for every `serve.run` without it.

An encoder whose model cannot be loaded stops nobody: its replicas stand by and say why (`EncoderClient.describe`), the
supervisor runs the site without its channel, and takes it in as soon as one of them has a model.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

import mmstream
from mmstream.config import EncoderSection
from mmstream.encoders.batching import stack_inputs, to_embeddings
from mmstream.errors import ConfigError, MmstreamError, StageError
from mmstream.types import Embedding, Float32, Snapshot
from services.chunking import ChunkSize
from services.replica import Answer, Description, EncoderReplica, ReplicaStats

SPARE_REPLICAS = 2
"""Never fewer, unless told so: loading a model takes seconds in which nothing would be encoded."""
CHUNKS_PER_REPLICA = 8
"""In the model or waiting for it, which is where they meet those of other shards."""
CHUNKS_WAITING_PER_CALLER = 2
"""Beyond this a caller's chunk is refused at once: dropped and counted, never late."""
STARTS_WITHIN_S = 60.0
"""A site waits so long for its encoders before it runs on without those that have no model yet."""
RETRY_S = 0.2
MOST_INPUTS = 256
"""As `EncoderSection.max_chunk`."""


def _is_not_a_counted_drop(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Request dropped due to backpressure")


# Serve writes a line per refused call; overloaded shards would fill the disk with what `EncoderClient` counts.
logging.getLogger("ray.serve").addFilter(_is_not_a_counted_drop)


def app_name(name: str) -> str:
    """The Serve application of an encoder; the one deployment in it is `deployment_name`."""
    return f"encoder-{name}"


def deployment_name(name: str) -> str:
    return f"Encoder-{name}"


def device_of(section: EncoderSection) -> str:
    """``cpu`` or ``cuda``: where the models of a site run."""
    if section.device != "auto":
        return section.device
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return "cuda" if resources.get("GPU", 0) else "cpu"


def encoder_app(name: str, section: EncoderSection, *, model: str = "", stand_by: str = "") -> serve.Application:
    """The application to `serve.run` as ``name=app_name(name), route_prefix=None``; see `run_encoder`.

    ``model`` names what the options are known to load; a changed name makes replicas load the same options again.
    ``stand_by``: why they shall do without any.
    """
    device = device_of(section)
    settings = section.model_dump(mode="json")
    lasting = {**settings, "options": {}, "device": device, "name": name}
    deployment: Any = serve.deployment(EncoderReplica)
    pinned = deployment.options(
        name=deployment_name(name),
        version=f"{mmstream.__version__}-{zlib.crc32(repr(sorted(lasting.items())).encode()):08x}",
        _internal=True,  # the only way to pin the version; see the module's docstring
        user_config={"options": dict(section.options.get(name, {})), "model": model, "stand_by": stand_by},
        # Two replicas per GPU overlap copying with computing. Ray's fractions share nothing but the counting.
        ray_actor_options={"num_cpus": 0.5, "num_gpus": 0.5 if device == "cuda" else 0},
        autoscaling_config=AutoscalingConfig(
            min_replicas=min(SPARE_REPLICAS, section.max_replicas),
            max_replicas=section.max_replicas,
            target_ongoing_requests=2,
            upscale_delay_s=10,
        ),
        max_ongoing_requests=CHUNKS_PER_REPLICA,
        max_queued_requests=CHUNKS_WAITING_PER_CALLER,
        max_constructor_retry_count=2,
        health_check_period_s=1,
        health_check_timeout_s=10,
        logging_config={"enable_access_log": False},
    )
    application: serve.Application = pinned.bind(name, device, settings)
    return application


def run_encoder(name: str, section: EncoderSection, *, model: str = "") -> DeploymentHandle[Any]:
    """Start the encoder, or bring a running one to these settings; returns when its replicas run, models or not.

    Raises:
        RuntimeError: from Serve, when the processes themselves do not start.
    """
    application = encoder_app(name, section, model=model)
    return serve.run(application, name=app_name(name), route_prefix=None)


def start_encoders(section: EncoderSection, *, patience_s: float = STARTS_WITHIN_S) -> dict[str, str]:
    """Start every encoder of a site; -> name: why not, for those that have no model after ``patience_s``."""
    targets = [
        serve.RunTarget(target=encoder_app(name, section), name=app_name(name), route_prefix=None)
        for name in section.replicas
    ]
    if targets:
        # Not waiting for Serve: for a GPU that is not there, it would wait for ever.
        serve.run_many(targets, wait_for_ingress_deployment_creation=True, wait_for_applications_running=False)
    return describe_all(section.replicas, patience_s=patience_s)[1]


def describe_all(names: Sequence[str], *, patience_s: float) -> tuple[dict[str, Description], dict[str, str]]:
    """-> what the encoders ``names`` want to be sent, and why some of them do not say so."""
    deadline_s = time.monotonic() + patience_s
    found, missing = {}, {}
    for name in names:
        try:
            found[name] = EncoderClient.describe(name, max(1.0, deadline_s - time.monotonic()))
        except MmstreamError as error:
            missing[name] = error.sentence
    return found, missing


def encoder_handle(name: str) -> DeploymentHandle[Any]:
    """The process's one handle to an encoder, for questions that are asked rarely."""
    return serve.get_deployment_handle(deployment_name(name), app_name(name), _check_exists=False)


def ask_all(name: str, method: str, *args: Any, timeout_s: float) -> list[Any]:
    """The answers of every running replica of an encoder. Not for coroutines: it waits.

    Serve takes replicas that are being reconfigured out of its routing, so a moment without any is a swap under way.

    Raises:
        DeploymentUnavailableError: no replica ran for ``timeout_s``.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            answers: list[Any] = encoder_handle(name).broadcast(method, *args).results(timeout_s=timeout_s)
        except DeploymentUnavailableError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return answers


def replica_stats(name: str, timeout_s: float = 10.0) -> list[ReplicaStats]:
    """Every running replica of an encoder. Not for coroutines: it waits."""
    return ask_all(name, "stats", timeout_s=timeout_s)


async def words_of(name: str, texts: Sequence[str], *, timeout_s: float = 10.0) -> Float32:
    """``texts`` in the space of what the encoder ``name`` makes of pictures or sound: (N, dim), rows of length 1.

    A full or starting encoder is asked again until ``timeout_s`` is over.

    Raises:
        StageError: its model knows no words, or it does not answer.
    """
    if not texts:
        raise ValueError("words_of: want at least one text")
    deadline_s = time.monotonic() + timeout_s
    while True:
        left_s = deadline_s - time.monotonic()
        try:
            response = encoder_handle(name).encode_words.remote(list(texts))
            vectors: Float32 = await asyncio.wait_for(response, max(left_s, 0.001))
        except RayTaskError as error:
            sentence = error.cause.sentence if isinstance(error.cause, StageError) else f"{error.cause}"
            raise StageError(f"encoder {name!r} cannot read {texts[0]!r}: {sentence}") from None
        except (RayError, RayServeException, TimeoutError) as error:
            if time.monotonic() + RETRY_S > deadline_s:
                sentence = f"encoder {name!r} did not answer within {timeout_s:g} s ({type(error).__name__})"
                raise StageError(f"{sentence}; look at its replicas with 'serve status'") from None
            await asyncio.sleep(RETRY_S)
        else:
            return vectors


def push_model(name: str, options: Mapping[str, Any], *, timeout_s: float = 120.0) -> str:
    """Give a running encoder another model (``options`` as in ``encoders.options.<name>``); -> the model's name.

    No frame is lost: replicas swap between two batches. Rolling back is pushing the options before. Not for coroutines:
    it waits, as long as loading takes.

    Raises:
        ConfigError: some replica cannot load it; all keep the old one, also in what later replicas will load.
        StageError: not all replicas use it after ``timeout_s``.
    """
    deadline_s = time.monotonic() + timeout_s
    section = EncoderSection.model_validate(encoder_handle(name).section.remote().result(timeout_s=timeout_s))
    try:
        model: str = ask_all(name, "stage", dict(options), timeout_s=timeout_s)[0]
    except RayTaskError as error:
        ask_all(name, "unstage", timeout_s=timeout_s)
        if isinstance(error.cause, ConfigError):
            raise ConfigError(error.cause.sentence) from None
        raise
    changed = section.model_copy(update={"options": {**section.options, name: dict(options)}})
    run_encoder(name, changed, model=model)
    while (stats := replica_stats(name)) and any(replica.model != model for replica in stats):
        if time.monotonic() > deadline_s:
            raise StageError(f"encoder {name!r}: not all replicas use {model} after {timeout_s:.0f} s: {stats}")
        time.sleep(0.05)
    return model


def stand_by(name: str, options: Mapping[str, Any], reason: str, *, timeout_s: float = 120.0) -> None:
    """Take the model of a running encoder away: it says ``reason`` until it is given another one. Not for coroutines.

    Raises:
        StageError: not all replicas have done so after ``timeout_s``.
    """
    deadline_s = time.monotonic() + timeout_s
    section = EncoderSection.model_validate(encoder_handle(name).section.remote().result(timeout_s=timeout_s))
    changed = section.model_copy(update={"options": {**section.options, name: dict(options)}})
    application = encoder_app(name, changed, stand_by=reason)
    serve.run(application, name=app_name(name), route_prefix=None)
    while (stats := replica_stats(name)) and any(replica.model for replica in stats):
        if time.monotonic() > deadline_s:
            raise StageError(f"encoder {name!r}: not all replicas stand by after {timeout_s:.0f} s: {stats}")
        time.sleep(0.05)


class EncoderClient:
    """A decoder shard's way to one encoder. Never raises for frames that did not make it: it counts them.

    ``counters`` hold inputs: ``encoded``, and by reason ``misfit`` (another shape than most of the chunk),
    ``backpressure`` (the encoder is full), ``timeout``, ``replica_died``, ``unavailable`` (no such application, or
    stopped), ``failed`` (the model raised, or wants other inputs), ``not_finite``; ``num_reconnects`` counts handles.
    """

    def __init__(self, name: str, *, timeout_s: float = 2.0, reconnect_after: int = 3) -> None:
        self._name, self._timeout_s, self._reconnect_after = name, timeout_s, reconnect_after
        self._handle = self._connect()
        self._size = ChunkSize(patience_s=timeout_s, most=MOST_INPUTS)
        self._num_timeouts_in_a_row = 0
        self.counters: Counter[str] = Counter()

    @staticmethod
    def describe(name: str, timeout_s: float = 60.0) -> Description:
        """What to send to the encoder ``name``. Not for coroutines: it waits for a replica.

        Raises:
            ConfigError: its model cannot be loaded, and why.
            StageError: no replica answers.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            response = encoder_handle(name).describe.remote()
            try:
                description: Description = response.result(timeout_s=max(0.0, deadline_s - time.monotonic()))
            except RayTaskError as error:
                if isinstance(error.cause, MmstreamError):
                    raise ConfigError(error.cause.sentence) from None
                raise
            except (RayError, RayServeException, TimeoutError) as error:
                if isinstance(error, TimeoutError):
                    response.cancel()  # type: ignore[no-untyped-call]
                elif time.monotonic() < deadline_s:  # just started, or a process died: another one comes
                    time.sleep(RETRY_S)
                    continue
                raise StageError(
                    f"no replica of the encoder {name!r} answered within {timeout_s:.0f} s ({type(error).__name__}): "
                    "it is still loading, or no machine has the CPU or GPU it asks for; look at 'serve status'"
                ) from None
            else:
                return description

    async def encode(self, snapshots: Sequence[Snapshot]) -> list[Embedding] | None:
        """One chunk, at most ``max_chunk`` snapshots; None when it was dropped, with the reason counted.

        Where the model is too slow for so many the chunk goes in parts; what comes after a lost part is dropped, too.
        """
        kept, inputs = stack_inputs(snapshots)
        self.counters["misfit"] += len(snapshots) - len(kept)
        embeddings: list[Embedding] = []
        done = 0
        while done < len(kept):
            part = kept[done : done + self._size.most]
            began_s = time.monotonic()
            answer = await self._ask(inputs[done : done + len(part)])
            timed_out = answer == "timeout"
            self._size.note(len(part), None if timed_out else time.monotonic() - began_s)
            await self._note_timeouts(timed_out)
            if isinstance(answer, str):
                lost = kept[done:]  # the rest would only be later still
                self.counters[answer] += len(lost)
                # A recording asks again for all of its chunk.
                return embeddings if embeddings and not any(snapshot.patient for snapshot in lost) else None
            found = to_embeddings(part, answer.vectors, channel=answer.channel, model=answer.model)
            self.counters["encoded"] += len(found)
            self.counters["not_finite"] += len(part) - len(found)
            embeddings += found
            done += len(part)
        return embeddings

    def _connect(self) -> DeploymentHandle[Any]:
        """A handle with a router of its own: `serve.get_deployment_handle` would give the stuck one again."""
        return DeploymentHandle(deployment_name(self._name), app_name(self._name))

    async def _ask(self, inputs: npt.NDArray[Any]) -> Answer | str:
        """The answer, or why there is none."""
        response = None
        try:
            response = self._handle.encode.remote(inputs)
            answer: Answer = await asyncio.wait_for(response, self._timeout_s)
            return answer
        except BackPressureError:
            return "backpressure"
        except TimeoutError:
            if response is not None:
                response.cancel()  # type: ignore[no-untyped-call]
            return "timeout"
        except RayTaskError:
            return "failed"
        except RayServeException:
            return "unavailable"
        except RayError:
            return "replica_died"

    async def _note_timeouts(self, timed_out: bool) -> None:
        """A router can stop answering for good (ray #47870): after a few timeouts in a row, take a new one."""
        self._num_timeouts_in_a_row = self._num_timeouts_in_a_row + 1 if timed_out else 0
        if self._num_timeouts_in_a_row >= self._reconnect_after:
            old, self._handle = self._handle, self._connect()
            self._num_timeouts_in_a_row = 0
            self.counters["num_reconnects"] += 1
            await old.shutdown_async()  # type: ignore[no-untyped-call]
