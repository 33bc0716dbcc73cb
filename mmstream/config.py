"""``site.yaml``: every setting, its unit in its name, its default, and errors that name the line.

Secrets are written as ``${NAME}`` and read from the environment of the process that needs them;
they are never resolved in what is stored, logged or answered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from mmstream.errors import ConfigError
from mmstream.types import MODALITIES

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEMES = ("rtsp", "rtsps", "http", "https", "file")

FeedId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteSection(_Section):
    name: str = "site"
    """Shown on the dashboard."""
    data_dir: Path = Path("mmstream-data")
    """Ledger, clips and learned state. On a cluster: a folder that every node mounts."""


class StoreSection(_Section):
    url: str = "sqlite"
    """``sqlite`` (a file in data_dir, one machine) or ``redis://HOST:PORT/DB`` (a cluster)."""

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "sqlite" and not value.startswith(("redis://", "rediss://", "${")):
            raise ValueError("want 'sqlite' or 'redis://HOST:PORT/DB'")
        return value


class ApiSection(_Section):
    host: str = "127.0.0.1"
    """Address to listen on. Leave it unless a TLS proxy stands in front."""
    port: int = Field(8000, ge=1, le=65535)
    max_streams: int = Field(64, ge=1, le=10_000)
    """How many live event streams (open dashboards) may be connected at once."""


class BudgetSection(_Section):
    alerts_per_camera_per_day: float = Field(2.0, gt=0, le=10_000)
    """The one number to understand: how many alerts of one camera somebody will look at in a day."""
    alerts_per_day_for_site: float | None = Field(None, gt=0)
    """The same for all cameras together, shared out evenly; it then holds instead of the one above."""
    block_s: float = Field(300.0, ge=5, le=3600)
    """Calibration block, and the least time between two alerts of one camera."""
    history_days: float = Field(14.0, gt=0, le=366)
    """How far back calibration looks."""
    warmup_s: float = Field(1800.0, ge=0)
    """No alerts before so much history has been learned."""

    def per_camera(self, num_feeds: int) -> float:
        """Alerts a day that each of ``num_feeds`` feeds may raise.

        >>> BudgetSection(alerts_per_day_for_site=30).per_camera(60), BudgetSection().per_camera(60)
        (0.5, 2.0)
        """
        if self.alerts_per_day_for_site is None:
            return self.alerts_per_camera_per_day
        return self.alerts_per_day_for_site / max(1, num_feeds)


class WindowSection(_Section):
    max_wait_s: float = Field(3.0, ge=0, le=60)
    """How long a window waits for late modalities, in the feed's own time."""


class GateSection(_Section):
    enabled: bool = True
    """False: decode everything all the time."""
    analysed_fps: float = Field(5.0, gt=0, le=30)
    """Pictures analysed per second while a feed is awake."""
    hold_s: float = Field(5.0, ge=1)
    """Back to sleep after so long without activity."""
    learn_s: float = Field(40.0, ge=0)
    """Stay awake until so much of the stream has been seen."""
    key_threshold: float = Field(7.0, gt=0)
    """Wake when a key frame differs by so many noise units from what was there."""
    packet_threshold: float = Field(3.5, gt=0)
    """Wake when packet sizes rise by so many robust standard deviations."""


class EncoderSection(_Section):
    edge: tuple[str, ...] = ("motion", "expectation", "appearance", "still", "activity", "stream", "sound", "words")
    """Features computed beside the decoder."""
    replicas: tuple[str, ...] = ("filterbank",)
    """Models that run batched in Serve replicas."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Keyword arguments per encoder, e.g. ``vision: {folder: /models/siglip2}``."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where replica encoders run; ``auto`` takes a GPU when there is one."""
    max_replicas: int = Field(2, ge=1, le=1000)
    """Serve adds replicas up to this many when frames wait. Two always run, so that one may die
    unnoticed; 1 saves the memory of the second."""
    max_chunk: int = Field(32, ge=1, le=256)
    """Pictures per call to a replica."""
    max_wait_s: float = Field(0.25, gt=0, le=5)
    """A chunk leaves after so long even when it is not full."""


class FusionSection(_Section):
    rule: str = "harmonic"
    """How the modalities become one number: harmonic, mean, linear, fisher, max, trained, or 'package.module:Class'."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Modality (picture, sound, words, sensor, agreement) -> its weight, where it shall not be the default one."""

    @field_validator("weights")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        for name, weight in value.items():
            if name not in MODALITIES:
                raise ValueError(f"there is no modality {name!r}; choose of {', '.join(MODALITIES)}")
            if not weight > 0:
                raise ValueError(f"the weight of {name} must be above 0, got {weight}")
        return value


class WordsSection(_Section):
    vocabulary: str = ""
    """A text file of ordinary lines (last year's dispatch log): a new feed knows their words from the start."""


class UnderstandingSection(_Section):
    """Models that are asked about single moments only, the most unusual first."""

    speech: str = ""
    """Who writes down what is said: ``whisper``; empty: nobody."""
    captions: str = ""
    """Who describes unusual pictures: ``vlm``, ``endpoint``; empty: nobody."""
    narration: str = ""
    """Who tells of an alert in a sentence or two: ``vlm``, ``endpoint``, ``seq2seq``; empty: the message catalogue."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Keyword arguments per model, e.g. ``whisper: {folder: /models/whisper-small}``."""
    max_waiting: int = Field(64, ge=1, le=10_000)
    """Moments of one shard that wait for each model at most; the least unusual go first."""
    max_replicas: int = Field(1, ge=1, le=1000)
    """Serve runs up to this many replicas of each."""


class ArchiveSection(_Section):
    enabled: bool = True
    """Keep moments for search, replay and training."""
    url: str = ""
    """A folder or ``s3://bucket/path``; empty: ``archive`` in data_dir."""
    keep_days: float = Field(30.0, gt=0)
    """Older moments go, those of alerts too."""
    max_gb: float = Field(20.0, gt=0)
    """Beyond this the oldest go."""


class TrainingSection(_Section):
    """What the site learns by itself, and when."""

    enabled: bool = True
    """Keep footage to learn from, and train every night."""
    models: tuple[str, ...] = ("expectation", "site")
    """Of expectation, site, adapter, fusion; those whose encoder the site does not run are left out."""
    at: str = Field("02:30", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """When training starts, in the time of the machine that runs the supervisor."""
    workers: int = Field(1, ge=1, le=64)
    """Training processes at most; fewer take part when the cluster has no room for all."""
    cpus_per_worker: float = Field(1.0, gt=0)
    gpus_per_worker: float = Field(0.0, ge=0)
    promote: bool = True
    """Put a better version to use by itself; False: it waits for ``mmstream models promote``."""
    held_out_share: float = Field(0.3, gt=0, lt=1)
    """The newest part of the footage, on which a new version is tried and from which nothing is learned."""
    footage_mb: float = Field(48.0, gt=0)
    """Kept per feed; thinned evenly beyond."""
    footage_days: float = Field(3.0, gt=0)
    """Older footage goes."""
    registry: str = ""
    """Where model versions are kept: a folder or ``s3://bucket/path``; empty: ``models`` in data_dir."""
    wandb_project: str = ""
    """Curves go to Weights & Biases, too; empty: to TensorBoard files only."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Keyword arguments per model, e.g. ``site: {epochs: 20}``."""


class RuleConfig(_Section):
    """Something that somebody wants to be told of, whether it is unusual or not."""

    name: FeedId
    looks_like: str = ""
    """What the picture shows, in words: ``smoke or fire``. Needs a replica encoder that knows words (CLIP, SigLIP)."""
    says: tuple[str, ...] = ()
    """Words or phrases in speech, captions and pushed text."""
    feeds: tuple[FeedId, ...] = ()
    """Where it holds; empty: everywhere."""
    alerts_per_day: float = Field(1.0, gt=0)
    """Its own budget on each camera."""
    confirm: bool = False
    """Ask the model of ``understanding.captions`` before it is told."""

    @model_validator(mode="after")
    def _asks_something(self) -> RuleConfig:
        if not self.looks_like.strip() and not any(phrase.strip() for phrase in self.says):
            raise ValueError(f"rule {self.name!r} asks for nothing; give looks_like or says")
        return self


class ClipSection(_Section):
    pre_roll_s: float = Field(10.0, ge=0, le=120)
    """Shown before the alert opened."""
    post_roll_s: float = Field(5.0, ge=0, le=120)
    """Shown after it closed."""
    ring_mb: float = Field(32.0, gt=0)
    """Undecoded packets kept per feed at most; the oldest go first."""
    keep_days: float = Field(30.0, gt=0)
    """Clips and pictures of alerts are deleted after so long; the alerts stay."""
    preview_every_s: float = Field(2.0, gt=0)
    """How often the last picture on the dashboard is renewed."""


class ShardSection(_Section):
    feeds_per_shard: int = Field(32, ge=1, le=64)
    """Feeds per decoder actor."""
    snapshot_every_s: float = Field(60.0, gt=0)
    """How often learned state is written to the media store."""


class FeedConfig(_Section):
    """One camera, microphone, file or pushed source."""

    id: FeedId
    url: str
    """``rtsp://``, ``rtsps://``, ``http(s)://``, a file (a ``.csv`` is sensor readings), or ``push:`` for text and
    readings sent over the API."""
    name: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP carries media. UDP loses packets but never stalls on one."""
    tls_ca_file: str = ""
    """Check the camera's certificate against this file; empty: do not check (self-signed cameras)."""
    open_timeout_s: float = Field(10.0, gt=0, le=60)
    read_timeout_s: float = Field(5.0, gt=0, le=60)
    audio: bool = True
    """False: do not receive the sound at all (saves a fifth of an idle camera's cost)."""
    captions: str = ""
    """A subtitle file (SRT, WebVTT) whose times count from the start of the feed."""
    readings: str = ""
    """A CSV file of sensor readings beside the camera: ``time,temperature,...`` or ``time,sensor,value``."""
    history: tuple[str, ...] = ()
    """Recordings of this very camera: learned fast-forward before it goes live."""
    live: bool | None = None
    """Drop instead of wait when behind. None: yes for network sources, no for files."""
    loop: bool = False
    """Files only: play for ever at the recording's own pace, as a camera would."""
    budget_alerts_per_day: float | None = Field(None, gt=0)
    """Another budget for this camera only."""
    decode: Literal["gate", "all"] | None = None
    """Overrides gate.enabled for this feed."""

    @field_validator("url")
    @classmethod
    def _openable(cls, value: str) -> str:
        scheme = value.partition("://")[0] if "://" in value else ""
        if scheme and scheme.lower() not in _SCHEMES and not scheme.startswith("${"):
            raise ValueError(f"cannot open {scheme}://; want one of {', '.join(_SCHEMES)}, a path, or push:")
        if not value.strip():
            raise ValueError("want a URL or a path")
        return value


class SiteConfig(_Section):
    """The whole of ``site.yaml``."""

    site: SiteSection = SiteSection()
    store: StoreSection = StoreSection()
    api: ApiSection = ApiSection()
    budget: BudgetSection = BudgetSection()
    windows: WindowSection = WindowSection()
    gate: GateSection = GateSection()
    encoders: EncoderSection = EncoderSection()
    fusion: FusionSection = FusionSection()
    words: WordsSection = WordsSection()
    understanding: UnderstandingSection = UnderstandingSection()
    archive: ArchiveSection = ArchiveSection()
    training: TrainingSection = TrainingSection()
    rules: tuple[RuleConfig, ...] = ()
    clips: ClipSection = ClipSection()
    shards: ShardSection = ShardSection()
    feeds: tuple[FeedConfig, ...] = ()

    @model_validator(mode="after")
    def _unique_ids(self) -> SiteConfig:
        seen: set[str] = set()
        for feed in self.feeds:
            if feed.id in seen:
                raise ValueError(f"feed id {feed.id!r} is used twice; every feed needs its own")
            seen.add(feed.id)
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"rule name {name!r} is used twice; every rule needs its own")
        return self


def resolve(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Put the values of ``${NAME}`` references in.

    Raises:
        ConfigError: a name is not set; the message names it, never a value.

    >>> resolve("rtsp://${CAM_USER}@10.0.0.7/live", {"CAM_USER": "guard"})
    'rtsp://guard@10.0.0.7/live'
    """

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise ConfigError(f"the environment variable {name} is not set; export it before starting mmstream")
        return environment[name]

    return _REFERENCE.sub(value_of, text)


def references(text: str) -> list[str]:
    """The names of the environment variables that ``text`` refers to."""
    return _REFERENCE.findall(text)


def load_site(path: str | Path, environment: Mapping[str, str] = os.environ) -> SiteConfig:
    """Read and check ``site.yaml``.

    Raises:
        ConfigError: names the file, the line, the value and what is allowed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: not YAML: {getattr(error, 'problem', error)}") from error
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}:1: want sections such as 'feeds:', got {type(tree).__name__}")
    try:
        site = SiteConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, str(path), node)) from None
    for feed in site.feeds:
        for name in references(feed.url):
            if name not in environment:
                line = _line_of(node, ("feeds", site.feeds.index(feed), "url"))
                raise ConfigError(
                    f"{path}:{line}: feed {feed.id!r} needs the environment variable {name}, which is not set; "
                    f"export it before starting mmstream"
                )
    for name in references(site.store.url):
        if name not in environment:
            raise ConfigError(f"{path}:{_line_of(node, ('store', 'url'))}: the environment variable {name} is not set")
    return site


def explain(error: ValidationError, where: str, node: yaml.Node | None = None) -> str:
    """One sentence per mistake, without pydantic's vocabulary, without echoing secrets."""
    sentences = []
    for mistake in error.errors(include_url=False):
        location = mistake["loc"]
        name = ".".join(str(part) for part in location) or "site"
        line = _line_of(node, location) if node is not None else 0
        place = f"{where}:{line}" if line else where
        match mistake["type"]:
            case "extra_forbidden":
                allowed = ", ".join(_allowed_keys(location[:-1]))
                sentences.append(f"{place}: there is no setting {name!r}; here are allowed: {allowed}")
            case "missing":
                sentences.append(f"{place}: {name!r} is missing")
            case _:
                value = mistake.get("input")
                shown = f", got {value!r}" if isinstance(value, int | float | bool) else ""
                if isinstance(value, str) and "url" not in name:
                    shown = f", got {value!r}"
                message = mistake["msg"].removeprefix("Value error, ")
                sentences.append(f"{place}: {name}: {message}{shown}")
    return "; ".join(sentences)


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = SiteConfig
    for part in location:
        if isinstance(part, int):
            model = RuleConfig if location[0] == "rules" else FeedConfig
        elif part not in ("feeds", "rules"):
            model = model.model_fields[part].annotation
    return sorted(model.model_fields)


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """Line of the deepest part of ``location`` that stands in the file (1-based)."""
    line = node.start_mark.line + 1 if node is not None else 0
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
