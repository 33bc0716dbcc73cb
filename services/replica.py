"""One Serve replica of an encoder: batches the chunks of all callers, swaps models, outlives what goes wrong.

What goes wrong stays small. A model that cannot be loaded leaves the replica standing by without one: it says why,
tries again now and then, and takes the next model that is pushed; nothing else of the site notices. A batch too large
for the memory is encoded in parts (`Fitting`). A chunk that breaks the model costs its own caller an answer only.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmstream.encoders.batching import blank, build_replica, check_inputs
from mmstream.encoders.fitting import Fitting
from mmstream.errors import ConfigError, MmstreamError, StageError
from mmstream.stages import KnowsWords, ReplicaEncoder
from mmstream.types import Channel, Float32, InputSpec
from services.gathering import Gathering

INPUTS_PER_PASS: Mapping[str, int] = {"cpu": 32, "cuda": 128}
"""More at once are no cheaper there, and only later."""
PASS_S = 0.5
"""Chunks of several callers go together as long as the pass takes no longer: callers wait two seconds."""
PROBE_AFTER_S = 10.0
"""The health check runs the model only when nothing has succeeded for so long: busy replicas prove themselves."""
HUNG_AFTER_S = 60.0
"""A pass that lasts longer never ends."""
TRY_AGAIN_AFTER_S = 30.0
"""A replica without a model loads again after so long: folders get mounted late, memory becomes free."""


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
    """Empty while it stands by without one."""
    num_batches: int
    num_chunks: int
    num_inputs: int
    most_chunks_in_batch: int
    num_failed_batches: int
    num_out_of_memory: int
    """Passes of the model in use that had to be made smaller."""
    last_error: str
    """Why the last model that was offered could not be loaded; empty after a good one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Loaded:
    """A model that has been warmed up."""

    options: Mapping[str, Any]
    encoder: ReplicaEncoder
    encode: Fitting


class EncoderReplica:
    """Serve's side of a plain encoder."""

    def __init__(self, name: str, device: str, section: Mapping[str, Any]) -> None:
        import torch  # only here: deciding where replicas run must not cost every driver torch's memory

        torch.set_num_threads(1)  # replicas share cores; more of them is how more cores are used
        self._name, self._device, self._section = name, device, dict(section)
        self._batches: Gathering[npt.NDArray[Any], Answer] = Gathering(
            self._encode_batch, most=INPUTS_PER_PASS[device], size_of=len
        )
        self._loaded: _Loaded | None = None
        self._staged: _Loaded | None = None
        self._counters: Counter[str] = Counter()
        self._most_chunks_in_batch = 0
        self._last_error, self._tried = "", dict[str, Any]()
        self._last_success_s = self._tried_s = time.monotonic()
        self._busy_since_s: float | None = None
        self._input_s = 0.0
        self._trying: asyncio.Task[None] | None = None
        self._swapping, self._reading = asyncio.Lock(), asyncio.Lock()

    # -- models -------------------------------------------------------------------------------------

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Serve calls this at the start and for every declared change.

        A model that cannot be loaded is told in `stats` and `describe`, and the replica goes on with the one it has,
        or without any: raising would make Serve stop it, and start it again and again. Only where the same options are
        known to load (``user_config["model"]``) does it fail: another replica in its place may be luckier.
        ``user_config["stand_by"]``: give the model up, and say so with these words.
        """
        async with self._swapping:
            options = self._tried = dict(user_config["options"])
            self._tried_s = time.monotonic()
            if user_config.get("stand_by"):
                self._loaded = self._staged = None
                self._last_error = str(user_config["stand_by"])
                return
            try:
                if self._staged is None or self._staged.options != options:
                    await self.stage(options)
            except ConfigError as error:
                if self._loaded is None and user_config.get("model"):
                    raise
                self._last_error = error.sentence
                return
            self._loaded, self._staged, self._last_error = self._staged, None, ""
            self._last_success_s = time.monotonic()

    async def stage(self, options: Mapping[str, Any]) -> str:
        """Load a model beside the one in use and warm it up; -> its name.

        Raises:
            ConfigError: it cannot be loaded, or wants other inputs than the feeds have been sending.
        """
        try:
            encoder = await asyncio.to_thread(self._build, options)
            encode = Fitting(encoder.encode)
            await asyncio.to_thread(encode, blank(encoder.wants))
        except Exception as error:  # noqa: BLE001 - a model is other people's code and may raise anything
            why = error.sentence if isinstance(error, MmstreamError) else f"{type(error).__name__}: {error}"
            raise ConfigError(f"the encoder {self._name!r} cannot be loaded: {why}") from None
        old = self._loaded.encoder if self._loaded is not None else None
        if old is not None and (encoder.wants, encoder.channel) != (old.wants, old.channel):
            raise ConfigError(
                f"{encoder.model} wants inputs of {encoder.wants.shape} for channel {encoder.channel.name!r}, the "
                f"feeds send {old.wants.shape} for {old.channel.name!r}; change site.yaml and start the site again"
            )
        self._staged = _Loaded(options=dict(options), encoder=encoder, encode=encode)
        return encoder.model

    def _build(self, options: Mapping[str, Any]) -> ReplicaEncoder:
        if any(isinstance(value, Mapping) for value in options.values()):
            from mmstream.training.versions import fetched  # reads a registry: most replicas need none of that

            options = fetched(options)
        return build_replica(self._name, options, self._device)

    async def unstage(self) -> None:
        """Forget a staged model that another replica could not load."""
        self._staged = None

    # -- questions ----------------------------------------------------------------------------------

    async def encode(self, inputs: npt.NDArray[Any]) -> Answer:
        """One chunk.

        Raises:
            ValueError: not what the model wants. Checked before it joins a batch.
            StageError: no model, or not even one input fits into memory; and whatever the model itself raises.
        """
        check_inputs(inputs, self._in_use().encoder.wants)
        return await self._batches.ask(inputs)

    def _encode_batch(self, chunks: Sequence[npt.NDArray[Any]]) -> list[Answer | Exception]:
        """In a thread; one model for the whole batch, whatever is swapped in meanwhile."""
        began_s = self._busy_since_s = time.monotonic()
        try:
            answers = _answers(self._in_use(), chunks)
        finally:
            self._busy_since_s = None
        self._note_speed(sum(map(len, chunks)), time.monotonic() - began_s)
        good = [answer for answer in answers if isinstance(answer, Answer)]
        if good:
            self._last_success_s = time.monotonic()
        self._counters.update(
            batches=bool(good),
            chunks=len(good),
            inputs=sum(len(answer.vectors) for answer in good),
            failed_batches=len(good) < len(chunks),
        )
        self._most_chunks_in_batch = max(self._most_chunks_in_batch, len(chunks))
        return answers

    def _note_speed(self, num_inputs: int, took_s: float) -> None:
        """Decides how many inputs the next passes gather."""
        if num_inputs:
            now_s = took_s / num_inputs
            self._input_s = 0.7 * self._input_s + 0.3 * now_s if self._input_s else now_s
            self._batches.most = max(1, min(INPUTS_PER_PASS[self._device], round(PASS_S / max(self._input_s, 1e-6))))

    async def encode_words(self, texts: Sequence[str]) -> Float32:
        """Words into the space of the model's pictures or sounds: (N, dim). Rules and searches ask, so: rarely.

        Raises:
            StageError: this model knows no words.
        """
        encoder = self._in_use().encoder
        if not isinstance(encoder, KnowsWords):
            raise StageError(f"the encoder {self._name!r} ({encoder.model}) knows no words; use a CLIP, SigLIP or CLAP")
        async with self._reading:
            return await asyncio.to_thread(encoder.encode_words, list(texts))

    async def check_health(self) -> None:
        """Send one input down the batched road; raising or hanging has Serve replace this replica.

        Not while the model is at work: a slow model's pass may take longer than Serve waits for this answer.
        """
        busy_since_s = self._busy_since_s
        if self._loaded is None:
            self._try_again()
        elif busy_since_s is not None:
            if time.monotonic() - busy_since_s > HUNG_AFTER_S:
                raise StageError(f"encoder {self._name!r} has been at one pass for more than {HUNG_AFTER_S:.0f} s")
        elif time.monotonic() - self._last_success_s > PROBE_AFTER_S:
            await self.encode(blank(self._loaded.encoder.wants))

    def _try_again(self) -> None:
        """Beside the health check, which may not take long."""
        is_trying = self._trying is not None and not self._trying.done()
        if not is_trying and time.monotonic() - self._tried_s > TRY_AGAIN_AFTER_S:
            self._trying = asyncio.get_running_loop().create_task(self.reconfigure({"options": self._tried}))

    async def describe(self) -> Description:
        """Raises ConfigError, saying why, while there is no model."""
        if self._loaded is None and self._last_error:
            raise ConfigError(self._last_error)
        encoder = self._in_use().encoder
        return Description(channel=encoder.channel, wants=encoder.wants, model=encoder.model, dim=encoder.dim)

    async def asked_for(self) -> dict[str, Any]:
        """The options that it was last told to load, whether it could or not."""
        return self._tried

    async def section(self) -> dict[str, Any]:
        """The settings that this deployment was made with."""
        return self._section

    async def stats(self) -> ReplicaStats:
        loaded = self._loaded
        return ReplicaStats(
            pid=os.getpid(),
            model=loaded.encoder.model if loaded is not None else "",
            num_batches=self._counters["batches"],
            num_chunks=self._counters["chunks"],
            num_inputs=self._counters["inputs"],
            most_chunks_in_batch=self._most_chunks_in_batch,
            num_failed_batches=self._counters["failed_batches"],
            num_out_of_memory=loaded.encode.num_out_of_memory if loaded is not None else 0,
            last_error=self._last_error,
        )

    def _in_use(self) -> _Loaded:
        if self._loaded is None:
            raise StageError(self._last_error or f"encoder {self._name!r} has no model yet; it is still starting")
        return self._loaded


def _answers(loaded: _Loaded, chunks: Sequence[npt.NDArray[Any]]) -> list[Answer | Exception]:
    """One pass for all chunks; if that breaks the model, one for each, so that only the guilty go without."""
    try:
        vectors = loaded.encode(np.concatenate(chunks) if len(chunks) > 1 else chunks[0])
    except Exception as error:  # noqa: BLE001 - whatever the model raises goes to whose chunk it was, and is counted
        return [error] if len(chunks) == 1 else [answer for chunk in chunks for answer in _answers(loaded, [chunk])]
    parts = np.split(vectors, np.cumsum([len(chunk) for chunk in chunks])[:-1])
    encoder = loaded.encoder
    return [Answer(vectors=part, channel=encoder.channel.name, model=encoder.model) for part in parts]
