"""What is to be judged and what is in it: the manifest of ``mmstream eval events``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmstream.config import BudgetSection, EncoderSection, FeedId
from mmstream.errors import ConfigError

EventModality = Literal["picture", "sound", "both", "camera", "words", "sensor"]
"""Where an event shows. ``camera``: the camera itself was tampered with, where a health alert counts as found."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JudgedFeed(_Part):
    """One camera: what it has seen, and what it sees next."""

    id: FeedId
    learn: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Recordings in which nothing is unusual. Relative to the manifest, as every path."""
    judge: Path
    """The recording to judge, from second 0. Another recording of the same camera is a feed of its own."""
    alerts_per_day: float | None = Field(None, gt=0)
    """Another budget for this feed only."""


class _Stretch(_Part):
    feed: str
    start_s: float = Field(ge=0)
    """From the start of the feed's judged recording."""
    end_s: float

    @model_validator(mode="after")
    def _has_a_length(self) -> _Stretch:
        if not self.end_s > self.start_s:
            raise ValueError(f"end_s must be after start_s, got {self.start_s} to {self.end_s}")
        return self


class Event(_Stretch):
    """Something in the judged recording. A sham is an ordinary thing put in by the same means."""

    type: str
    """Your own word: ``siren``, ``cyclist``, ``tempo``."""
    modality: EventModality
    magnitude: float | None = None
    """How much of it, in its own unit: decibels over the background, times as fast."""
    sham: bool = False


class Untouched(_Stretch):
    """Where an ordinary thing of a sham's kind happens by itself: shams should score like these."""

    modality: EventModality


class Manifest(_Part):
    """The whole file."""

    budget: BudgetSection = BudgetSection()
    encoders: EncoderSection = EncoderSection(replicas=())
    feeds: Annotated[tuple[JudgedFeed, ...], Field(min_length=1)]
    events: tuple[Event, ...] = ()
    untouched: tuple[Untouched, ...] = ()

    @model_validator(mode="after")
    def _of_these_feeds(self) -> Manifest:
        ids = [feed.id for feed in self.feeds]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"feed id {twice[0]!r} is used twice; every feed needs its own")
        for stretch in (*self.events, *self.untouched):
            if stretch.feed not in ids:
                raise ValueError(f"an event is of feed {stretch.feed!r}; want one of {', '.join(ids)}")
        return self


def read_manifest(path: Path) -> Manifest:
    """YAML or JSON; paths in the answer are absolute.

    Raises:
        ConfigError: names the line, the field, the value and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node, tree = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: neither YAML nor JSON: {getattr(error, 'problem', error)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}:1: want 'feeds:' and 'events:', got {type(tree).__name__}")
    try:
        manifest = Manifest.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(path, node, mistake) for mistake in error.errors())) from None
    feeds = tuple(_found(path, node, number, feed) for number, feed in enumerate(manifest.feeds))
    return manifest.model_copy(update={"feeds": feeds})


def _found(path: Path, node: Any, number: int, feed: JudgedFeed) -> JudgedFeed:
    """With absolute paths of files that are there."""
    folder = path.absolute().parent
    for file in (*feed.learn, feed.judge):
        if not (folder / file).is_file():
            line = _line_of(node, ("feeds", number, "judge" if file == feed.judge else "learn"))
            raise ConfigError(f"{path}:{line}: feed {feed.id!r}: there is no file {file}; paths count from {folder}")
    learn = tuple(folder / file for file in feed.learn)
    return feed.model_copy(update={"learn": learn, "judge": folder / feed.judge})


def _sentence(path: Path, node: Any, mistake: Any) -> str:
    location = mistake["loc"]
    name = ".".join(str(part) for part in location) or "manifest"
    message = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "extra_forbidden":
        message = "there is no such field; see docs/evaluation.md for those there are"
    elif mistake["type"] == "missing":
        message = "is missing"
    value = mistake.get("input")
    shown = f", got {value!r}" if isinstance(value, str | int | float) else ""
    return f"{path}:{_line_of(node, location)}: {name}: {message}{shown}"


def _line_of(node: Any, location: tuple[int | str, ...]) -> int:
    """1-based line of the deepest part of ``location`` that stands in the file."""
    line = int(node.start_mark.line) + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            inside = [pair for pair in node.value if pair[0].value == str(part)]
            if not inside:
                return line
            line, node = inside[0][0].start_mark.line + 1, inside[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
