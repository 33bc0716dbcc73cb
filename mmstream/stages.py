"""The verbs: what each part of the path must offer, and how parts are found by name.

Every stage after the source is a plain object: ``push(item) -> list``, ``flush() -> list``. It
reads no clock, does no I/O and knows nothing of Ray, so the same object runs in one process and
spread over actors. ``push`` may answer nothing now and several things later; ``flush`` is called
once, at the end of a feed, and gives what was held back. One caller at a time.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy.typing as npt

from mmstream.errors import ConfigError
from mmstream.types import Channel, Embedding, Evidence, Float32, InputSpec, SourceItem, UInt8, Where, Window

In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Stage(Protocol[In_contra, Out_co]):
    """Takes items one by one, in order, and gives what follows from them."""

    def push(self, item: In_contra, /) -> Sequence[Out_co]: ...

    def flush(self) -> Sequence[Out_co]: ...


@runtime_checkable
class Source(Protocol):
    """Where a feed comes from. The thread that iterates is the only one that touches the input.

    A live source never raises and never ends by itself: it reports every change as a `Status`,
    waits, and tries again. A file ends with a `Status` of state ``ended`` (or ``failed``).
    """

    def __iter__(self) -> Iterator[SourceItem]: ...

    def stop(self) -> None:
        """Callable from any thread, returns at once: iteration ends as soon as the input lets it."""
        ...


@runtime_checkable
class EdgeEncoder(Protocol):
    """Cheap features, computed next to the decoder, one object per feed (it may keep state)."""

    channel: ClassVar[Channel]
    model: str
    """``name@version``."""
    dim: int

    def encode(self, window: Window) -> Embedding | None:
        """None when the window holds nothing for this encoder: a missing modality is absent, not zero."""
        ...


@runtime_checkable
class Locating(Protocol):
    """An encoder that can say which part of the picture or sound made a vector unusual."""

    @staticmethod
    def locate(vector: Float32, usual: Float32 | None, /) -> Where | None:
        """``usual``: the nearest normal vector of this feed, None for channels that remember none."""
        ...


@runtime_checkable
class ReplicaEncoder(Protocol):
    """A model that gains from batches across feeds. Stateless; runs in Serve replicas or in process."""

    channel: ClassVar[Channel]
    model: str
    dim: int
    wants: InputSpec

    def encode(self, inputs: npt.NDArray[Any], /) -> Float32:
        """(N, *wants.shape) of ``wants.dtype`` -> (N, dim) float32, same order, rows finite.

        Raises:
            ValueError: the shape or dtype is not what `wants` says.
        """
        ...


@runtime_checkable
class KnowsWords(Protocol):
    """A replica encoder of pictures or sound that knows words, too: ``encode`` and this one share a space (CLIP)."""

    def encode_words(self, texts: Sequence[str], /) -> Float32:
        """-> (N, dim) float32, rows of length 1, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a speech model made of one piece of sound."""

    text: str
    """Empty when nobody spoke."""
    confidence: float = 1.0
    language: str = ""


@runtime_checkable
class SpeechModel(Protocol):
    """Writes down what is said. Stateless; asked for single moments only."""

    model: str
    longest_s: float
    """Sound beyond this is cut."""

    def transcribe(self, sounds: Sequence[Float32], /) -> list[Heard]:
        """Pieces of mono sound at 16 kHz, (n,) each of its own length -> what was said in each, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """Pictures of one moment and what to say about them."""

    prompt: str
    pictures: tuple[UInt8, ...] = ()
    """Each uint8 RGB (H, W, 3), in order of time; sizes may differ."""
    max_words: int = 60


@runtime_checkable
class Describer(Protocol):
    """Answers questions about pictures in words: captions, confirmations, narration. Stateless; asked rarely."""

    model: str

    def describe(self, questions: Sequence[Question], /) -> list[str]:
        """One answer per question, in order; empty when the model had nothing to say."""
        ...


@runtime_checkable
class Normality(Protocol):
    """What is normal for one channel of one feed. Scored first, learned after."""

    def score(self, vector: Float32) -> float:
        """How unlike the history; larger is more unusual; 0.0 while nothing is known."""
        ...

    def learn(self, vector: Float32, at_s: float) -> None: ...

    def __len__(self) -> int:
        """How many windows have been learned."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbour:
    """A remembered vector: when it was last seen, and what it is in the encoder's own units."""

    at_s: float
    distance: float
    vector: Float32


@runtime_checkable
class Remembering(Protocol):
    """A `Normality` that compares with remembered vectors and can show them."""

    def nearest(self, vector: Float32, count: int) -> Sequence[Neighbour]:
        """The ``count`` nearest remembered vectors, nearest first; fewer when fewer are known."""
        ...


@runtime_checkable
class Fuser(Protocol):
    """Joins the evidence of one window into one number."""

    def fuse(self, evidence: Sequence[Evidence]) -> tuple[float, Mapping[str, float]]:
        """-> (surprise = -log10 of the fused p, shares per modality that sum to 1)."""
        ...


def load(table: Mapping[str, str], name: str) -> Any:
    """The class called ``name`` in ``table``, or ``"package.module:Class"`` given directly.

    Tables hold strings, so that a part's heavy imports happen only when it is used.

    Raises:
        ConfigError: nothing of that name; the message lists what there is.
    """
    target = table.get(name, name)
    if ":" not in target:
        raise ConfigError(
            f"there is no {name!r}; choose one of {', '.join(sorted(table))}, or write 'package.module:Class'"
        )
    module_name, _, class_name = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot load {name!r} from {target!r}: {error}") from error
