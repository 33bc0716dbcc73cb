"""Models of ``understanding`` on Ray Serve: one application per model, asked by all shards about single moments.

A model that cannot be loaded never keeps the site from running: its replica stays, says why, and tries again when it is
asked a minute later. Requests of several shards share a batch. What does not fit into the short queues is refused at
once and counted by the caller; nothing is asked twice.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

import mmstream
from mmstream.config import EncoderSection, SiteConfig, UnderstandingSection
from mmstream.errors import ConfigError, MmstreamError, StageError
from mmstream.stages import Describer, Question, SpeechModel
from mmstream.types import Float32
from mmstream.understanding.ondemand import Role
from mmstream.understanding.speaking import Said, answers, build_speaker, roles_of
from services.encoders import device_of
from services.gathering import Gathering

log = logging.getLogger(__name__)

REQUESTS_PER_BATCH = 4
REQUESTS_WAITING_PER_CALLER = 1
"""Beyond this a shard's request is refused at once: dropped and counted, never a minute late."""
RETRY_LOADING_S = 60.0
STUCK_S = 300.0
"""A batch that takes so long never ends: Serve shall replace the replica."""
ANSWER_WITHIN_S = 90.0
LOOK_EVERY_S = 15.0
GPU_SHARE = 0.25
WITHOUT_GPU = ("endpoint",)
"""Models that run elsewhere."""


class SpeakerReplica:
    """Serve's side of a model that is asked about single moments."""

    def __init__(self, name: str, device: str, roles: Sequence[Role]) -> None:
        self._name, self._device, self._roles = name, device, tuple(roles)
        self._options: dict[str, Any] = {}
        self._model: SpeechModel | Describer | None = None
        self._trouble = ""
        self._tried_s = float("-inf")
        self._busy_since_s: float | None = None
        self._loading = asyncio.Lock()
        self._first: asyncio.Task[SpeechModel | Describer] | None = None
        self._gathering: Gathering[Float32 | Question, Said] = Gathering(self._answer, most=REQUESTS_PER_BATCH)
        self.num_batches = 0
        self.num_requests = 0

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Serve calls this at the start and for every declared change. Loading goes on behind it."""
        options = dict(user_config["options"])
        if options != self._options or self._first is None:
            self._options, self._model, self._trouble, self._tried_s = options, None, "", float("-inf")
            self._first = asyncio.create_task(self._loaded())
            self._first.add_done_callback(_log_trouble)

    async def ask(self, request: Float32 | Question) -> Said:
        """One piece of sound, or one question.

        Raises:
            ConfigError: the model cannot be loaded.
            StageError: it could not answer this.
        """
        await self._loaded()
        return await self._gathering.ask(request)

    def _answer(self, requests: Sequence[Float32 | Question]) -> list[Said | Exception]:
        """On a thread, one batch at a time."""
        model = self._model
        if model is None:
            return [StageError(f"{self._name!r} is being loaded anew")] * len(requests)
        self._busy_since_s = time.monotonic()
        try:
            return _answered(model, requests)
        finally:
            self._busy_since_s = None
            self.num_batches += 1
            self.num_requests += len(requests)

    async def check_health(self) -> None:
        """Raises when a batch hangs: Serve then replaces this replica. A model that is missing is no reason to."""
        if self._busy_since_s is not None and time.monotonic() - self._busy_since_s > STUCK_S:
            raise StageError(f"{self._name!r} has not answered for {STUCK_S:.0f} s")

    async def trouble(self) -> str:
        """Why there is no model, in a sentence; empty while it loads, and when there is one."""
        return self._trouble

    async def batches(self) -> tuple[int, int]:
        """(batches, requests in them) since it started."""
        return self.num_batches, self.num_requests

    async def _loaded(self) -> SpeechModel | Describer:
        async with self._loading:
            if self._model is not None:
                return self._model
            if time.monotonic() - self._tried_s < RETRY_LOADING_S:
                raise ConfigError(self._trouble)
            self._tried_s = time.monotonic()
            try:
                self._model = await asyncio.to_thread(
                    build_speaker, self._name, self._options, self._device, roles=self._roles
                )
            except ConfigError as error:
                self._trouble = error.sentence
                raise
            self._trouble = ""
            torch = sys.modules.get("torch")
            if torch is not None:
                torch.set_num_threads(1)  # replicas share cores
            return self._model


def _log_trouble(first: asyncio.Task[SpeechModel | Describer]) -> None:
    if not first.cancelled() and first.exception() is not None:
        log.warning("a model could not be loaded, the site runs without it: %s", first.exception())


def _answered(model: SpeechModel | Describer, requests: Sequence[Float32 | Question]) -> list[Said | Exception]:
    """Answers, or errors that say why there is none. One bad request must not cost the others theirs."""
    try:
        return list(answers(model, requests))
    except (MmstreamError, ValueError, RuntimeError, MemoryError) as error:  # torch raises RuntimeError for most things
        if len(requests) == 1:
            return [
                StageError(error.sentence if isinstance(error, MmstreamError) else f"{type(error).__name__}: {error}")
            ]
    return [said for request in requests for said in _answered(model, [request])]


def speaker_app_name(name: str) -> str:
    """The Serve application of a model; the one deployment in it is `speaker_deployment_name`."""
    return f"speaker-{name}".replace(":", "-")


def speaker_deployment_name(name: str) -> str:
    return f"Speaker-{name}".replace(":", "-")


def speaker_app(name: str, understanding: UnderstandingSection, encoders: EncoderSection) -> serve.Application:
    """The application of one model of ``understanding``; the device is that of the encoders."""
    device = device_of(encoders)
    roles = roles_of(understanding)[name]
    options = dict(understanding.options.get(name, {}))
    lasting = (name, device, roles, understanding.max_replicas)
    uses_gpu = device == "cuda" and name not in WITHOUT_GPU
    deployment: Any = serve.deployment(SpeakerReplica)
    pinned = deployment.options(
        name=speaker_deployment_name(name),
        version=f"{mmstream.__version__}-{zlib.crc32(repr(lasting).encode()):08x}",
        _internal=True,  # the only way to pin the version: Serve restarts replicas at every start without it
        user_config={"options": options},
        ray_actor_options={"num_cpus": 0.5, "num_gpus": GPU_SHARE if uses_gpu else 0},
        autoscaling_config=AutoscalingConfig(
            min_replicas=1,
            max_replicas=understanding.max_replicas,
            target_ongoing_requests=REQUESTS_PER_BATCH,
            upscale_delay_s=20,
        ),
        max_ongoing_requests=2 * REQUESTS_PER_BATCH,
        max_queued_requests=REQUESTS_WAITING_PER_CALLER,
        health_check_period_s=5,
        health_check_timeout_s=30,
        logging_config={"enable_access_log": False},
    )
    application: serve.Application = pinned.bind(name, device, roles)
    return application


def start_speakers(site: SiteConfig) -> list[str]:
    """Start every model of ``understanding`` and return at once, while they load; -> their applications."""
    names = list(roles_of(site.understanding))
    targets = [
        serve.RunTarget(
            target=speaker_app(name, site.understanding, site.encoders), name=speaker_app_name(name), route_prefix=None
        )
        for name in names
    ]
    if targets:
        serve.run_many(targets, wait_for_ingress_deployment_creation=True, wait_for_applications_running=False)
    return [speaker_app_name(name) for name in names]


class SpeakerClient:
    """A decoder shard's way to one model: a `mmstream.understanding.speaking.Speaker`. Never raises: it counts.

    ``counters``: ``backpressure`` (the model is full), ``timeout``, ``replica_died``, ``unavailable`` (no such
    application, or no model), ``failed`` (the model raised).
    """

    def __init__(self, name: str, *, timeout_s: float = ANSWER_WITHIN_S) -> None:
        self._name, self._timeout_s = name, timeout_s
        self._handle: DeploymentHandle[Any] = DeploymentHandle(speaker_deployment_name(name), speaker_app_name(name))
        self.counters: Counter[str] = Counter()
        self.trouble = ""

    async def ask(self, request: Float32 | Question) -> Said | None:
        answer = await self._call("ask", self._timeout_s, request)
        if isinstance(answer, str):
            self.counters[answer] += 1
            return None
        said: Said = answer
        return said

    async def watch(self) -> None:
        """Keep ``trouble`` true while nobody asks."""
        while True:
            answer = await self._call("trouble", LOOK_EVERY_S)
            if answer in ("unavailable", "replica_died", "timeout", "backpressure"):
                self.trouble = f"no replica of {self._name!r} answers; look at 'serve status'"
            else:
                self.trouble = answer
            await asyncio.sleep(LOOK_EVERY_S)

    async def _call(self, method: str, timeout_s: float, *args: Any) -> Any:
        """The answer, or the name of the counter that says why there is none."""
        response = None
        try:
            response = getattr(self._handle, method).remote(*args)
            return await asyncio.wait_for(response, timeout_s)
        except BackPressureError:
            return "backpressure"
        except TimeoutError:
            if response is not None:
                response.cancel()
            return "timeout"
        except RayTaskError as error:
            if isinstance(error.cause, ConfigError):
                self.trouble = error.cause.sentence
                return "unavailable"
            return "failed"
        except RayServeException:
            return "unavailable"
        except RayError:
            return "replica_died"
