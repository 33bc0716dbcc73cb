"""How a shard reaches a model that is asked about single moments: here on a thread of the same process.

`services.speakers` offers the same `Speaker` over Ray Serve.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mmstream.config import UnderstandingSection
from mmstream.encoders.batching import build_on_demand
from mmstream.errors import ConfigError, MmstreamError
from mmstream.stages import Describer, Question, SpeechModel
from mmstream.types import Float32
from mmstream.understanding.ondemand import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a model answered; ``text`` is empty when it had nothing to say."""

    text: str
    model: str
    confidence: float = 1.0


class Speaker(Protocol):
    """One model, as a shard sees it."""

    @property
    def counters(self) -> Mapping[str, float]: ...

    @property
    def trouble(self) -> str:
        """Why the model cannot be asked, in a sentence; empty when it can."""
        ...

    async def ask(self, request: Float32 | Question) -> Said | None:
        """Sound to be written down, or a question. None: no answer, with the reason counted. Never raises."""
        ...


class LocalSpeaker:
    """A model in this process, asked on a thread, one request at a time.

    One that cannot be loaded answers nothing and says why in ``trouble``.
    """

    def __init__(self, name: str, options: Mapping[str, Any], device: str, *, roles: Sequence[Role]) -> None:
        self.counters: Counter[str] = Counter()
        self.trouble = ""
        self._lock = asyncio.Lock()
        self._model: SpeechModel | Describer | None = None
        try:
            self._model = build_speaker(name, options, device, roles=roles)
        except ConfigError as error:
            self.trouble = error.sentence

    async def ask(self, request: Float32 | Question) -> Said | None:
        if self._model is None:
            self.counters["unavailable"] += 1
            return None
        try:
            async with self._lock:
                [said] = await asyncio.to_thread(answers, self._model, [request])
        except (MmstreamError, ValueError, RuntimeError, MemoryError):  # torch raises RuntimeError for most things
            self.counters["failed"] += 1
            return None
        return said


def build_speaker(
    name: str, options: Mapping[str, Any], device: str, *, roles: Sequence[Role]
) -> SpeechModel | Describer:
    """The model called ``name``, able to do all that the site wants of it.

    Raises:
        ConfigError: it cannot be loaded, or it cannot do that.
    """
    model = build_on_demand(name, options, device)
    for role in roles:
        if not isinstance(model, SpeechModel if role == "speech" else Describer):
            able = "write down speech" if role == "speech" else "describe pictures"
            raise ConfigError(f"understanding.{role}: {name!r} cannot {able}; choose another model")
    return model


def answers(model: SpeechModel | Describer, requests: Sequence[Float32 | Question]) -> list[Said]:
    """Sounds and questions of any feeds in one call each, in order.

    Raises:
        StageError: from the model, or a request that it is not made for.
    """
    questions = [request for request in requests if isinstance(request, Question)]
    sounds = [request for request in requests if not isinstance(request, Question)]
    if (questions and not isinstance(model, Describer)) or (sounds and not isinstance(model, SpeechModel)):
        raise ValueError(f"{model.model} was asked for what it cannot do")
    told = iter(model.describe(questions) if isinstance(model, Describer) and questions else ())
    heard = iter(model.transcribe(sounds) if isinstance(model, SpeechModel) and sounds else ())
    said = []
    for request in requests:
        if isinstance(request, Question):
            said.append(Said(text=next(told), model=model.model))
        else:
            item = next(heard)
            said.append(Said(text=item.text, model=model.model, confidence=item.confidence))
    return said


def roles_of(section: UnderstandingSection) -> dict[str, list[Role]]:
    """Model -> what the site wants of it; one model may do several things."""
    wanted: tuple[tuple[Role, str], ...] = (
        ("speech", section.speech),
        ("captions", section.captions),
        ("narration", section.narration),
    )
    roles: dict[str, list[Role]] = {}
    for role, name in wanted:
        if name:
            roles.setdefault(name, []).append(role)
    return roles


def local_speakers(section: UnderstandingSection, device: str) -> dict[str, Speaker]:
    """Every model of ``understanding``, in this process."""
    return {
        name: LocalSpeaker(name, section.options.get(name, {}), device, roles=roles)
        for name, roles in roles_of(section).items()
    }
