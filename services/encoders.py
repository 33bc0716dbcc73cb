"""Replica encoders on Ray Serve: one application per model, batched across shards, swapped while frames flow.

A call carries a chunk: up to ``max_chunk`` pictures, sounds or texts of many feeds as one array, and nothing else; the
answer is one float32 array and the model's name. The caller keeps the snapshots and puts the two together. A call that
does not come back is not repeated: the next frame is worth more.

How a new model arrives (no dashboard needed): `push_model` has every replica load it beside the old one and warm it up
(`EncoderReplica.stage`); if one cannot, nothing changes and the caller reads why. Then it is declared to Serve as the
deployment's ``user_config``: running replicas swap to what they staged, and a replica started later loads the same.
The deployment's code version is pinned, because Serve restarts replicas for every `serve.run` without it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

import mmstream
from mmstream.config import EncoderSection
from mmstream.encoders.batching import blank, build_replica, check_inputs, stack_inputs, to_embeddings
from mmstream.errors import ConfigError, StageError
from mmstream.stages import KnowsWords, ReplicaEncoder
from mmstream.types import Channel, Embedding, Float32, InputSpec, Snapshot

CHUNKS_PER_BATCH = 4
SPARE_REPLICAS = 2
"""Never fewer, unless told so: loading a model takes seconds in which nothing would be encoded."""
BATCH_WAIT_S = 0.005
CHUNKS_PER_REPLICA = 2 * CHUNKS_PER_BATCH
"""One batch in the model, one forming."""
CHUNKS_WAITING_PER_CALLER = 2
"""Beyond this a caller's chunk is refused at once: dropped and counted, never late."""
WORDS_RETRY_S = 0.2
PROBE_AFTER_S = 10.0
"""The health check runs the model only when nothing has succeeded for so long: busy replicas prove themselves."""


def _is_not_a_counted_drop(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Request dropped due to backpressure")


# Serve writes a line per refused call; overloaded shards would fill the disk with what `EncoderClient` counts.
logging.getLogger("ray.serve").addFilter(_is_not_a_counted_drop)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What comes back for one chunk."""

    vectors: Float32
    """(N, dim), in the order of the inputs."""
    channel: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a decoder must know of an encoder before it sends anything."""

    channel: Channel
    wants: InputSpec
    model: str
    dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStats:
    """One replica, since it started."""

    pid: int
    model: str
    num_batches: int
    num_chunks: int
    num_inputs: int
    most_chunks_in_batch: int
    num_failed_batches: int
    last_error: str
    """Why the last model that was offered could not be loaded; empty after a good one."""


class EncoderReplica:
    """Serve's side of a plain encoder: batches chunks, swaps models, proves that it is alive."""

    def __init__(self, name: str, device: str, section: Mapping[str, Any]) -> None:
        import torch  # only here: deciding where replicas run must not cost every driver torch's memory

        torch.set_num_threads(1)  # replicas share cores; more of them is how more cores are used
        self._name, self._device, self._section = name, device, dict(section)
        self._encoder: ReplicaEncoder | None = None
        self._staged: tuple[dict[str, Any], ReplicaEncoder] | None = None
        self._counters: Counter[str] = Counter()
        self._most_chunks_in_batch = 0
        self._last_error = ""
        self._last_success_s = time.monotonic()
        self._one_at_a_time = asyncio.Lock()

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Serve calls this at the start and for every declared change.

        A model that cannot be loaded fails a replica that has none. A replica that has one keeps it and says so in
        `stats`: raising here would make Serve stop it, and with it all the others.
        """
        options = dict(user_config["options"])
        try:
            staged = self._staged
            if staged is None or staged[0] != options:
                await self.stage(options)
                staged = self._staged
        except ConfigError as error:
            if self._encoder is None:
                raise
            self._last_error = error.sentence
            return
        assert staged is not None
        self._encoder, self._staged, self._last_error = staged[1], None, ""

    async def stage(self, options: Mapping[str, Any]) -> str:
        """Load a model beside the one in use and warm it up; -> its name.

        Raises:
            ConfigError: it cannot be loaded, or wants other inputs than the feeds have been sending.
        """
        encoder = await asyncio.to_thread(build_replica, self._name, options, self._device)
        old = self._encoder
        if old is not None and (encoder.wants, encoder.channel) != (old.wants, old.channel):
            raise ConfigError(
                f"{encoder.model} wants inputs of {encoder.wants.shape} for channel {encoder.channel.name!r}, the "
                f"feeds send {old.wants.shape} for {old.channel.name!r}; change site.yaml and start the site again"
            )
        await asyncio.to_thread(encoder.encode, blank(encoder.wants))
        self._staged = (dict(options), encoder)
        return encoder.model

    async def unstage(self) -> None:
        """Forget a staged model that another replica could not load."""
        self._staged = None

    async def encode(self, inputs: npt.NDArray[Any]) -> Answer:
        """One chunk.

        Raises:
            ValueError: not what the model wants. Checked before it joins a batch, which it would spoil for the
                chunks of all other callers.
        """
        check_inputs(inputs, self._model().wants)
        answer: Answer = await self._encode_batch(inputs)
        return answer

    @serve.batch(max_batch_size=CHUNKS_PER_BATCH, batch_wait_timeout_s=BATCH_WAIT_S, max_concurrent_batches=1)
    async def _encode_batch(self, chunks: list[npt.NDArray[Any]]) -> list[Answer]:
        encoder = self._model()  # one model for the whole batch, whatever is swapped in meanwhile
        try:
            vectors = await asyncio.to_thread(encoder.encode, np.concatenate(chunks))
        except Exception:
            self._counters["failed_batches"] += 1
            raise
        self._last_success_s = time.monotonic()
        self._counters.update(batches=1, chunks=len(chunks), inputs=len(vectors))
        self._most_chunks_in_batch = max(self._most_chunks_in_batch, len(chunks))
        parts = np.split(vectors, np.cumsum([len(chunk) for chunk in chunks])[:-1])
        return [Answer(vectors=part, channel=encoder.channel.name, model=encoder.model) for part in parts]

    async def encode_words(self, texts: Sequence[str]) -> Float32:
        """Words into the space of the model's pictures or sounds: (N, dim). Rules and searches ask, so: rarely.

        Raises:
            StageError: this model knows no words.
        """
        encoder = self._model()
        if not isinstance(encoder, KnowsWords):
            raise StageError(f"the encoder {self._name!r} ({encoder.model}) knows no words; use a CLIP, SigLIP or CLAP")
        async with self._one_at_a_time:
            return await asyncio.to_thread(encoder.encode_words, list(texts))

    async def check_health(self) -> None:
        """Send one input down the batched road; raising or hanging has Serve replace this replica."""
        if time.monotonic() - self._last_success_s > PROBE_AFTER_S:
            await self._encode_batch(blank(self._model().wants))

    async def describe(self) -> Description:
        encoder = self._model()
        return Description(channel=encoder.channel, wants=encoder.wants, model=encoder.model, dim=encoder.dim)

    async def section(self) -> dict[str, Any]:
        """The settings that this deployment was made with."""
        return self._section

    async def stats(self) -> ReplicaStats:
        return ReplicaStats(
            pid=os.getpid(),
            model=self._model().model,
            num_batches=self._counters["batches"],
            num_chunks=self._counters["chunks"],
            num_inputs=self._counters["inputs"],
            most_chunks_in_batch=self._most_chunks_in_batch,
            num_failed_batches=self._counters["failed_batches"],
            last_error=self._last_error,
        )

    def _model(self) -> ReplicaEncoder:
        if self._encoder is None:
            raise StageError(f"encoder {self._name!r} has no model yet; it is still starting")
        return self._encoder


def app_name(name: str) -> str:
    """The Serve application of an encoder; the one deployment in it is `deployment_name`."""
    return f"encoder-{name}"


def deployment_name(name: str) -> str:
    return f"Encoder-{name}"


def encoder_app(name: str, section: EncoderSection, *, model: str = "") -> serve.Application:
    """The application to `serve.run` as ``name=app_name(name), route_prefix=None``; see `run_encoder`.

    ``model`` names what the options are known to load; a changed name makes replicas load the same options again.
    """
    device = section.device
    if device == "auto":
        resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        device = "cuda" if resources.get("GPU", 0) else "cpu"
    settings = section.model_dump(mode="json")
    lasting = {**settings, "options": {}, "device": device, "name": name}
    deployment: Any = serve.deployment(EncoderReplica)
    pinned = deployment.options(
        name=deployment_name(name),
        version=f"{mmstream.__version__}-{zlib.crc32(repr(sorted(lasting.items())).encode()):08x}",
        _internal=True,  # the only way to pin the version; see the module's docstring
        user_config={"options": dict(section.options.get(name, {})), "model": model},
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
    """Start the encoder, or bring a running one to these settings; returns when it serves.

    Raises:
        RuntimeError: from Serve, when no replica could load its model; the reason is in the text.
    """
    application = encoder_app(name, section, model=model)
    return serve.run(application, name=app_name(name), route_prefix=None)


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
            if time.monotonic() + WORDS_RETRY_S > deadline_s:
                sentence = f"encoder {name!r} did not answer within {timeout_s:g} s ({type(error).__name__})"
                raise StageError(f"{sentence}; look at its replicas with 'serve status'") from None
            await asyncio.sleep(WORDS_RETRY_S)
        else:
            return vectors


def ask_words(name: str, texts: Sequence[str], *, timeout_s: float = 10.0) -> Float32:
    """`words_of` for callers that are no coroutines."""
    return asyncio.run(words_of(name, texts, timeout_s=timeout_s))


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


class EncoderClient:
    """A decoder shard's way to one encoder. Never raises for frames that did not make it: it counts them.

    ``counters`` hold inputs: ``encoded``, and by reason ``misfit`` (another shape than most of the chunk),
    ``backpressure`` (the encoder is full), ``timeout``, ``replica_died``, ``unavailable`` (no such application, or
    stopped), ``failed`` (the model raised, or wants other inputs), ``not_finite``; ``num_reconnects`` counts handles.
    """

    def __init__(self, name: str, *, timeout_s: float = 2.0, reconnect_after: int = 3) -> None:
        self._name, self._timeout_s, self._reconnect_after = name, timeout_s, reconnect_after
        self._handle = self._connect()
        self._num_timeouts_in_a_row = 0
        self.counters: Counter[str] = Counter()

    @staticmethod
    def describe(name: str, timeout_s: float = 60.0) -> Description:
        """What to send to the encoder ``name``. Not for coroutines: it waits for a replica."""
        description: Description = encoder_handle(name).describe.remote().result(timeout_s=timeout_s)
        return description

    async def encode(self, snapshots: Sequence[Snapshot]) -> list[Embedding] | None:
        """One chunk, at most ``max_chunk`` snapshots; None when it was dropped, with the reason counted."""
        kept, inputs = stack_inputs(snapshots)
        self.counters["misfit"] += len(snapshots) - len(kept)
        if not kept:
            return []
        answer = await self._ask(inputs)
        if isinstance(answer, str):
            self.counters[answer] += len(kept)
            await self._note_timeouts(answer == "timeout")
            return None
        await self._note_timeouts(False)
        embeddings = to_embeddings(kept, answer.vectors, channel=answer.channel, model=answer.model)
        self.counters["encoded"] += len(embeddings)
        self.counters["not_finite"] += len(kept) - len(embeddings)
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
